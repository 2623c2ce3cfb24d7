//! What every actor test needs: stand-ins for whoever an actor talks to, and a worker to talk to.
//!
//! Time is paused on every stage: it passes only when nobody has anything left to do, so a long
//! wait costs nothing, and a wait in vain fails after an hour of such time instead of hanging.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a stand-in fails at whatever it did not expect"
)]

mod ends;
mod travel;

pub(crate) use ends::{Called, Caller, Tunnel, Wire};
pub(crate) use travel::{
    answer, answer_frame, event, failure_in, gauge, head, head_under, head_within, message, more,
    text_of,
};

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::mpsc;

use crate::observe::window::Window;
use crate::tunnel::affinity::Session;
use crate::tunnel::allowance::Allowance;
use crate::tunnel::call::{Frame, Said};
use crate::tunnel::directory::Routing;
use crate::tunnel::id::{RequestId, ServiceName, TunnelId, WorkerId};
use crate::tunnel::limits::Limits;
use crate::tunnel::liveness::{LastSeen, Patience};
use crate::tunnel::quota::KeyQuota;
use crate::tunnel::topic::history::Keep;
use crate::tunnel::waiting::WaitingRoom;

pub(crate) use super::now;

use super::alarm::AlarmClock;
use super::bus::{self, BusHandle};
use super::connection::{self, Abilities, ConnectionHandle, Opening};
use super::credit::Credit;
use super::down::down;
use super::entry::{Admit, EntryHandle};
use super::heartbeat::HeartbeatHandle;
use super::kept::KeptEvents;
use super::lane::EventLane;
use super::live::LiveLimits;
use super::mailbox::Mailbox;
use super::pending;
use super::registry::{self, ForwardRequest, Line, OfferTunnel, RegistryHandle};
use super::traffic::{Message, Outgoing, RequestHead};

/// As many workers as a stage may have, and as many series of a metric.
const WORKERS_MAX: usize = 4;
const SERIES_MAX: usize = 100;

/// The method that tests call, and the name it is served under.
pub(crate) const SAY: &str = "/demo.Echo/Say";
pub(crate) const ECHO: &str = "demo.Echo";

// === Stand-ins ===

/// The way into an actor that is the test itself, and everything that it is sent.
pub(crate) fn probe<M>() -> (Mailbox<M>, mpsc::UnboundedReceiver<M>)
where
    M: Send + 'static,
{
    let (sender, receiver) = mpsc::unbounded_channel();
    (Mailbox::of_test(sender), receiver)
}

/// A bug in an actor, on demand.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Crash;

// === Waiting ===

/// What a stand-in hears next.
pub(crate) async fn next<M>(heard: &mut mpsc::UnboundedReceiver<M>) -> M {
    patiently(heard.recv()).await.expect("the stand-in is still spoken to")
}

/// Waits until nobody has anything left to do.
pub(crate) async fn settle() {
    pass(Duration::from_millis(1)).await;
}

/// Lets time pass.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

pub(crate) async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_hours(1), what).await.expect("no wait is in vain")
}

// === The stage ===

/// One of each permanent actor, and as many registries as asked for, all on this thread.
pub(crate) struct Stage {
    pub(crate) limits: LiveLimits,
    pub(crate) registries: Vec<RegistryHandle>,
    pub(crate) buses: Vec<BusHandle>,
    pub(crate) heartbeat: HeartbeatHandle,
    pub(crate) entry: EntryHandle,
    pub(crate) clock: AlarmClock,
    pub(crate) calls: Allowance,
    pub(crate) waiting_room: WaitingRoom,
    pub(crate) window: Window,
    pub(crate) died: mpsc::UnboundedReceiver<&'static str>,
}

impl Stage {
    /// One worker with the limits that are the default.
    pub(crate) fn new() -> Self {
        Self::with(1, Limits::default())
    }

    pub(crate) fn with(workers: usize, limits: Limits) -> Self {
        Self::where_calls_wait(workers, limits, Duration::ZERO)
    }

    /// Calls of a known name wait so long for a tunnel.
    pub(crate) fn where_calls_wait(workers: usize, limits: Limits, wait: Duration) -> Self {
        tokio::time::pause();
        let (death, died) = mpsc::unbounded_channel();
        let limits = LiveLimits::new(limits);
        let mut settings = registry_settings(&limits);
        settings.routing.wait_for_tunnel = wait;
        let start = |worker| RegistryHandle::start(WorkerId(worker), &settings, death.clone());
        let registries: Vec<_> = (0..workers).map(start).collect();
        for registry in &registries {
            registry.meet(registries.clone());
        }
        let buses = start_buses(workers, &limits, &settings.window, None, &death);
        let clock = AlarmClock::start();
        let calls = Allowance::new(limits.now().calls_max);
        let first = registries[0].clone();
        let surroundings = pending::Surroundings {
            registry: first.clone(),
            clock: clock.clone(),
            limits: limits.clone(),
            arbiter: settings.window.cast.arbiter(0),
        };
        let arbiter = surroundings.arbiter.clone();
        let entry = EntryHandle::start(calls.clone(), surroundings, death.clone());
        let heartbeat = HeartbeatHandle::start(Patience::default(), first, &arbiter, death);
        let registry::Settings { waiting_room, window, .. } = settings;
        Self {
            limits,
            registries,
            buses,
            heartbeat,
            entry,
            clock,
            calls,
            waiting_room,
            window,
            died,
        }
    }

    /// The registry of worker 0.
    pub(crate) fn registry(&self) -> &RegistryHandle {
        &self.registries[0]
    }

    /// What a call on worker 0 is given.
    pub(crate) fn for_calls(&self) -> pending::Surroundings {
        pending::Surroundings {
            registry: self.registry().clone(),
            clock: self.clock.clone(),
            limits: self.limits.clone(),
            arbiter: self.window.cast.arbiter(0),
        }
    }

    /// Offers a tunnel that has no connection; the test is all there is of it.
    pub(crate) fn offer(&self, peer: Peer) -> Wire {
        let (carry, carried) = probe();
        let (left, heard_left) = probe();
        let (close, closed) = probe();
        let (drain, drained) = probe();
        let (opened, heard_opened) = probe();
        let id = TunnelId::random();
        let line = Arc::new(Line {
            key: KeyQuota::unlimited(peer.key),
            carry,
            left,
            close,
            drain,
            credit: Credit::new(self.limits.now().tunnel_queue_bytes_max),
            load: Arc::default(),
            gauge: gauge(),
            plain: peer.plain,
        });
        self.registry().offer(OfferTunnel {
            tunnel: id,
            worker: WorkerId(peer.worker),
            services: vec![ServiceName::new(peer.service)],
            streams: peer.streams,
            line: line.clone(),
            opened,
        });
        let home = self.registries[peer.worker].clone();
        Wire { id, line, home, carried, left: heard_left, closed, drained, opened: heard_opened }
    }

    /// The same, and waits until it is open.
    pub(crate) async fn attach(&self, peer: Peer) -> Wire {
        let mut wire = self.offer(peer);
        next(&mut wire.opened).await;
        wire
    }

    /// Opens a tunnel with a real connection; the test is its peer.
    pub(crate) async fn tunnel(&self, peer: Peer) -> Tunnel {
        let tunnel = self.open(peer);
        let first = tunnel.next().await;
        assert!(matches!(first, Outgoing::Connected), "{first:?}");
        tunnel
    }

    /// The same, but does not wait for what becomes of it.
    pub(crate) fn open(&self, peer: Peer) -> Tunnel {
        let (down, down_end) = down(EventLane::new(&self.limits.now(), Arc::default()));
        let (heard, sent) = (LastSeen::new(now()), LastSeen::new(now()));
        let credit = Credit::new(self.limits.now().tunnel_queue_bytes_max);
        let buffer = Allowance::new(self.limits.now().tunnel_buffer_bytes_max);
        let own_calls = Allowance::new(self.limits.now().calls_per_tunnel_max);
        let gauge = gauge();
        let Peer { worker, key, service, streams, cancels, plain, drains } = peer;
        let opening = Opening {
            tunnel: TunnelId::random(),
            worker: WorkerId(worker),
            key: KeyQuota::unlimited(key),
            services: vec![ServiceName::new(service)],
            abilities: Abilities { plain, streams, cancels, drains },
            down,
            credit: credit.clone(),
            buffer: buffer.clone(),
            own_calls: own_calls.clone(),
            heard: heard.clone(),
            sent: sent.clone(),
            gauge: gauge.clone(),
            load: Arc::default(),
        };
        let surroundings = connection::Surroundings {
            first_registry: self.registry().clone(),
            registry: self.registries[worker].clone(),
            heartbeat: self.heartbeat.clone(),
            limits: self.limits.clone(),
            arbiter: self.window.cast.arbiter(worker),
        };
        let connection = ConnectionHandle::open(opening, surroundings);
        Tunnel { connection, down: down_end, heard, sent, credit, buffer, own_calls, gauge }
    }

    /// Forwards a whole call by the registry of worker 0.
    pub(crate) fn forward(&self) -> Called {
        self.forward_from(0, Frame::Whole(message("hi")))
    }

    /// Forwards a call by the registry of any worker.
    pub(crate) fn forward_from(&self, worker: usize, first: Frame<Message>) -> Called {
        self.forward_headed(worker, head(), first)
    }

    /// Forwards a whole call of a session by the registry of any worker.
    pub(crate) fn forward_in(&self, worker: usize, session: Option<Session>) -> Called {
        let head = RequestHead { session, ..head() };
        self.forward_headed(worker, head, Frame::Whole(message("hi")))
    }

    fn forward_headed(&self, worker: usize, head: RequestHead, first: Frame<Message>) -> Called {
        let (caller, outcomes) = probe();
        let request = RequestId::random();
        let head = Arc::new(head);
        self.registries[worker].forward(ForwardRequest::new(request, head, first, caller));
        Called { request, outcomes, carried: None }
    }

    /// Makes a call by the entry.
    pub(crate) fn call(&self, first: Option<Said<Message>>) -> Caller {
        self.call_with(head(), first)
    }

    pub(crate) fn call_with(&self, head: RequestHead, first: Option<Said<Message>>) -> Caller {
        let (for_pending, replies) = mpsc::channel(64);
        self.entry.admit(Admit { head: Arc::new(head), first, replies: for_pending });
        Caller { replies }
    }
}

/// One bus for each worker; so much is kept.
pub(crate) fn start_buses(
    workers: usize,
    limits: &LiveLimits,
    window: &Window,
    keep: Option<Keep>,
    death: &mpsc::UnboundedSender<&'static str>,
) -> Vec<BusHandle> {
    let (limits, window) = (limits.clone(), window.clone());
    let kept = KeptEvents::new(keep, &window.topics);
    let settings = bus::Settings { limits, deduplicate: false, kept, window };
    let start = |worker| BusHandle::start(WorkerId(worker), &settings, death.clone());
    let buses: Vec<_> = (0..workers).map(start).collect();
    for bus in &buses {
        bus.meet(buses.clone());
    }
    buses
}

pub(crate) fn registry_settings(limits: &LiveLimits) -> registry::Settings {
    let routing = Routing { startup_grace: Duration::ZERO, ..Routing::default() };
    registry::Settings {
        routing,
        limits: limits.clone(),
        declared: Vec::new(),
        waiting_room: WaitingRoom::default(),
        window: Window::new(WORKERS_MAX, SERIES_MAX),
    }
}

/// What a peer is and can do; by default it streams and takes cancels.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "as in `Abilities`")]
pub(crate) struct Peer {
    pub(crate) worker: usize,
    pub(crate) key: &'static str,
    pub(crate) service: &'static str,
    pub(crate) streams: bool,
    pub(crate) cancels: bool,
    pub(crate) plain: bool,
    pub(crate) drains: bool,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            worker: 0,
            key: "key",
            service: ECHO,
            streams: true,
            cancels: true,
            plain: false,
            drains: false,
        }
    }
}

impl Peer {
    /// A peer that asked for no feature.
    pub(crate) fn plain() -> Self {
        Self { streams: false, cancels: false, plain: true, ..Self::default() }
    }
}
