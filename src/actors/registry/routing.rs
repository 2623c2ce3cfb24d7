//! How a registry puts a call through: which tunnel, and is there room on it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::prelude::*;

use crate::actors::now;
use crate::observe::limits::{self, Limit};
use crate::tunnel::affinity::mixed;
use crate::tunnel::call::Frame;
use crate::tunnel::directory::{NoPick, Wish};
use crate::tunnel::failure::Failure;
use crate::tunnel::id::{TunnelId, WorkerId};
use crate::tunnel::switchboard::{Refusal, Refused};

use super::{Carried, Carry, ForwardRequest, Line, OpenHere, Outcome, Registry};

/// How often a call is offered to another tunnel before it is refused. Those that are known to be
/// full are not offered any.
pub(super) const PICKS_MAX: usize = 8;

impl Registry {
    /// Picks a tunnel for a call and opens it there.
    pub(super) fn put_through(&mut self, mut call: ForwardRequest, ctx: &mut Context<Self>) {
        loop {
            match self.pick(&mut call) {
                Ok((tunnel, home)) if home == self.worker => match self.open(tunnel, call) {
                    Ok(()) => return,
                    Err(refused) => call = *refused,
                },
                Ok((tunnel, home)) => {
                    let from = self.registries[self.worker.0].clone();
                    return self.registries[home.0].0.tell(OpenHere { tunnel, call, from });
                }
                // It would wait for the rest of the call, which the drain does not.
                Err(NoPick::WholeOnly) if self.draining.is_some() => {
                    return call.caller.tell(Outcome::Refused(Failure::Draining));
                }
                Err(NoPick::WholeOnly) => {
                    return call.caller.tell(Outcome::OnlyWhole(call.first));
                }
                Err(reason) => return self.refuse(call, reason, ctx),
            }
        }
    }

    fn pick(&mut self, call: &mut ForwardRequest) -> Result<(TunnelId, WorkerId), NoPick> {
        if call.tried.len() >= PICKS_MAX {
            return Err(NoPick::AllTried);
        }
        let wish = Wish {
            path: &call.head.path,
            needs_stream: !matches!(call.first, Frame::Whole(_)),
            session: call.head.session,
            only: call.head.only.as_ref(),
            avoid: &call.tried,
            load_max: self.limits.now().calls_per_tunnel_max,
            coin: toss(&mut self.coin),
        };
        let load = |line: &Arc<Line>| line.load.load(Ordering::Relaxed);
        let picked = self.directory.pick(&wish, now(), load).inspect_err(|reason| {
            if *reason == NoPick::Full {
                limits::hit(Limit::CallsPerTunnelMax);
            }
        })?;
        if call.place.is_none() {
            call.place = picked.calls.take_within(1, self.limits.now().calls_per_service_max);
        }
        if call.place.is_none() {
            limits::hit(Limit::CallsPerServiceMax);
            return Err(NoPick::Full);
        }
        Ok((picked.tunnel, picked.worker))
    }

    /// Opens a call on a tunnel of this worker: a slot, room for the first frame, and off it goes.
    /// A call that the tunnel cannot take comes back with the reason in it, to be picked for again.
    pub(super) fn open(
        &mut self,
        tunnel: TunnelId,
        mut call: ForwardRequest,
    ) -> Result<(), Box<ForwardRequest>> {
        let Some(line) = self.directory.entry(tunnel).map(|entry| entry.line.clone()) else {
            return Err(call.refused_by(tunnel, Failure::NoTunnel));
        };
        if !line.carry.is_open() {
            return Err(call.refused_by(tunnel, Failure::NoTunnel));
        }
        let Some(permit) = line.credit.try_take(call.cost()) else {
            let closed = line.credit.is_closed();
            let failure = if closed { Failure::NoTunnel } else { Failure::QueueFull };
            return Err(call.refused_by(tunnel, failure));
        };
        let Some(place) = call.place.take() else {
            debug_assert!(false, "a tunnel is picked for calls that have a place");
            return Err(call.refused_by(tunnel, Failure::InflightLimit));
        };
        let waiting = call.caller.clone();
        if let Err(Refused { place, reason, .. }) =
            self.board.open(call.request, tunnel, waiting, place)
        {
            call.place = Some(place);
            return Err(call.refused_by(tunnel, failure_of_refusal(reason)));
        }
        self.publish(tunnel);
        line.gauge.call_started();
        call.head.marks.carried_by(tunnel);
        if let Frame::Whole(message) | Frame::Message { message, .. } = &mut call.first {
            message.room.tunnel_queue = Some(permit);
        }
        let ForwardRequest { request, head, first, caller, .. } = call;
        let home = self.registries[self.worker.0].clone();
        let whole = first.is_last();
        // The tunnel first: once the caller knows it, further frames go to it straight.
        let carry = Carry { request, head, frame: first, opening: Some(caller.clone()) };
        line.carry.tell(carry);
        let carried = Carried::new(line, home, request);
        caller.tell(Outcome::Opened { carried, whole });
        Ok(())
    }

    /// Tells the other workers how busy a tunnel is.
    pub(super) fn publish(&self, tunnel: TunnelId) {
        if let Some(entry) = self.directory.entry(tunnel) {
            entry.line.load.store(self.board.carried(tunnel), Ordering::Relaxed);
        }
    }

    /// What would end because there is no tunnel may wait for one; the rest is told why not.
    fn refuse(&mut self, call: ForwardRequest, reason: NoPick, ctx: &mut Context<Self>) {
        // Who was tried often enough found tunnels, if only such as were about to go.
        let found_nobody = reason != NoPick::Unknown && call.tried.len() < PICKS_MAX;
        // A question for one tunnel is over when that tunnel is.
        let found_nobody = found_nobody && call.head.only.is_none();
        let failure = failure_of(reason, call.refused);
        if failure == Failure::NoTunnel && found_nobody && self.lets_wait() {
            self.wait(call, ctx);
        } else {
            call.caller.tell(Outcome::Refused(self.or_draining(failure)));
        }
    }

    /// While the gateway drains, tunnels go: that is what callers are told then.
    fn or_draining(&self, failure: Failure) -> Failure {
        if self.draining.is_some() && failure == Failure::NoTunnel {
            Failure::Draining
        } else {
            failure
        }
    }
}

/// Why a call is refused, of which a tunnel may have said something already.
pub(super) fn failure_of(reason: NoPick, refused: Option<Failure>) -> Failure {
    let had_no_room = refused.filter(|failure| *failure != Failure::NoTunnel);
    match reason {
        NoPick::Unknown => refused.unwrap_or(Failure::UnknownService),
        NoPick::Nobody | NoPick::AllTried => had_no_room.unwrap_or(Failure::NoTunnel),
        NoPick::Full => had_no_room.unwrap_or(Failure::InflightLimit),
        NoPick::WholeOnly => Failure::UnaryOnly,
    }
}

fn failure_of_refusal(reason: Refusal) -> Failure {
    match reason {
        Refusal::Gone => Failure::NoTunnel,
        Refusal::Full => Failure::InflightLimit,
    }
}

/// Splitmix64: quality does not matter, speed does.
pub(super) fn toss(state: &mut u64) -> u64 {
    let tossed = mixed(*state);
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    tossed
}
