//! The registry: puts each request through to a tunnel and each response through to its caller.
//!
//! There is one on every worker. Each knows all tunnels ([`Directory`]) and owns the calls of the
//! tunnels on its own worker ([`Switchboard`]). A caller's registry picks the tunnel; when that
//! lives on another worker, its registry opens the call, or sends it back to be picked again.
//! Registry 0 also admits tunnels and announces them to the others, itself included, so that all
//! of them see the same changes in the same order.
//!
//! It decides nothing itself: the rule books say what must be done, the handlers below do it.

mod census;
mod handle;
mod messages;
mod routing;
mod waiting;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use tokio::sync::{mpsc, watch};

use crate::observe::calls::Calls;
use crate::observe::cast::Presence;
use crate::observe::tally::{Count, count};
use crate::observe::tunnels::State;
use crate::tunnel::admission::Rejection;
use crate::tunnel::directory::{Directory, Entry, Routing, Standing};
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::{ServiceName, TunnelId, WorkerId};
use crate::tunnel::quota::{Quota, Service};
use crate::tunnel::switchboard::Switchboard;
use crate::tunnel::waiting::{Waiting, WaitingRoom};

use super::farewell::PermanentFarewell;
use super::live::LiveLimits;
use super::mailbox::{Mailbox, Posted, Watched, ring, watched};
use super::traffic::Part;
use super::{now, wait_past};
use census::{Changes, ConditionOf, Conditions, Served, Witnesses};
use waiting::{EndWaits, Waiter};

pub use census::Admits;
pub use handle::{RegistryHandle, Settings};
pub use messages::{
    AttachTunnel, CallFailed, CallLeft, CallUnseen, Carried, Carry, CloseTunnel, DetachTunnel,
    Drain, DrainTunnel, ForwardRequest, ForwardResponse, HangUp, Inquire, Line, Meet, OfferTunnel,
    OpenHere, Outcome, Reconfigure, SetStanding, TakeBack, TunnelClosed, TunnelOpened,
};

/// The actor behind the handle.
#[derive(Debug)]
pub struct Registry {
    worker: WorkerId,
    directory: Directory<Arc<Line>>,
    board: Switchboard<Mailbox<Outcome>>,
    /// All registries, this one included, in the order of their workers.
    registries: Vec<RegistryHandle>,
    /// Counted by registry 0: the tunnels of each key and service.
    quota: Quota,
    /// Kept by registry 0: what to count out when a tunnel goes.
    admitted: HashMap<TunnelId, (Arc<Line>, Vec<ServiceName>)>,
    limits: LiveLimits,
    /// Told by registry 0 which names are served, and how they are matched.
    counted: Arc<Calls>,
    /// Told of each change in which tunnels there are and which of them may be chosen.
    changes: watch::Sender<()>,
    /// The calls that wait here for a tunnel, and when the first of them will have waited enough.
    waiting: Waiting<Waiter>,
    waiting_room: WaitingRoom,
    wait_end: Option<(Instant, SpawnHandle)>,
    /// What the tunnels of this worker were told last, once the gateway stops.
    draining: Option<Drain>,
    sweep: Option<SpawnHandle>,
    /// State of the generator that breaks ties between tunnels (splitmix64: quality does not
    /// matter, speed does).
    coin: u64,
    _farewell: PermanentFarewell,
    presence: Presence,
}

watched!(
    Registry is Registry,
    told: [
        Meet, Reconfigure, OfferTunnel, AttachTunnel, TunnelClosed, DetachTunnel, SetStanding,
        Inquire, ForwardRequest, OpenHere, TakeBack, ForwardResponse, CallFailed, HangUp, CallUnseen,
        Drain,
    ],
    asked: [ConditionOf, Conditions, Served, Witnesses, Changes],
    timers: [Sweep, EndWaits],
);

/// It is time to free the slots of calls that have been leaving for long enough.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Sweep;

impl Registry {
    fn new(
        worker: WorkerId,
        settings: &Settings,
        died: mpsc::UnboundedSender<&'static str>,
    ) -> Self {
        let Settings { routing, limits: live, declared, waiting_room, window } = settings;
        let limits = live.now();
        let counted = window.calls.clone();
        if worker.0 == 0 {
            tell_names(&counted, routing, declared);
        }
        Self {
            worker,
            counted,
            directory: Directory::new(
                worker,
                *routing,
                limits.names_remembered_max,
                declared.iter().cloned(),
                now(),
            ),
            board: Switchboard::new(limits.calls_per_tunnel_max, limits.cancel_timeout),
            registries: Vec::new(),
            quota: Quota::default(),
            admitted: HashMap::new(),
            limits: live.clone(),
            changes: watch::Sender::new(()),
            waiting: Waiting::new(),
            waiting_room: waiting_room.clone(),
            wait_end: None,
            draining: None,
            sweep: None,
            coin: worker.0 as u64,
            _farewell: PermanentFarewell { kind: "registry", died },
            presence: window.cast.arbiter(worker.0).enter(Self::ROLE, None),
        }
    }

    fn admit(&mut self, offer: &OfferTunnel) -> Result<Vec<Service>, Rejection> {
        if self.draining.is_some() {
            return Err(Rejection::Draining);
        }
        self.quota.enter(&offer.line.key, &offer.services, &self.limits.now())
    }

    /// Frees the slots of calls that have been leaving for long enough, now and when the next is
    /// due.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        self.sweep = None;
        for tunnel in self.board.sweep(now()) {
            self.publish(tunnel);
        }
        self.arm_sweep(ctx);
    }

    fn arm_sweep(&mut self, ctx: &mut Context<Self>) {
        let due = self.board.next_sweep().filter(|_| self.sweep.is_none());
        if let Some(due) = due {
            let sweep = |registry: &mut Self, ctx: &mut _| ring(registry, Sweep, ctx);
            self.sweep = Some(ctx.run_later(wait_past(due), sweep));
        }
    }

    /// Who watches sees how a tunnel of this worker stands.
    fn show_standing(&self, tunnel: TunnelId) {
        let entry = self.directory.entry(tunnel).filter(|entry| entry.worker == self.worker);
        if let Some(entry) = entry {
            entry.line.gauge.stands(match entry.standing {
                Standing::Ready => State::Ready,
                Standing::Late => State::Late,
                Standing::Draining => State::Draining,
            });
        }
    }

    /// Tells every registry, that of worker `home` before the others: what these send it because of
    /// the news comes after the news.
    fn announce<M>(&self, home: WorkerId, message: &M)
    where
        M: Clone + Send + 'static,
        Registry: Handler<Posted<M>>,
    {
        let (home, others): (Vec<_>, Vec<_>) =
            self.registries.iter().enumerate().partition(|(place, _)| *place == home.0);
        for (_, registry) in home.into_iter().chain(others) {
            registry.0.tell(message.clone());
        }
    }
}

/// Names that the configuration writes out count as served: calls of them are told to come back.
fn tell_names(counted: &Calls, routing: &Routing, declared: &[ServiceName]) {
    counted.match_unqualified(routing.match_unqualified);
    counted.declare(declared.iter().map(ServiceName::as_str));
}

impl Actor for Registry {
    type Context = Context<Self>;
}

impl Handler<Meet> for Registry {
    type Result = ();

    fn handle(&mut self, Meet(registries): Meet, _: &mut Self::Context) {
        self.registries = registries;
    }
}

impl Handler<Reconfigure> for Registry {
    type Result = ();

    fn handle(&mut self, message: Reconfigure, ctx: &mut Self::Context) {
        let limits = self.limits.now();
        let Reconfigure { routing, declared } = message;
        if self.worker.0 == 0 {
            tell_names(&self.counted, &routing, &declared);
        }
        self.directory.reconfigure(routing, limits.names_remembered_max, declared);
        self.board.reconfigure(limits.calls_per_tunnel_max, limits.cancel_timeout);
        drop(limits);
        // A name may be known now, or no more, or served that was not; slots may be due earlier.
        self.changes.send_replace(());
        self.release_waiting(ctx);
        if let Some(timer) = self.sweep.take() {
            ctx.cancel_future(timer);
        }
        self.arm_sweep(ctx);
    }
}

impl Handler<OfferTunnel> for Registry {
    type Result = ();

    fn handle(&mut self, offer: OfferTunnel, _: &mut Self::Context) {
        let shared = match self.admit(&offer) {
            Ok(shared) => shared,
            Err(rejection) => {
                offer.line.close.tell(CloseTunnel(TunnelEnd::Rejected(rejection)));
                return;
            }
        };
        let OfferTunnel { tunnel, worker, services, streams, line, opened } = offer;
        self.counted.served(services.iter().map(ServiceName::as_str));
        self.admitted.insert(tunnel, (line.clone(), services));
        let (services, arrival) = (shared, Arc::new(messages::Arrival::new(opened)));
        self.announce(worker, &AttachTunnel { tunnel, worker, services, streams, line, arrival });
    }
}

impl Handler<AttachTunnel> for Registry {
    type Result = ();

    fn handle(&mut self, message: AttachTunnel, ctx: &mut Self::Context) {
        let AttachTunnel { tunnel, worker, services, streams, line, arrival: _arrival } = message;
        if worker == self.worker {
            self.board.attach(tunnel);
        }
        if let Some(drain) = self.draining.filter(|_| worker == self.worker) {
            // It was admitted just before.
            line.drained(drain);
        }
        let entry = Entry { worker, services, streams, standing: Standing::Ready, line };
        self.directory.attach(tunnel, entry);
        self.changes.send_replace(());
        self.release_waiting(ctx);
    }
}

impl Handler<TunnelClosed> for Registry {
    type Result = ();

    fn handle(&mut self, TunnelClosed { tunnel }: TunnelClosed, _: &mut Self::Context) {
        // A tunnel that was not admitted is nowhere announced.
        let Some((line, services)) = self.admitted.remove(&tunnel) else { return };
        self.quota.leave(&line.key.key, &services);
        self.counted.left(services.iter().map(ServiceName::as_str));
        self.announce(self.worker, &DetachTunnel { tunnel });
    }
}

impl Handler<DetachTunnel> for Registry {
    type Result = ();

    fn handle(&mut self, DetachTunnel { tunnel }: DetachTunnel, _: &mut Self::Context) {
        if let Some(entry) = self.directory.detach(tunnel, now()) {
            entry.line.credit.close();
        }
        self.changes.send_replace(());
        for caller in self.board.detach(tunnel) {
            caller.tell(Outcome::Part(Part::failed(Failure::TunnelLost)));
        }
    }
}

impl Handler<SetStanding> for Registry {
    type Result = ();

    fn handle(&mut self, message: SetStanding, ctx: &mut Self::Context) {
        if message.announced {
            self.directory.set_standing(message.tunnel, message.standing);
            self.show_standing(message.tunnel);
            self.changes.send_replace(());
            if message.standing == Standing::Ready {
                self.release_waiting(ctx);
            }
        } else {
            self.announce(self.worker, &SetStanding { announced: true, ..message });
        }
    }
}

impl Handler<Inquire> for Registry {
    type Result = ();

    fn handle(&mut self, inquiry: Inquire, ctx: &mut Self::Context) {
        self.inquire(inquiry, ctx);
    }
}

impl Handler<ForwardRequest> for Registry {
    type Result = ();

    fn handle(&mut self, call: ForwardRequest, ctx: &mut Self::Context) {
        let call = self.after_inquiry(call, ctx);
        self.put_through(call, ctx);
    }
}

impl Handler<OpenHere> for Registry {
    type Result = ();

    fn handle(&mut self, OpenHere { tunnel, call, from }: OpenHere, _: &mut Self::Context) {
        if let Err(call) = self.open(tunnel, call) {
            from.forward(*call);
        }
    }
}

impl Handler<TakeBack> for Registry {
    type Result = ();

    /// A call that is all there is put through again, as if for the first time: nobody has acted on
    /// it. Of any other call more may be under way to the tunnel that ends, so its caller is told to
    /// try again.
    fn handle(&mut self, back: TakeBack, ctx: &mut Self::Context) {
        let TakeBack { request, tunnel, head, first } = back;
        let caller = self.board.answer(request, tunnel);
        self.publish(tunnel);
        let Some(caller) = caller else { return };
        if self.draining.is_some() {
            caller.tell(Outcome::Refused(Failure::Draining));
        } else if first.is_last() {
            count(Count::CallPutThroughAgain);
            let call = ForwardRequest::new(request, head, first, caller);
            self.put_through(*call.refused_by(tunnel, Failure::NoTunnel), ctx);
        } else {
            caller.tell(Outcome::Refused(Failure::NoTunnel));
        }
    }
}

impl Handler<ForwardResponse> for Registry {
    type Result = ();

    fn handle(&mut self, response: ForwardResponse, _: &mut Self::Context) {
        let ForwardResponse { request, tunnel, part } = response;
        match self.board.answer(request, tunnel) {
            Some(caller) => caller.tell(Outcome::Part(part)),
            None => count(Count::FrameLate),
        }
        self.publish(tunnel);
    }
}

impl Handler<CallFailed> for Registry {
    type Result = ();

    fn handle(&mut self, failed: CallFailed, ctx: &mut Self::Context) {
        if let Some((_, caller)) = self.board.hang_up(failed.request, now()) {
            caller.tell(Outcome::Part(Part::failed(failed.failure)));
            self.arm_sweep(ctx);
        }
    }
}

impl Handler<HangUp> for Registry {
    type Result = ();

    fn handle(&mut self, HangUp { request, failure }: HangUp, ctx: &mut Self::Context) {
        if self.withdraw(request, failure, ctx) {
            return;
        }
        let Some((tunnel, _)) = self.board.hang_up(request, now()) else { return };
        if let Some(entry) = self.directory.entry(tunnel) {
            entry.line.left.tell(CallLeft { request, failure });
        }
        self.arm_sweep(ctx);
    }
}

impl Handler<CallUnseen> for Registry {
    type Result = ();

    fn handle(&mut self, CallUnseen { request }: CallUnseen, _: &mut Self::Context) {
        if let Some(tunnel) = self.board.forget(request) {
            self.publish(tunnel);
        }
    }
}

impl Handler<Sweep> for Registry {
    type Result = ();

    fn handle(&mut self, _: Sweep, ctx: &mut Self::Context) {
        self.sweep(ctx);
    }
}

impl Handler<Drain> for Registry {
    type Result = ();

    fn handle(&mut self, drain: Drain, ctx: &mut Self::Context) {
        self.draining = Some(drain);
        self.refuse_waiting(Failure::Draining, ctx);
        for entry in self.directory.entries().filter(|entry| entry.worker == self.worker) {
            entry.line.drained(drain);
        }
    }
}

#[cfg(test)]
mod tests;
