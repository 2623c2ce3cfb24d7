//! Frames that come up a tunnel, each handed to who must know of it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::actors::connection::ConnectionHandle;
use crate::actors::now;
use crate::grpc::decode::{self, Incoming, Unreadable};
use crate::grpc::framing::PREFIX_BYTES;
use crate::grpc::peer_call::PeerCalls;
use crate::grpc::stream::{MessageStream, Next};
use crate::grpc::wire::Wire;
use crate::observe::tally::{Count, count};
use crate::observe::tunnels::TunnelGauge;
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::id::TunnelId;
use crate::tunnel::liveness::LastSeen;
use crate::tunnel::token_bucket::TokenBucket;

use super::events::PeerEvents;
use super::seen;

/// So many frames that cannot be read are a program gone wrong, not an accident.
const UNREADABLE_FRAMES_MAX: usize = 100;

/// Peers are told to send a heartbeat every 30 seconds, and programs that send one a second do no
/// harm: more than ten a second for ten seconds is a program gone wrong.
const HEARTBEATS_PER_SECOND: usize = 10;
/// What comes at once when a stalled connection moves again is no flood.
const HEARTBEATS_BURST: usize = 10 * HEARTBEATS_PER_SECOND;

/// A tunnel's heartbeats, none of which has come yet.
pub(super) fn heartbeats(now: Instant) -> TokenBucket {
    TokenBucket::new(HEARTBEATS_BURST, HEARTBEATS_PER_SECOND, now)
}

/// The reading half of a tunnel.
pub(super) struct Reader {
    pub(super) frames: MessageStream,
    pub(super) connection: ConnectionHandle,
    /// The calls that the peer makes itself.
    pub(super) calls: PeerCalls,
    /// What the peer publishes and listens to.
    pub(super) events: PeerEvents,
    pub(super) heard: LastSeen,
    /// Those that may still come.
    pub(super) heartbeats: TokenBucket,
    pub(super) gauge: Arc<TunnelGauge>,
    pub(super) tunnel: TunnelId,
    pub(super) wire: Rc<Wire>,
    pub(super) unreadable: usize,
}

impl Reader {
    /// Reads until the peer leaves or breaks the rules, and closes the connection with the reason.
    pub(super) async fn run(mut self) {
        let end = loop {
            let next = self.frames.next().await;
            self.heard.touch(now());
            match next {
                Next::Message { message, .. } => {
                    if let Err(end) = self.take(message.payload) {
                        break end;
                    }
                }
                Next::TooLarge => {
                    let max = self.wire.worker.tunnels.limits.now().peer_frame_bytes_max;
                    break TunnelEnd::FrameTooLarge { max };
                }
                Next::NoRoom => break TunnelEnd::NoRoom,
                Next::End | Next::CutOff => break TunnelEnd::PeerLeft,
                Next::Broken(error) if error.is_reset() => break TunnelEnd::PeerLeft,
                Next::Broken(_) => break TunnelEnd::ConnectionLost,
            }
        };
        self.connection.close(end);
    }

    fn take(&mut self, frame: bytes::Bytes) -> Result<(), TunnelEnd> {
        let (kind, bytes) = (seen::kind(&frame), PREFIX_BYTES + frame.len());
        let incoming = decode::incoming(frame);
        self.gauge.came(kind, bytes, seen::call(&incoming));
        match incoming {
            Ok(incoming) => self.hand_on(incoming),
            Err(unreadable) => self.put_up_with(&unreadable),
        }
    }

    fn hand_on(&mut self, incoming: Incoming) -> Result<(), TunnelEnd> {
        match incoming {
            Incoming::Answer(Some(request), frame) => self.connection.answered(request, frame),
            // An id that the gateway cannot have made.
            Incoming::Answer(None, _) => count(Count::FrameLate),
            Incoming::Request(request) => self.calls.frame(request),
            Incoming::Cancel(peer_request) => self.calls.cancel(&peer_request),
            Incoming::Heartbeat(id) => {
                self.check_identity(&id);
                if !self.heartbeats.take(now()) {
                    return Err(TunnelEnd::TooManyHeartbeats);
                }
            }
            Incoming::Goodbye => self.connection.peer_drains(),
            Incoming::Status => {}
            Incoming::Event(event) => {
                self.check_identity(&event.publisher_id);
                self.events.publish(event);
            }
            Incoming::Subscription(subscription) => {
                self.check_identity(&subscription.subscriber_id);
                self.events.subscription(&subscription);
            }
            Incoming::Unknown => count(Count::FrameUnknown),
            Incoming::Register(_) => return Err(TunnelEnd::RegisteredTwice),
        }
        Ok(())
    }

    /// Programs in the field send ids that they made up. They are never trusted and never a reason
    /// to cut a peer off.
    fn check_identity(&self, id: &str) {
        if !id.is_empty() && id != self.tunnel.to_string() {
            count(Count::IdentityIgnored);
        }
    }

    fn put_up_with(&mut self, unreadable: &Unreadable) -> Result<(), TunnelEnd> {
        count(Count::FrameUndecodable);
        match unreadable {
            Unreadable::Answer(request) => self.connection.answer_unreadable(*request),
            Unreadable::Event => self.events.unreadable(),
            Unreadable::Register | Unreadable::Nothing => {}
        }
        self.unreadable += 1;
        let enough = self.unreadable > UNREADABLE_FRAMES_MAX;
        if enough { Err(TunnelEnd::BadFrames) } else { Ok(()) }
    }
}
