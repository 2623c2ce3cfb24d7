//! What travels between the actors: heads, messages, frames and parts of answers.
//!
//! Payloads are `Bytes` and move without being copied. Room that a message takes somewhere travels
//! with it and is given back when the message is dropped, on whatever road.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;

use crate::tunnel::allowance::{Allowance, Hold};
use crate::tunnel::call::Frame;
use crate::tunnel::code::Code;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::{MethodPath, RequestId};

use super::credit::Permit;

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
    /// What the caller's connection, with all its calls, holds of answers that it has not taken.
    pub unread: Allowance,
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
    /// The peer asked for something this gateway does not do.
    Unsupported(&'static str),
    /// Alive.
    Heartbeat,
}

/// Adds all of `more`; `HeaderMap::extend` would replace what has the same name.
pub fn append(headers: &mut HeaderMap, more: &HeaderMap) {
    for (name, value) in more {
        headers.append(name, value.clone());
    }
}

impl Room {
    /// Adds the room of what is now a part of the same message.
    pub fn absorb(&mut self, earlier: Self) {
        let pairs = [
            (&mut self.tunnel_buffer, earlier.tunnel_buffer),
            (&mut self.call_buffer, earlier.call_buffer),
            (&mut self.unread, earlier.unread),
        ];
        for (held, more) in pairs {
            match (held.as_mut(), more) {
                (Some(held), Some(more)) => held.absorb(more),
                (None, more) => *held = more,
                (Some(_), None) => {}
            }
        }
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
