//! What travels between the actors: heads, messages, frames and parts of answers.
//!
//! Payloads are `Bytes` and move without being copied. Room that a message takes somewhere travels
//! with it and is given back when the message is dropped, on whatever road.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;

use crate::observe::limits::{self, Limit};
use crate::observe::ticks::{self, Tick};
use crate::tunnel::affinity::Session;
use crate::tunnel::allowance::{Allowance, Hold};
use crate::tunnel::call::Frame;
use crate::tunnel::code::Code;
use crate::tunnel::directory::Witness;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::{MethodPath, RequestId, TunnelId};
use crate::tunnel::limits::Limits;
use crate::tunnel::topic::queue::Gap;

use super::bus::SubscriptionEnded;
use super::credit::Permit;
use super::event::Published;
use super::lane::QueuedEvent;

/// What a message costs beside its payload wherever bytes are counted, so that a flood of empty
/// messages is bounded too. About what a queued frame takes in memory.
pub const MESSAGE_OVERHEAD_BYTES: usize = 256;

/// What is known of a call before its first message.
#[derive(Debug)]
pub struct RequestHead {
    /// The method called.
    pub path: MethodPath,
    /// The caller's metadata, as it came.
    pub headers: HeaderMap,
    /// When the caller's time is up.
    pub deadline: Option<Instant>,
    /// The session that it belongs to, if its service keeps sessions together.
    pub session: Option<Session>,
    /// The one tunnel that may carry it, where the gateway itself asks something of its peer.
    pub only: Option<Witness>,
    /// What the caller's connection, with all its calls, holds of answers that it has not taken.
    pub unread: Allowance,
    /// What may be held of the call's own answer. The queue of its parts is as long as that allows.
    pub call_buffer: Allowance,
    /// Until when it waits for a tunnel, once it does: longer in no case, however often one goes.
    pub wait_end: OnceLock<Instant>,
    /// The call's place among those of its caller's key, for as long as anybody needs the head.
    pub slot_of_key: Option<Hold>,
    /// The gateway's own id of the call.
    pub request: RequestId,
    /// What is noted of the call on its way.
    pub marks: Marks,
}

/// What is noted of a call on its way, by whom it passes, for who writes down how it was.
#[derive(Debug, Default)]
pub struct Marks {
    /// When its first frame was handed to HTTP/2, as a tick.
    opened: AtomicU64,
    /// How long it has waited before that for others than the gateway, in nanoseconds.
    waited: AtomicU64,
    /// The tunnel that carries it. Another may take it over while its caller leaves.
    tunnel: Mutex<Option<TunnelId>>,
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// One message, without gRPC's five-byte prefix.
#[derive(Debug, Default)]
pub struct Message {
    /// The bytes, never looked into.
    pub payload: Bytes,
    /// Whether they are compressed with the call's grpc-encoding.
    pub compressed: bool,
    /// The room the message takes on its way.
    pub room: Room,
}

/// Room taken for a message; dropped with it.
#[derive(Debug, Default)]
pub struct Room {
    /// In the queue towards a tunnel.
    pub tunnel_queue: Option<Permit>,
    /// In the call's share of that queue.
    pub call_queue: Option<Permit>,
    /// In the buffers of the tunnel it came from.
    pub tunnel_buffer: Option<Hold>,
    /// In the call's share of those buffers.
    pub call_buffer: Option<Hold>,
    /// In what the caller's connection holds.
    pub unread: Option<Hold>,
}

/// A part of an answer, in the order in which it goes to the caller. It travels boxed: it passes
/// several mailboxes, each of which would copy it.
#[derive(Debug, Default)]
pub struct Part {
    /// Initial metadata; in the first part only.
    pub headers: Option<HeaderMap>,
    /// A message.
    pub message: Option<Message>,
    /// The end; in the last part only.
    pub ending: Option<Ending>,
    /// The call's place among all calls in flight; in the last part, so that a call counts until
    /// its caller has the answer.
    pub slot: Option<Hold>,
    /// When the frame was read of which it is made.
    pub heard: Tick,
}

/// How a call ends.
#[derive(Debug)]
pub enum Ending {
    /// With the service's own status.
    Answered {
        /// The code.
        code: Code,
        /// The status message, as plain text.
        message: String,
        /// The trailing metadata.
        trailers: HeaderMap,
    },
    /// By the gateway.
    Failed(Failure),
}

/// A frame on its way down a tunnel.
#[derive(Debug)]
pub enum Outgoing {
    /// The tunnel is open everywhere.
    Connected,
    /// A frame of a call to the peer.
    Request {
        /// The call.
        request: RequestId,
        /// Its head.
        head: Arc<RequestHead>,
        /// What the caller said.
        frame: Frame<Message>,
    },
    /// A part of the answer to a call that the peer made.
    Response {
        /// The peer's own name for the call.
        peer_request: Arc<str>,
        /// The frame as it is written.
        frame: Bytes,
        /// The room that it takes until then.
        room: Room,
    },
    /// The caller is gone; the peer should stop.
    Cancel {
        /// The call.
        request: RequestId,
        /// What its caller was told.
        failure: Failure,
    },
    /// The gateway stops: no new calls come, those in flight may finish.
    Drain {
        /// How long they may take.
        grace: Duration,
    },
    /// Something that the peer sent is answered.
    Reply {
        /// How.
        reply: Reply,
        /// The room that it takes until then, of the peer's.
        room: Hold,
    },
    /// An event that the peer listens to.
    Event(QueuedEvent),
    /// Events that the peer would have got here.
    Missed(Gap),
    /// What became of an event that the peer published and that was taken.
    EventAck(Published),
    /// Alive.
    Heartbeat,
}

/// What a peer is told of something that it sent.
#[derive(Debug)]
pub enum Reply {
    /// It is refused.
    Error(Cow<'static, str>),
    /// It does not listen to a topic, although it asked for that.
    SubscriptionEnded(SubscriptionEnded),
    /// An event was not taken.
    EventAck(Published),
}

impl Reply {
    /// Its frame, which takes room.
    pub fn taking(self) -> impl FnOnce(Hold) -> Outgoing {
        |room| Outgoing::Reply { reply: self, room }
    }
}

/// How much metadata a call may have.
#[derive(Clone, Copy, Debug)]
pub struct MetadataLimit {
    /// Sum of names, values and 32 a pair.
    pub bytes_max: usize,
    /// Number of pairs.
    pub entries_max: usize,
}

/// Each pair counts 32 bytes more than its name and value (RFC 9113 section 6.5.2).
pub const PAIR_OVERHEAD_BYTES: usize = 32;

impl MetadataLimit {
    /// What the limits say.
    pub fn of(limits: &Limits) -> Self {
        Self { bytes_max: limits.metadata_bytes_max, entries_max: limits.metadata_entries_max }
    }

    /// So many times as much.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self {
            bytes_max: self.bytes_max.saturating_mul(times),
            entries_max: self.entries_max.saturating_mul(times),
        }
    }

    /// Whether the metadata is within the limit.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        headers.len() <= self.entries_max && metadata_size(headers) <= self.bytes_max
    }

    /// Something was refused because of this metadata.
    pub fn is_passed_by(&self, headers: &HeaderMap) {
        let in_bytes = metadata_size(headers) > self.bytes_max;
        limits::hit(if in_bytes { Limit::MetadataBytesMax } else { Limit::MetadataEntriesMax });
    }
}

/// What the metadata counts for, in bytes.
pub fn metadata_size(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + PAIR_OVERHEAD_BYTES)
        .sum()
}

/// Adds all of `more`; `HeaderMap::extend` would replace what has the same name.
pub fn append(headers: &mut HeaderMap, more: &HeaderMap) {
    for (name, value) in more {
        headers.append(name, value.clone());
    }
}

impl Marks {
    /// The caller has said a message of so many bytes.
    pub fn message(&self, bytes: usize) {
        // Only who hears the caller writes here.
        let one_more = self.messages.load(Ordering::Relaxed) + 1;
        self.messages.store(one_more, Ordering::Relaxed);
        let more = self.bytes.load(Ordering::Relaxed) + bytes as u64;
        self.bytes.store(more, Ordering::Relaxed);
    }

    /// The messages that the caller has said, and their bytes.
    pub fn said(&self) -> (u64, u64) {
        (self.messages.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// A tunnel carries the call from now on.
    pub fn carried_by(&self, tunnel: TunnelId) {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }

    /// The tunnel that carries it, or did.
    pub fn tunnel(&self) -> Option<TunnelId> {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since then the call has waited for its caller, or for a tunnel; it has not gone down one.
    pub fn waited(&self, since: Tick) {
        let nanoseconds = since.nanoseconds_until(ticks::now());
        self.waited.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// How long that was altogether, in nanoseconds.
    pub fn waited_nanoseconds(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// When the call went down its tunnel, once it has.
    pub fn opened(&self) -> Option<Tick> {
        let opened = self.opened.load(Ordering::Relaxed);
        (opened > 0).then_some(Tick(opened))
    }
}

/// Notes of these frames that they have been handed to HTTP/2.
pub fn handed_over(frames: &[Outgoing]) {
    let now = ticks::now();
    for frame in frames {
        if let Outgoing::Request { head, frame, .. } = frame
            && frame.is_first()
        {
            head.marks.opened.store(now.0, Ordering::Relaxed);
        }
    }
}

impl Room {
    /// Room for `cost` bytes in the buffers of a tunnel and of a call on it, if both have it.
    pub fn in_buffers(cost: usize, tunnel: &Allowance, call: &Allowance) -> Option<Self> {
        let Some(in_tunnel) = tunnel.take(cost) else {
            limits::hit(Limit::TunnelBufferBytesMax);
            return None;
        };
        let Some(in_call) = call.take(cost) else {
            limits::hit(Limit::CallBufferBytesMax);
            return None;
        };
        let (tunnel_buffer, call_buffer) = (Some(in_tunnel), Some(in_call));
        Some(Self { tunnel_buffer, call_buffer, ..Self::default() })
    }

    /// Adds the room of what is now a part of the same message.
    pub fn absorb(&mut self, earlier: Self) {
        Hold::join(&mut self.tunnel_buffer, earlier.tunnel_buffer);
        Hold::join(&mut self.call_buffer, earlier.call_buffer);
        Hold::join(&mut self.unread, earlier.unread);
    }
}

impl Message {
    /// What the message counts for in queues and buffers, in bytes.
    pub fn cost(&self) -> usize {
        self.payload.len() + MESSAGE_OVERHEAD_BYTES
    }
}

impl Part {
    /// The end that the gateway makes.
    pub fn failed(failure: Failure) -> Box<Self> {
        Box::new(Self { ending: Some(Ending::Failed(failure)), ..Self::default() })
    }
}
