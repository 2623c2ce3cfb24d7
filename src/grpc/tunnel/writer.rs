//! Frames that go down a tunnel, written together and flushed once.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};

use crate::actors::connection::ConnectionHandle;
use crate::actors::down::DownEnd;
use crate::actors::lane::QueuedEvent;
use crate::actors::live::LiveLimits;
use crate::actors::now;
use crate::actors::traffic::{Outgoing, Reply, handed_over};
use crate::grpc::encode::event::{self, unix_seconds};
use crate::grpc::encode::{self, Rules};
use crate::grpc::proto::connection_message::MessageType;
use crate::grpc::proto::connection_status::Status;
use crate::grpc::proto::{Cancel, ConnectionStatus, Drain, Heartbeat};
use crate::grpc::{status, stream};
use crate::observe::tally::{Count, count};
use crate::observe::ticks::{self, Tick};
use crate::observe::tunnels::TunnelGauge;
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::TunnelId;
use crate::tunnel::liveness::LastSeen;
use crate::tunnel::topic::queue::Gap;

use super::seen;

/// Frames are written together up to about this many bytes: two of HTTP/2's default frames.
const BATCH_BYTES: usize = 32 * 1024;
/// A tunnel that is not busy writes no more frames than this together.
const BATCH_FRAMES: usize = 4;

/// The writing half of a tunnel.
pub(super) struct Writer {
    pub(super) stream: SendStream<Bytes>,
    pub(super) down: DownEnd,
    pub(super) connection: ConnectionHandle,
    pub(super) rules: Rules,
    pub(super) limits: LiveLimits,
    pub(super) tunnel: TunnelId,
    pub(super) workers: usize,
    pub(super) sent: LastSeen,
    pub(super) gauge: Arc<TunnelGauge>,
}

/// Why a batch was not written.
enum Stopped {
    /// The peer is gone.
    Gone,
    /// The tunnel has ended; a part of a frame may have been written.
    Ended { in_frame: bool },
}

impl Writer {
    /// Writes until the tunnel has ended; says why it has.
    pub(super) async fn run(mut self) -> TunnelEnd {
        let mut in_frame = false;
        loop {
            self.down.ready().await;
            if self.down.has_ended() {
                break;
            }
            let written = if self.down.only_events_wait() {
                self.write_events().await
            } else {
                self.write_batch().await
            };
            match written {
                Ok(()) => self.sent.touch(now()),
                Err(Stopped::Gone) => {
                    let end = how_left(&mut self.stream);
                    self.connection.close(end);
                    break;
                }
                Err(Stopped::Ended { in_frame: cut }) => {
                    in_frame = cut;
                    break;
                }
            }
        }
        let end = self.down.until_ended().await;
        if in_frame {
            self.stream.send_reset(Reason::CANCEL);
        } else {
            // A peer that is gone needs no answer.
            drop(self.say_last_words());
            drop(self.stream.send_trailers(status::tunnel_trailers(&end)));
        }
        end
    }

    /// Control frames that were still to be written go before the end, as many as go together. Nobody
    /// waits for the window: h2 holds them until the peer takes them, or leaves.
    fn say_last_words(&mut self) -> Result<(), h2::Error> {
        let mut out = BytesMut::new();
        while let Some(frame) = self.down.last_word() {
            if out.len() < BATCH_BYTES {
                self.add(&frame, ticks::now(), &mut out);
            } else {
                count(Count::FrameRejected);
            }
        }
        if out.is_empty() { Ok(()) } else { self.stream.send_data(out.freeze(), false) }
    }

    /// Takes what is ready and writes it. The room that frames take in the queue is given back
    /// when all of them are on their way.
    async fn write_batch(&mut self) -> Result<(), Stopped> {
        let mut out = BytesMut::with_capacity(1024);
        let (mut rooms, mut connects) = (Vec::with_capacity(BATCH_FRAMES), false);
        let now = ticks::now();
        self.rules = Rules::under(&self.limits.now(), self.rules.features);
        while out.len() < BATCH_BYTES
            && let Some(frame) = self.down.try_next()
        {
            let tail = self.add(&frame, now, &mut out);
            connects |= matches!(frame, Outgoing::Connected);
            rooms.push(frame);
            if let Some(payload) = tail {
                self.write(out.split().freeze(), false).await?;
                self.write(payload, true).await?;
                // What was taken so far is on its way.
                handed_over(&rooms);
                rooms.clear();
            }
        }
        self.write(out.freeze(), false).await?;
        handed_over(&rooms);
        if connects {
            self.gauge.is_connected();
        }
        Ok(())
    }

    /// Writes some of the events that wait, as soon as HTTP/2 takes them; a frame that comes meanwhile
    /// goes first.
    async fn write_events(&mut self) -> Result<(), Stopped> {
        if self.write_lone_event()? {
            return Ok(());
        }
        let allowed = if self.has_room(BATCH_BYTES) {
            BATCH_BYTES
        } else {
            let (stream, gauge) = (&mut self.stream, &self.gauge);
            let allowed = tokio::select! {
                biased;
                () = self.down.until_frame() => return Ok(()),
                allowed = stream::capacity_watched(stream, BATCH_BYTES, || gauge.stall()) => allowed,
            };
            allowed.map_err(|_| Stopped::Gone)?
        };
        let waiting = self.down.lane().bytes();
        let (mut out, now) = (BytesMut::with_capacity(waiting.min(BATCH_BYTES)), ticks::now());
        self.rules = Rules::under(&self.limits.now(), self.rules.features);
        while out.len() < allowed
            && let Some(event) = self.down.next_event()
        {
            if let Some(payload) = self.add(&event, now, &mut out) {
                self.write(out.split().freeze(), false).await?;
                return self.write(payload, true).await;
            }
        }
        self.write(out.freeze(), false).await
    }

    /// Writes the event that waits, if it is the only one, a small one and there is room for it: its
    /// bytes are those that all its subscribers share. Whether it did.
    fn write_lone_event(&mut self) -> Result<bool, Stopped> {
        let Some(queued) = self.down.lane().only() else { return Ok(false) };
        let (frame, large) = event::event(&queued.event);
        self.rules = Rules::under(&self.limits.now(), self.rules.features);
        let is_small = large.is_none() && frame.len() <= self.rules.frame_bytes_max;
        if !is_small || !self.has_room(frame.len()) {
            return Ok(false);
        }
        let Some(taken) = self.down.next_event() else { return Ok(false) };
        queued.topic.delivered();
        let (kind, call) = seen::of_outgoing(&taken);
        self.gauge.went(kind, frame.len(), call, ticks::now());
        self.stream.send_data(frame, false).map_err(|_| Stopped::Gone)?;
        Ok(true)
    }

    /// Whether HTTP/2 takes so much at once.
    fn has_room(&mut self, bytes: usize) -> bool {
        self.stream.reserve_capacity(bytes);
        self.stream.capacity() >= bytes
    }

    async fn write(&mut self, mut data: Bytes, mut in_frame: bool) -> Result<(), Stopped> {
        // Most of what is written has room.
        if !data.is_empty() && self.has_room(data.len()) {
            return self.stream.send_data(data, false).map_err(|_| Stopped::Gone);
        }
        while !data.is_empty() {
            let (stream, gauge) = (&mut self.stream, &self.gauge);
            let allowed = stream::capacity_watched(stream, data.len(), || gauge.stall());
            let allowed = tokio::select! {
                biased;
                allowed = allowed => allowed,
                _ = self.down.until_ended() => return Err(Stopped::Ended { in_frame }),
            };
            let allowed = allowed.map_err(|_| Stopped::Gone)?;
            let piece = data.split_to(allowed.min(data.len()));
            self.stream.send_data(piece, false).map_err(|_| Stopped::Gone)?;
            in_frame = true;
        }
        Ok(())
    }

    /// Appends a frame and counts it, if it can be written; a large payload comes back, to be written
    /// after it.
    fn add(&self, frame: &Outgoing, now: Tick, out: &mut BytesMut) -> Option<Bytes> {
        let before = out.len();
        let tail = self.encode(frame, out);
        let bytes = out.len() - before + tail.as_ref().map_or(0, Bytes::len);
        if bytes > 0 {
            let (kind, call) = seen::of_outgoing(frame);
            self.gauge.went(kind, bytes, call, now);
        }
        tail
    }

    fn encode(&self, frame: &Outgoing, out: &mut BytesMut) -> Option<Bytes> {
        match frame {
            Outgoing::Request { request, head, frame } => {
                let now = now();
                encode::request(&self.rules, *request, head, frame, now, out).unwrap_or_else(
                    |failure| {
                        self.down.withdraw(*request);
                        self.connection.undeliverable(*request, frame.is_first(), failure);
                        None
                    },
                )
            }
            Outgoing::Response { frame, .. } => Some(frame.clone()),
            Outgoing::Event(queued) => self.encode_event(queued, out),
            Outgoing::Connected
            | Outgoing::Cancel { .. }
            | Outgoing::Drain { .. }
            | Outgoing::Reply { .. }
            | Outgoing::Missed(_)
            | Outgoing::EventAck(_)
            | Outgoing::Heartbeat => {
                // Small by construction: far below any frame limit.
                let _ = encode::envelope(&self.rules, self.control(frame), out);
                None
            }
        }
    }

    fn encode_event(&self, queued: &QueuedEvent, out: &mut BytesMut) -> Option<Bytes> {
        let frame = event::event(&queued.event);
        if event::event_len(&frame) > self.rules.frame_bytes_max {
            queued.topic.too_large();
            let gap = Gap { topic: queued.event.name.as_str().into(), missed: 1 };
            return self.encode(&Outgoing::Missed(gap), out);
        }
        queued.topic.delivered();
        out.extend_from_slice(&frame.0);
        frame.1
    }

    fn control(&self, frame: &Outgoing) -> MessageType {
        match frame {
            Outgoing::Connected => MessageType::Status(self.connected()),
            Outgoing::Cancel { request, failure } => {
                MessageType::Cancel(cancel(&request.to_string(), *failure))
            }
            Outgoing::Drain { grace } => MessageType::Drain(Drain {
                reason: "the gateway is shutting down".to_owned(),
                grace_seconds: u32::try_from(grace.as_secs()).unwrap_or(u32::MAX),
            }),
            Outgoing::Reply { reply, .. } => self.reply(reply),
            Outgoing::Missed(gap) => MessageType::Event(event::missed(gap)),
            Outgoing::EventAck(published) => MessageType::EventAck(event::event_ack(published)),
            Outgoing::Heartbeat
            | Outgoing::Request { .. }
            | Outgoing::Response { .. }
            | Outgoing::Event(_) => MessageType::Heartbeat(Heartbeat {
                timestamp: unix_seconds(),
                connection_id: self.tunnel.to_string(),
            }),
        }
    }

    fn reply(&self, reply: &Reply) -> MessageType {
        match reply {
            Reply::Error(message) => self.error(message.to_string()),
            Reply::SubscriptionEnded(ended) => {
                self.error(status::event_refusal(&ended.why, ended.pattern.as_str()))
            }
            Reply::EventAck(published) => MessageType::EventAck(event::event_ack(published)),
        }
    }

    fn error(&self, message: String) -> MessageType {
        MessageType::Status(ConnectionStatus {
            connection_id: self.tunnel.to_string(),
            status: Status::Error.into(),
            message,
            ..ConnectionStatus::default()
        })
    }

    fn connected(&self) -> ConnectionStatus {
        let plain = self.rules.features.is_plain();
        ConnectionStatus {
            connection_id: self.tunnel.to_string(),
            status: Status::Connected.into(),
            message: "Successfully registered".to_owned(),
            features: self.rules.features.granted(),
            workers: if plain { 0 } else { u32::try_from(self.workers).unwrap_or(u32::MAX) },
        }
    }
}

/// How a peer left to which nothing can be written any more.
fn how_left(stream: &mut SendStream<Bytes>) -> TunnelEnd {
    match stream.poll_reset(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Err(_)) => TunnelEnd::ConnectionLost,
        Poll::Ready(Ok(_)) | Poll::Pending => TunnelEnd::PeerLeft,
    }
}

fn cancel(request: &str, failure: Failure) -> Cancel {
    Cancel {
        request_id: request.to_owned(),
        status_code: status::of_failure(failure).0.number(),
        message: failure.to_string(),
    }
}
