//! What the wire of one worker knows of the rest of the gateway, and the streams of a connection of
//! each other.

use std::cell::{Cell, OnceCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use crate::actors::now;
use crate::actors::traffic::MetadataLimit;
use crate::actors::worker::Worker;
use crate::auth::Keyring;
use crate::auth::certificate::CertificateNames;
use crate::auth::guesses::Guesses;
use crate::observe::calls::CallCounter;
use crate::tunnel::allowance::Allowance;
use crate::tunnel::id::MemberId;
use crate::tunnel::limits::Limits;

use super::affinity::Affinities;
use super::age::{Carries, ConnectionAge};
use super::early_cancels::EarlyCancels;
use super::keepalive::Keepalive;
use super::round_trip::RoundTrips;

/// One worker's surroundings, shared by its connections.
#[derive(Debug)]
pub struct Wire {
    /// The worker's actors.
    pub worker: Worker,
    /// Who may open a tunnel, and who may call; changes when the configuration does.
    pub keys: watch::Receiver<Arc<Keyring>>,
    /// Wrong keys of the whole gateway, looked at only when there is one.
    pub guesses: Arc<Mutex<Guesses>>,
    /// Whether callers must show a key.
    pub require_caller_key: bool,
    /// Whether calls are named by `x-request-id`.
    pub request_ids: bool,
    /// Counts the worker's calls.
    pub calls: CallCounter,
    /// Which calls go together; changes when the configuration does.
    pub affinities: watch::Receiver<Arc<Affinities>>,
    /// When connections are pinged.
    pub keepalive: Keepalive,
    /// How old the connections of callers get.
    pub age: ConnectionAge,
    /// Room for messages that have come in part, of the whole gateway.
    pub gathering: Allowance,
    /// Health watches of the whole gateway.
    pub watches: Allowance,
    /// Publishers and subscribers without a tunnel, of the whole gateway.
    pub event_streams: Allowance,
    /// What the gateway is doing.
    pub phase: watch::Receiver<Phase>,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "switches that do not depend on each other")]
pub struct Roles {
    /// Calls.
    pub callers: bool,
    /// Tunnels.
    pub tunnels: bool,
    /// Questions of callers about how services fare.
    pub health: bool,
    /// Questions of callers about which services there are and what they look like.
    pub reflection: bool,
    /// Events of callers, and for them.
    pub events: bool,
}

/// What the gateway is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Serving.
    Serving,
    /// Letting calls in flight finish.
    Draining,
    /// The last call is over, or the grace: nothing is worth a connection any more.
    Closing,
}

/// So many times its limit of streams a connection may have. h2 refuses what is over the limit itself,
/// but it takes a new stream for each that was reset at once, and the calls of those hold their slots
/// until their tasks have run.
const STREAMS_OVERLAP: usize = 2;

/// What the streams of one connection share.
#[derive(Debug)]
pub struct Shared {
    /// The other end.
    pub remote: SocketAddr,
    /// What this connection's listener serves.
    pub roles: Roles,
    /// The names in the certificate of the other end, if it showed one.
    pub certificate: CertificateNames,
    /// What all streams together hold of answers that have not been taken.
    pub unread: Allowance,
    /// Calls that were cancelled before their answer began.
    pub early_cancels: EarlyCancels,
    /// How long the way to the other end and back takes.
    pub round_trips: RoundTrips,
    /// The other end answers no ping.
    pub dead: Cell<bool>,
    publisher: OnceCell<MemberId>,
    tunnel_wanted: Notify,
    streams: Cell<usize>,
    /// As many streams as may be counted at once.
    streams_max: usize,
    tunnels: Cell<usize>,
    subscribers: Cell<usize>,
}

/// One stream of a connection, counted until it is dropped. Dropped before its answer began, it was
/// cancelled early: the gateway itself ends no stream without a word.
#[derive(Debug)]
pub struct StreamSlot {
    shared: Rc<Shared>,
    answered: bool,
    tunnel: bool,
    subscriber: bool,
    /// From then on a cancel is none of a mind that changed.
    due: Option<Instant>,
}

impl Wire {
    /// How much metadata a call may have.
    pub fn metadata_limit(&self) -> MetadataLimit {
        MetadataLimit::of(&self.worker.tunnels.limits.now())
    }
}

impl Shared {
    /// A connection without streams.
    pub fn new(
        remote: SocketAddr,
        roles: Roles,
        certificate: CertificateNames,
        limits: &Limits,
    ) -> Self {
        Self {
            remote,
            roles,
            certificate,
            unread: Allowance::new(usize::MAX),
            early_cancels: EarlyCancels::new(limits),
            round_trips: RoundTrips::default(),
            dead: Cell::new(false),
            publisher: OnceCell::new(),
            tunnel_wanted: Notify::new(),
            streams: Cell::new(0),
            streams_max: STREAMS_OVERLAP * limits.streams_per_connection_max,
            tunnels: Cell::new(0),
            subscribers: Cell::new(0),
        }
    }

    /// The other end as the publisher of what its calls publish.
    pub fn publisher(&self) -> MemberId {
        *self.publisher.get_or_init(MemberId::random)
    }

    /// Waits until a stream has become a tunnel.
    pub async fn tunnel_wanted(&self) {
        self.tunnel_wanted.notified().await;
    }

    /// What it carries that matters for its age.
    pub fn carries(&self) -> Carries {
        match (self.tunnels.get(), self.subscribers.get()) {
            (0, 0) => Carries::Calls,
            (0, _) => Carries::Subscriber,
            _ => Carries::Tunnel,
        }
    }

    /// Counts one more stream, unless there are as many as there may be.
    pub fn take_slot(self: &Rc<Self>) -> Option<StreamSlot> {
        let streams = self.streams.get();
        (streams < self.streams_max).then(|| {
            self.streams.set(streams + 1);
            let shared = self.clone();
            StreamSlot { shared, answered: false, tunnel: false, subscriber: false, due: None }
        })
    }
}

impl StreamSlot {
    /// The answer has begun, or it is not the other side's doing that there is none.
    pub fn answered(&mut self) {
        self.answered = true;
    }

    /// The caller gives its call this long. Callers reset calls whose time is up, and a service that
    /// hangs makes many of those: one that waited for most of its time is no early cancel.
    pub fn is_patient_until(&mut self, deadline: Instant) {
        let now = now();
        self.due = Some(now + deadline.saturating_duration_since(now) / 4 * 3);
    }

    /// The stream is a tunnel: its connection gets a tunnel's windows, and as old as it likes.
    pub fn becomes_tunnel(&mut self) {
        if !std::mem::replace(&mut self.tunnel, true) {
            self.shared.tunnels.set(self.shared.tunnels.get() + 1);
            self.shared.tunnel_wanted.notify_one();
        }
    }

    /// Somebody listens to events by the stream, for as long as it likes.
    pub fn becomes_subscriber(&mut self) {
        if !std::mem::replace(&mut self.subscriber, true) {
            self.shared.subscribers.set(self.shared.subscribers.get() + 1);
        }
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.streams.set(shared.streams.get() - 1);
        if self.tunnel {
            shared.tunnels.set(shared.tunnels.get() - 1);
        }
        if self.subscriber {
            shared.subscribers.set(shared.subscribers.get() - 1);
        }
        if !self.answered && self.due.is_none_or(|due| now() < due) {
            shared.early_cancels.one_more();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_ends_without_an_answer_is_an_early_cancel_unless_its_time_was_nearly_up()
    {
        let shared = connection(1);
        let answered = || {
            let mut slot = shared.take_slot().unwrap();
            slot.answered();
        };
        let waited = async |time| {
            let mut slot = shared.take_slot().unwrap();
            slot.is_patient_until(now() + Duration::from_secs(4));
            tokio::time::advance(Duration::from_secs(time)).await;
        };
        for _ in 0..10 {
            answered();
            waited(3).await;
        }
        assert!(!closes(&shared).await);
        waited(2).await;
        assert!(!closes(&shared).await, "one is allowed");
        drop(shared.take_slot().unwrap());
        assert!(closes(&shared).await);
        assert_eq!(shared.streams.get(), 0);
    }

    #[tokio::test]
    async fn a_connection_carries_a_tunnel_or_a_subscriber_as_long_as_a_stream_of_it_is_one() {
        let shared = connection(1);
        let mut slot = shared.take_slot().unwrap();
        assert_eq!(shared.carries(), Carries::Calls);
        slot.becomes_tunnel();
        assert_eq!(shared.carries(), Carries::Tunnel);
        drop(slot);
        assert_eq!(shared.carries(), Carries::Calls);
        let mut slot = shared.take_slot().unwrap();
        slot.becomes_subscriber();
        assert_eq!(shared.carries(), Carries::Subscriber);
        drop(slot);
        assert_eq!(shared.carries(), Carries::Calls);
    }

    fn connection(early_cancels_burst: usize) -> Rc<Shared> {
        let limits =
            Limits { early_cancels_burst, early_cancels_per_second: 1, ..Limits::default() };
        let roles = Roles::default();
        Rc::new(Shared::new(
            ([127, 0, 0, 1], 1).into(),
            roles,
            CertificateNames::default(),
            &limits,
        ))
    }

    async fn closes(shared: &Shared) -> bool {
        let too_many = shared.early_cancels.too_many();
        tokio::time::timeout(Duration::ZERO, too_many).await.is_ok()
    }
}
