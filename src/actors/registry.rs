//! The registry: puts each request through to a tunnel and each response through to its caller.
//!
//! There is one on every worker. Each knows all tunnels ([`Directory`]) and owns the calls of the
//! tunnels on its own worker ([`Switchboard`]). A caller's registry picks the tunnel; when that
//! lives on another worker, its registry opens the call, or sends it back to be picked again.
//! Registry 0 also admits tunnels and announces them to the others, itself included, so that all
//! of them see the same changes in the same order.
//!
//! It decides nothing itself: the rule books say what must be done, the handlers below do it.

mod handle;
mod messages;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::mpsc;

use crate::observe::tally::{Count, count};
use crate::tunnel::admission::Rejection;
use crate::tunnel::call::Frame;
use crate::tunnel::directory::{Directory, Entry, NoPick, Standing, Wish};
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::{ServiceName, TunnelId, WorkerId};
use crate::tunnel::quota::Quota;
use crate::tunnel::switchboard::{Refusal, Refused, Switchboard};

use super::farewell::PermanentFarewell;
use super::live::LiveLimits;
use super::now;
use super::traffic::Part;

pub use handle::{RegistryHandle, Settings};
pub use messages::{
    AttachTunnel, CallFailed, CallLeft, CallUnseen, Carried, Carry, CloseTunnel, DetachTunnel,
    Drain, DrainTunnel, ForwardRequest, ForwardResponse, HangUp, Inquire, Line, Meet, OfferTunnel,
    OpenHere, Outcome, Reconfigure, SetStanding, TakeBack, TunnelClosed, TunnelOpened,
};

/// How often a call is offered to another tunnel before it is refused.
const PICKS_MAX: usize = 8;

/// The actor behind the handle.
#[derive(Debug)]
pub struct Registry {
    worker: WorkerId,
    directory: Directory<Arc<Line>>,
    board: Switchboard<Recipient<Outcome>>,
    /// All registries, this one included, in the order of their workers.
    registries: Vec<RegistryHandle>,
    /// Counted by registry 0: the tunnels of each key and service.
    quota: Quota,
    /// Kept by registry 0: what to count out when a tunnel goes.
    admitted: HashMap<TunnelId, (Arc<Line>, Vec<ServiceName>)>,
    limits: LiveLimits,
    draining: bool,
    sweep: Option<SpawnHandle>,
    /// State of the generator that breaks ties between tunnels (splitmix64: quality does not
    /// matter, speed does).
    coin: u64,
    _farewell: PermanentFarewell,
}

impl Registry {
    fn new(
        worker: WorkerId,
        settings: &Settings,
        died: mpsc::UnboundedSender<&'static str>,
    ) -> Self {
        let Settings { routing, limits: live, declared } = settings;
        let limits = live.now();
        Self {
            worker,
            directory: Directory::new(
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
            draining: false,
            sweep: None,
            coin: worker.0 as u64,
            _farewell: PermanentFarewell { kind: "registry", died },
        }
    }

    /// Picks a tunnel for a call and opens it there.
    fn put_through(&mut self, call: ForwardRequest) {
        let picked = self.pick(&call);
        match picked {
            Ok((tunnel, home)) if home == self.worker => {
                if let Err(call) = self.open(tunnel, call) {
                    self.put_through(*call);
                }
            }
            Ok((tunnel, home)) => {
                let from = self.registries[self.worker.0].clone();
                self.registries[home.0].0.do_send(OpenHere { tunnel, call, from });
            }
            Err(NoPick::WholeOnly) => {
                call.caller.do_send(Outcome::OnlyWhole(call.first));
            }
            Err(reason) => {
                let failure = call.refused.unwrap_or(failure_of(reason));
                let failure = self.or_draining(failure);
                call.caller.do_send(Outcome::Refused(failure));
            }
        }
    }

    fn pick(&mut self, call: &ForwardRequest) -> Result<(TunnelId, WorkerId), NoPick> {
        if call.tried.len() >= PICKS_MAX {
            return Err(NoPick::AllTried);
        }
        let wish = Wish {
            path: &call.head.path,
            needs_stream: !matches!(call.first, Frame::Whole(_)),
            worker: self.worker,
            avoid: &call.tried,
            coin: toss(&mut self.coin),
        };
        let load = |line: &Arc<Line>| line.load.load(Ordering::Relaxed);
        let tunnel = self.directory.pick(&wish, now(), load)?;
        let home = self.directory.entry(tunnel).map_or(self.worker, |entry| entry.worker);
        Ok((tunnel, home))
    }

    /// Opens a call on a tunnel of this worker: a slot, room for the first frame, and off it goes.
    /// A call that the tunnel cannot take comes back with the reason in it, to be picked for again.
    fn open(
        &mut self,
        tunnel: TunnelId,
        mut call: ForwardRequest,
    ) -> Result<(), Box<ForwardRequest>> {
        let Some(line) = self.directory.entry(tunnel).map(|entry| entry.line.clone()) else {
            return Err(call.refused_by(tunnel, Failure::NoTunnel));
        };
        if !line.carry.connected() {
            return Err(call.refused_by(tunnel, Failure::NoTunnel));
        }
        let Some(permit) = line.credit.try_take(call.cost()) else {
            let closed = line.credit.is_closed();
            let failure = if closed { Failure::NoTunnel } else { Failure::QueueFull };
            return Err(call.refused_by(tunnel, failure));
        };
        let waiting = call.caller.clone();
        if let Err(Refused { reason, .. }) = self.board.open(call.request, tunnel, waiting) {
            return Err(call.refused_by(tunnel, failure_of_refusal(reason)));
        }
        self.publish(tunnel);
        if let Frame::Whole(message) | Frame::Message { message, .. } = &mut call.first {
            message.room.tunnel_queue = Some(permit);
        }
        let ForwardRequest { request, head, first, caller, .. } = call;
        let home = self.registries[self.worker.0].clone();
        let whole = first.is_last();
        // The tunnel first: once the caller knows it, further frames go to it straight.
        let carry = Carry { request, head, frame: first, opening: Some(caller.clone()) };
        line.carry.do_send(carry);
        let carried = Carried::new(line, home, request);
        caller.do_send(Outcome::Opened { carried, whole });
        Ok(())
    }

    /// Tells the other workers how busy a tunnel is.
    fn publish(&self, tunnel: TunnelId) {
        if let Some(entry) = self.directory.entry(tunnel) {
            entry.line.load.store(self.board.carried(tunnel), Ordering::Relaxed);
        }
    }

    /// While the gateway drains, tunnels go: that is what callers are told then.
    fn or_draining(&self, failure: Failure) -> Failure {
        if self.draining && failure == Failure::NoTunnel { Failure::Draining } else { failure }
    }

    fn admit(&mut self, offer: &OfferTunnel) -> Result<(), Rejection> {
        if self.draining {
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
            // The timer's own resolution is a millisecond.
            let wait = due.saturating_duration_since(now()) + Duration::from_millis(1);
            self.sweep = Some(ctx.run_later(wait, Self::sweep));
        }
    }

    /// Tells every registry; this one last, so that a call that it forwards to another finds the
    /// same tunnels there.
    fn announce<M>(&self, message: &M)
    where
        M: Message<Result = ()> + Clone + Send + 'static,
        Registry: Handler<M>,
    {
        let (own, others): (Vec<_>, Vec<_>) =
            self.registries.iter().enumerate().partition(|(place, _)| *place == self.worker.0);
        for (_, registry) in others.into_iter().chain(own) {
            registry.0.do_send(message.clone());
        }
    }
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

    fn handle(&mut self, message: Reconfigure, _: &mut Self::Context) {
        let limits = self.limits.now();
        let Reconfigure { routing, declared } = message;
        self.directory.reconfigure(routing, limits.names_remembered_max, declared);
        self.board.reconfigure(limits.calls_per_tunnel_max, limits.cancel_timeout);
    }
}

impl Handler<OfferTunnel> for Registry {
    type Result = ();

    fn handle(&mut self, offer: OfferTunnel, _: &mut Self::Context) {
        if let Err(rejection) = self.admit(&offer) {
            offer.line.close.do_send(CloseTunnel(TunnelEnd::Rejected(rejection)));
            return;
        }
        let OfferTunnel { tunnel, worker, services, streams, line, opened } = offer;
        self.admitted.insert(tunnel, (line.clone(), services.clone()));
        let arrival = Arc::new(messages::Arrival::new(opened));
        self.announce(&AttachTunnel { tunnel, worker, services, streams, line, arrival });
    }
}

impl Handler<AttachTunnel> for Registry {
    type Result = ();

    fn handle(&mut self, message: AttachTunnel, _: &mut Self::Context) {
        let AttachTunnel { tunnel, worker, services, streams, line, arrival: _arrival } = message;
        if worker == self.worker {
            self.board.attach(tunnel);
        }
        let entry = Entry { worker, services, streams, standing: Standing::Ready, line };
        self.directory.attach(tunnel, entry);
    }
}

impl Handler<TunnelClosed> for Registry {
    type Result = ();

    fn handle(&mut self, TunnelClosed { tunnel }: TunnelClosed, _: &mut Self::Context) {
        // A tunnel that was not admitted is nowhere announced.
        let Some((line, services)) = self.admitted.remove(&tunnel) else { return };
        self.quota.leave(&line.key.key, &services);
        self.announce(&DetachTunnel { tunnel });
    }
}

impl Handler<DetachTunnel> for Registry {
    type Result = ();

    fn handle(&mut self, DetachTunnel { tunnel }: DetachTunnel, _: &mut Self::Context) {
        if let Some(entry) = self.directory.detach(tunnel, now()) {
            entry.line.credit.close();
        }
        for caller in self.board.detach(tunnel) {
            caller.do_send(Outcome::Part(Part::failed(Failure::TunnelLost)));
        }
    }
}

impl Handler<SetStanding> for Registry {
    type Result = ();

    fn handle(&mut self, message: SetStanding, _: &mut Self::Context) {
        if message.announced {
            self.directory.set_standing(message.tunnel, message.standing);
        } else {
            self.announce(&SetStanding { announced: true, ..message });
        }
    }
}

impl Handler<Inquire> for Registry {
    type Result = ();

    fn handle(&mut self, Inquire { path, caller }: Inquire, _: &mut Self::Context) {
        let wish = Wish {
            path: &path,
            needs_stream: false,
            worker: self.worker,
            avoid: &[],
            coin: toss(&mut self.coin),
        };
        if let Err(reason) = self.directory.pick(&wish, now(), |_| 0) {
            caller.do_send(Outcome::Unserved(failure_of(reason)));
        }
    }
}

impl Handler<ForwardRequest> for Registry {
    type Result = ();

    fn handle(&mut self, call: ForwardRequest, _: &mut Self::Context) {
        self.put_through(call);
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
    fn handle(&mut self, back: TakeBack, _: &mut Self::Context) {
        let TakeBack { request, tunnel, head, first } = back;
        let caller = self.board.answer(request, tunnel);
        self.publish(tunnel);
        let Some(caller) = caller else { return };
        if self.draining {
            caller.do_send(Outcome::Refused(Failure::Draining));
        } else if first.is_last() {
            count(Count::CallPutThroughAgain);
            let call = ForwardRequest::new(request, head, first, caller);
            self.put_through(*call.refused_by(tunnel, Failure::NoTunnel));
        } else {
            caller.do_send(Outcome::Refused(Failure::NoTunnel));
        }
    }
}

impl Handler<ForwardResponse> for Registry {
    type Result = ();

    fn handle(&mut self, response: ForwardResponse, _: &mut Self::Context) {
        let ForwardResponse { request, tunnel, part } = response;
        match self.board.answer(request, tunnel) {
            Some(caller) => caller.do_send(Outcome::Part(part)),
            None => count(Count::FrameLate),
        }
        self.publish(tunnel);
    }
}

impl Handler<CallFailed> for Registry {
    type Result = ();

    fn handle(&mut self, failed: CallFailed, ctx: &mut Self::Context) {
        if let Some((_, caller)) = self.board.hang_up(failed.request, now()) {
            caller.do_send(Outcome::Part(Part::failed(failed.failure)));
            self.arm_sweep(ctx);
        }
    }
}

impl Handler<HangUp> for Registry {
    type Result = ();

    fn handle(&mut self, HangUp { request, failure }: HangUp, ctx: &mut Self::Context) {
        let Some((tunnel, _)) = self.board.hang_up(request, now()) else { return };
        if let Some(entry) = self.directory.entry(tunnel) {
            entry.line.left.do_send(CallLeft { request, failure });
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

impl Handler<Drain> for Registry {
    type Result = ();

    fn handle(&mut self, drain: Drain, _: &mut Self::Context) {
        self.draining = true;
        for entry in self.directory.entries().filter(|entry| entry.worker == self.worker) {
            let Line { close, drain: leave, .. } = &*entry.line;
            match drain {
                Drain::Begin(grace) => leave.do_send(DrainTunnel { ask: Some(grace) }),
                Drain::Finish => leave.do_send(DrainTunnel { ask: None }),
                Drain::Cut => close.do_send(CloseTunnel(TunnelEnd::Draining)),
            }
        }
    }
}

#[cfg(test)]
impl Handler<super::testing::Crash> for Registry {
    type Result = ();

    fn handle(&mut self, _: super::testing::Crash, _: &mut Self::Context) {
        panic!("a bug in the registry");
    }
}

fn failure_of(reason: NoPick) -> Failure {
    match reason {
        NoPick::Unknown => Failure::UnknownService,
        NoPick::Nobody | NoPick::AllTried => Failure::NoTunnel,
        NoPick::WholeOnly => Failure::UnaryOnly,
    }
}

fn failure_of_refusal(reason: Refusal) -> Failure {
    match reason {
        Refusal::Gone => Failure::NoTunnel,
        Refusal::Full => Failure::InflightLimit,
    }
}

fn toss(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;
