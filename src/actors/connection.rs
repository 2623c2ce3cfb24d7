//! One tunnel: carries calls down to its peer and answers up to their callers.
//!
//! It never decides who serves what. It starts when a peer has registered, lives on the worker of
//! the tunnel's socket, ends with the stream, and says goodbye by dropping its farewell.

mod events;
mod farewell;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use actix::prelude::*;
use rustc_hash::FxHashMap;

use crate::observe::cast::{Arbiter, Presence};
use crate::observe::tally::{Count, count};
use crate::observe::tunnels::{State, TunnelGauge};
use crate::tunnel::allowance::Allowance;
use crate::tunnel::directory::Standing;
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::{RequestId, ServiceName, TunnelId, WorkerId};
use crate::tunnel::liveness::LastSeen;
use crate::tunnel::outbox::Withdrawn;
use crate::tunnel::quota::KeyQuota;

use super::answering::{AnswerFrame, Answering};
use super::bus::SubscriptionEnded;
use super::credit::Credit;
use super::down::Down;
use super::event::Published;
use super::heartbeat::{Beat, HeartbeatHandle, Watch};
use super::live::LiveLimits;
use super::mailbox::{Post, Watched, ring, watched};
use super::registry::{
    CallFailed, CallLeft, Carry, CloseTunnel, DrainTunnel, ForwardResponse, Line, OfferTunnel,
    RegistryHandle, TunnelOpened,
};
use super::traffic::{Outgoing, Part};

use farewell::Farewell;

/// How often a tunnel that drains looks whether it is idle.
const IDLE_LOOK: Duration = Duration::from_millis(20);
/// Before that, calls that were admitted when the drain began may still be on their way to it.
const ARRIVAL_TIME: Duration = Duration::from_millis(500);

// === What a connection is told by its wire ===

/// A frame of an answer has come up the tunnel.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Answered {
    request: RequestId,
    frame: Box<AnswerFrame>,
}

/// A frame of an answer could not be read.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct AnswerUnreadable {
    request: RequestId,
}

/// A frame of a call cannot be written to this peer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Undeliverable {
    request: RequestId,
    opening: bool,
    failure: Failure,
}

/// The peer says goodbye: it keeps the calls that it has.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct PeerDrains;

/// It is time to look whether the tunnel, which drains, is idle.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct LookIfIdle;

// === The handle ===

/// A tunnel as its wire sees it.
#[derive(Clone, Debug)]
pub struct ConnectionHandle(Post<Connection>);

/// What a tunnel is started with.
#[derive(Debug)]
pub struct Opening {
    /// Its id, assigned by the gateway.
    pub tunnel: TunnelId,
    /// The worker it lives on.
    pub worker: WorkerId,
    /// The key that opened it, and how many tunnels that may have.
    pub key: KeyQuota,
    /// The names it may serve.
    pub services: Vec<ServiceName>,
    /// What its peer can do.
    pub abilities: Abilities,
    /// The way down to it.
    pub down: Down,
    /// Room in the queue to it.
    pub credit: Credit,
    /// Room for what it says.
    pub buffer: Allowance,
    /// The calls that it makes itself.
    pub own_calls: Allowance,
    /// When it was last heard.
    pub heard: LastSeen,
    /// When something was last sent to it.
    pub sent: LastSeen,
    /// Where it is counted.
    pub gauge: Arc<TunnelGauge>,
    /// Its calls in flight.
    pub load: Arc<AtomicUsize>,
}

/// What a peer can do beyond the plain dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of named abilities, each there or not")]
pub struct Abilities {
    /// It asked for no feature.
    pub plain: bool,
    /// It takes calls that are not one whole message.
    pub streams: bool,
    /// It takes cancels.
    pub cancels: bool,
    /// It takes `drain` and then leaves by itself.
    pub drains: bool,
}

/// What a worker gives to each of its tunnels.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The registry of worker 0.
    pub first_registry: RegistryHandle,
    /// The worker's own registry.
    pub registry: RegistryHandle,
    /// The worker's supervisor.
    pub heartbeat: HeartbeatHandle,
    /// How much of everything.
    pub limits: LiveLimits,
    /// Where the worker's actors are counted.
    pub arbiter: Arc<Arbiter>,
}

impl ConnectionHandle {
    /// Starts a connection on the current arbiter and offers its tunnel.
    pub fn open(opening: Opening, surroundings: Surroundings) -> Self {
        Self(Connection::open(opening, surroundings))
    }

    /// A frame of an answer has come up the tunnel.
    pub fn answered(&self, request: RequestId, frame: Box<AnswerFrame>) {
        self.0.tell(Answered { request, frame });
    }

    /// A frame of an answer could not be read.
    pub fn answer_unreadable(&self, request: RequestId) {
        self.0.tell(AnswerUnreadable { request });
    }

    /// A frame of a call cannot be written to this peer. If it was the `opening` one, the peer knows
    /// nothing of the call.
    pub fn undeliverable(&self, request: RequestId, opening: bool, failure: Failure) {
        self.0.tell(Undeliverable { request, opening, failure });
    }

    /// The peer says goodbye.
    pub fn peer_drains(&self) {
        self.0.tell(PeerDrains);
    }

    /// Ends the tunnel.
    pub fn close(&self, end: TunnelEnd) {
        self.0.tell(CloseTunnel(end));
    }

    /// The task of its wire is gone. Mostly the connection has ended before, and needs no word.
    pub fn abandoned(&self) {
        if self.0.is_open() {
            self.close(TunnelEnd::Panic);
        }
    }

    #[cfg(test)]
    pub(crate) fn crash(&self) {
        self.0.tell(super::testing::Crash);
    }
}

// === The actor ===

/// The actor behind the handle.
#[derive(Debug)]
pub struct Connection {
    tunnel: TunnelId,
    abilities: Abilities,
    calls: FxHashMap<RequestId, Answering>,
    buffer: Allowance,
    own_calls: Allowance,
    down: Down,
    heard: LastSeen,
    sent: LastSeen,
    gauge: Arc<TunnelGauge>,
    drain_when_open: Option<DrainTunnel>,
    surroundings: Surroundings,
    farewell: Farewell,
    presence: Presence,
}

watched!(
    Connection is Connection,
    told: [
        Answered, AnswerUnreadable, Undeliverable, PeerDrains, TunnelOpened, Carry, CallLeft, Beat,
        DrainTunnel, CloseTunnel, SubscriptionEnded, Published,
    ],
    asked: [],
    timers: [LookIfIdle],
);

impl Connection {
    fn open(opening: Opening, surroundings: Surroundings) -> Post<Self> {
        let Opening { tunnel, worker, key, services, abilities, down, credit, buffer, .. } =
            opening;
        let Opening { own_calls, heard, sent, gauge, load, .. } = opening;
        let first_registry = surroundings.first_registry.clone();
        let farewell = Farewell {
            first_registry: first_registry.clone(),
            registry: surroundings.registry.clone(),
            tunnel,
            down: down.clone(),
        };
        let presence = surroundings.arbiter.enter(Self::ROLE, Some(tunnel.uuid()));
        let connection = Post::start(Self {
            tunnel,
            abilities,
            calls: FxHashMap::default(),
            buffer,
            own_calls,
            down,
            heard,
            sent,
            gauge: gauge.clone(),
            drain_when_open: None,
            surroundings,
            farewell,
            presence,
        });
        let line = Line {
            key,
            carry: connection.mailbox(),
            left: connection.mailbox(),
            close: connection.mailbox(),
            drain: connection.mailbox(),
            credit,
            load,
            gauge,
            plain: abilities.plain,
        };
        first_registry.offer(OfferTunnel {
            tunnel,
            worker,
            services,
            streams: abilities.streams,
            line: Arc::new(line),
            opened: connection.mailbox(),
        });
        connection
    }

    /// The last part of an answer, or the only one, goes by the registry, which knows the caller
    /// for sure; the others go straight.
    fn deliver(&mut self, request: RequestId, part: Box<Part>) {
        if part.ending.is_some() {
            self.calls.remove(&request);
            let tunnel = self.tunnel;
            self.surroundings.registry.answer(ForwardResponse { request, tunnel, part });
        } else if let Some(answering) = self.calls.get(&request) {
            answering.caller.tell(super::registry::Outcome::Part(part));
        }
    }

    /// Ends a call that its peer may still be working on.
    fn fail(&mut self, request: RequestId, failure: Failure) {
        if self.calls.remove(&request).is_some() {
            count(Count::FrameRejected);
            self.surroundings.registry.fail(CallFailed { request, failure });
            self.withdraw(request, failure);
        }
    }

    /// Ends a call that its peer is done with, or never heard of.
    fn fail_for_good(&mut self, request: RequestId, failure: Failure) {
        count(Count::FrameRejected);
        self.down.withdraw(request);
        self.deliver(request, Part::failed(failure));
    }

    /// Ends the tunnel as soon as its peer has nothing to do or to read any more.
    fn end_when_idle(&mut self, ctx: &mut Context<Self>) {
        if self.calls.is_empty() && self.own_calls.used() == 0 && self.down.is_idle() {
            self.farewell.end(TunnelEnd::Draining);
            ctx.stop();
        } else {
            look_later(IDLE_LOOK, ctx);
        }
    }

    fn drain(&mut self, DrainTunnel { ask }: DrainTunnel, ctx: &mut Context<Self>) {
        if !self.down.is_open() {
            // The peer hears of it after it has heard that it is connected.
            self.drain_when_open = Some(DrainTunnel { ask });
            return;
        }
        self.gauge.stands(State::Draining);
        match ask {
            Some(grace) if self.abilities.drains => {
                self.down.push_control(Outgoing::Drain { grace });
            }
            Some(_) => look_later(ARRIVAL_TIME, ctx),
            None => self.end_when_idle(ctx),
        }
    }

    fn withdraw(&self, request: RequestId, failure: Failure) {
        match self.down.withdraw(request) {
            Withdrawn::Unseen => self.surroundings.registry.call_unseen(request),
            Withdrawn::Seen if self.abilities.cancels => {
                self.down.push_control(Outgoing::Cancel { request, failure });
            }
            Withdrawn::Seen => {}
        }
    }
}

fn look_later(wait: Duration, ctx: &mut Context<Connection>) {
    ctx.run_later(wait, |connection, ctx| ring(connection, LookIfIdle, ctx));
}

impl Actor for Connection {
    type Context = Context<Self>;
}

impl Handler<TunnelOpened> for Connection {
    type Result = ();

    fn handle(&mut self, _: TunnelOpened, ctx: &mut Self::Context) {
        self.gauge.is_open();
        self.down.open();
        self.surroundings.heartbeat.watch(Watch {
            tunnel: self.tunnel,
            heard: self.heard.clone(),
            sent: self.sent.clone(),
            lane: self.down.lane().clone(),
            beat: Post::of(self, ctx).mailbox(),
            close: Post::of(self, ctx).mailbox(),
        });
        if let Some(drain) = self.drain_when_open.take() {
            self.drain(drain, ctx);
        }
    }
}

impl Handler<Carry> for Connection {
    type Result = ();

    fn handle(&mut self, Carry { request, head, frame, opening }: Carry, _: &mut Self::Context) {
        let is_opening = opening.is_some();
        if let Some(caller) = opening {
            let answering = Answering::new(caller, &head, &self.surroundings.limits.now());
            self.calls.insert(request, answering);
        }
        // What a caller says after the answer is complete has nowhere to go.
        if self.calls.contains_key(&request) {
            self.down.push(request, is_opening, Outgoing::Request { request, head, frame });
        }
    }
}

impl Handler<CallLeft> for Connection {
    type Result = ();

    fn handle(&mut self, CallLeft { request, failure }: CallLeft, _: &mut Self::Context) {
        if self.calls.remove(&request).is_none() {
            return;
        }
        if failure == Failure::MessageTooLarge && self.abilities.cancels {
            // What the caller said before is delivered; the end comes in its turn after it.
            self.down.push(request, false, Outgoing::Cancel { request, failure });
        } else {
            self.withdraw(request, failure);
        }
    }
}

impl Handler<Answered> for Connection {
    type Result = ();

    fn handle(&mut self, Answered { request, frame }: Answered, _: &mut Self::Context) {
        let last = frame.step.is_last();
        let Some(answering) = self.calls.get_mut(&request) else {
            // The last word on a call that was cancelled frees its slot.
            if last {
                self.deliver(request, Part::failed(Failure::Cancelled));
            } else {
                count(Count::FrameLate);
            }
            return;
        };
        match answering.step(*frame, &self.buffer) {
            Ok(Some(part)) => self.deliver(request, part),
            Ok(None) => {}
            Err(failure) if last => self.fail_for_good(request, failure),
            Err(failure) => self.fail(request, failure),
        }
    }
}

impl Handler<AnswerUnreadable> for Connection {
    type Result = ();

    fn handle(&mut self, unreadable: AnswerUnreadable, _: &mut Self::Context) {
        self.fail(unreadable.request, Failure::BadTunnelFrame);
    }
}

impl Handler<Undeliverable> for Connection {
    type Result = ();

    fn handle(&mut self, undeliverable: Undeliverable, _: &mut Self::Context) {
        let Undeliverable { request, opening, failure } = undeliverable;
        if opening && self.calls.contains_key(&request) {
            self.fail_for_good(request, failure);
        } else {
            self.fail(request, failure);
        }
    }
}

impl Handler<Beat> for Connection {
    type Result = ();

    fn handle(&mut self, _: Beat, _: &mut Self::Context) {
        self.down.push_heartbeat();
    }
}

impl Handler<PeerDrains> for Connection {
    type Result = ();

    fn handle(&mut self, _: PeerDrains, _: &mut Self::Context) {
        log::info!("tunnel drains: tunnel={}", self.tunnel);
        self.surroundings.first_registry.set_standing(self.tunnel, Standing::Draining);
    }
}

impl Handler<DrainTunnel> for Connection {
    type Result = ();

    fn handle(&mut self, drain: DrainTunnel, ctx: &mut Self::Context) {
        self.drain(drain, ctx);
    }
}

impl Handler<LookIfIdle> for Connection {
    type Result = ();

    fn handle(&mut self, _: LookIfIdle, ctx: &mut Self::Context) {
        self.end_when_idle(ctx);
    }
}

impl Handler<CloseTunnel> for Connection {
    type Result = ();

    fn handle(&mut self, CloseTunnel(end): CloseTunnel, ctx: &mut Self::Context) {
        let tell = self.abilities.cancels && !end.is_unheard();
        for request in self.farewell.end(end) {
            self.calls.remove(&request);
        }
        // What is left its peer has seen.
        for request in self.calls.drain().map(|(request, _)| request).filter(|_| tell) {
            self.down.leave_word(Outgoing::Cancel { request, failure: Failure::TunnelLost });
        }
        ctx.stop();
    }
}

#[cfg(test)]
mod tests;
