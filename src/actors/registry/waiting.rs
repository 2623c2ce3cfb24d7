//! How a registry lets calls wait for a tunnel, and lets them go on.

use actix::prelude::*;

use crate::actors::mailbox::{Mailbox, ring};
use crate::actors::{now, wait_past};
use crate::observe::limits::{self, Limit};
use crate::observe::tally::{Count, count};
use crate::observe::ticks::{self, Tick};
use crate::tunnel::failure::Failure;
use crate::tunnel::id::{MethodPath, RequestId};

use crate::tunnel::waiting::NoRoom;

use super::routing::failure_of;
use super::{ForwardRequest, Inquire, Outcome, Registry};

/// It is time to end the waits that have been long enough.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct EndWaits;

/// What waits.
#[derive(Debug)]
pub(super) enum Waiter {
    /// A call with its first frame, which waits since then.
    Call(Box<ForwardRequest>, Tick),
    /// A call whose caller has said nothing yet.
    Silent(Mailbox<Outcome>),
}

impl Handler<EndWaits> for Registry {
    type Result = ();

    fn handle(&mut self, _: EndWaits, ctx: &mut Self::Context) {
        self.end_waits(ctx);
    }
}

impl Waiter {
    fn refuse(self, failure: Failure) {
        match self {
            Self::Call(call, _) => call.caller.tell(Outcome::Refused(failure)),
            Self::Silent(caller) => caller.tell(Outcome::Unserved(failure)),
        }
    }
}

impl Registry {
    /// Whether a call that finds no tunnel waits for one.
    pub(super) fn lets_wait(&self) -> bool {
        !self.directory.wait_for_tunnel().is_zero() && self.draining.is_none()
    }

    /// Lets a call wait, if there is room. What other tunnels said to it counts no more: which of
    /// them are there when the wait is over is another matter.
    pub(super) fn wait(&mut self, mut call: ForwardRequest, ctx: &mut Context<Self>) {
        if !call.caller.is_open() {
            // It left while the call was on its way from one worker to another.
            return;
        }
        (call.tried, call.refused, call.place) = (Vec::new(), None, None);
        let end = *call.head.wait_end.get_or_init(|| now() + self.directory.wait_for_tunnel());
        let (request, path, bytes) = (call.request, call.head.path.clone(), call.cost());
        let caller = call.caller.clone();
        let waiter = Waiter::Call(Box::new(call), ticks::now());
        if self.admit_waiting(request, path, bytes, end, waiter, ctx) {
            caller.tell(Outcome::Waits);
        }
    }

    /// Says at once that nobody serves the method, or at the end of the wait that still nobody does.
    pub(super) fn inquire(&mut self, inquiry: Inquire, ctx: &mut Context<Self>) {
        let Inquire { request, path, caller } = inquiry;
        let Err(reason) = self.directory.serves(&path, now()) else { return };
        let (failure, waiter) = (failure_of(reason, None), Waiter::Silent(caller));
        if failure == Failure::NoTunnel && self.lets_wait() {
            let end = now() + self.directory.wait_for_tunnel();
            self.admit_waiting(request, path, 0, end, waiter, ctx);
        } else {
            waiter.refuse(failure);
        }
    }

    /// A caller that was silent speaks. If it waited already, it goes on doing so with what it has
    /// said, no longer than it would have.
    pub(super) fn after_inquiry(
        &mut self,
        call: ForwardRequest,
        ctx: &mut Context<Self>,
    ) -> ForwardRequest {
        if let Some((end, _)) = self.waiting.withdraw(call.request) {
            // A call that waits for the first time has no end yet.
            let _ = call.head.wait_end.set(end);
            self.arm_wait_end(ctx);
        }
        call
    }

    /// Puts through what can be since a tunnel has come, the oldest first.
    pub(super) fn release_waiting(&mut self, ctx: &mut Context<Self>) {
        if self.waiting.is_empty() {
            return;
        }
        let (directory, now) = (&self.directory, now());
        for (_, waiter) in self.waiting.release(|path| directory.serves(path, now).is_ok()) {
            // A caller that has said nothing asked only whether there is somebody.
            if let Waiter::Call(call, since) = waiter {
                call.head.marks.waited(since);
                self.put_through(*call, ctx);
            }
        }
        self.arm_wait_end(ctx);
    }

    /// Forgets a waiting call whose caller left. Whether it waited.
    pub(super) fn withdraw(
        &mut self,
        request: RequestId,
        failure: Failure,
        ctx: &mut Context<Self>,
    ) -> bool {
        let withdrawn = self.waiting.withdraw(request);
        let waited = withdrawn.is_some();
        if let Some((_, waiter)) = withdrawn {
            waiter.refuse(failure);
            self.arm_wait_end(ctx);
        }
        waited
    }

    /// Refuses all that wait.
    pub(super) fn refuse_waiting(&mut self, failure: Failure, ctx: &mut Context<Self>) {
        for (_, waiter) in self.waiting.release(|_| true) {
            waiter.refuse(failure);
        }
        self.arm_wait_end(ctx);
    }

    /// Lets something wait, or refuses it for want of room. Whether it waits.
    fn admit_waiting(
        &mut self,
        request: RequestId,
        path: MethodPath,
        bytes: usize,
        end: std::time::Instant,
        waiter: Waiter,
        ctx: &mut Context<Self>,
    ) -> bool {
        let place = self.waiting_room.enter(&path, bytes, &self.limits.now());
        let place = match place {
            Ok(place) => place,
            Err(reason) => {
                limits::hit(match reason {
                    NoRoom::Calls => Limit::WaitingCallsMax,
                    NoRoom::CallsOfService => Limit::WaitingCallsPerServiceMax,
                    NoRoom::Bytes => Limit::WaitingBytesMax,
                });
                waiter.refuse(Failure::TooManyWaiting);
                return false;
            }
        };
        count(Count::CallWaited);
        self.waiting.admit(request, path, end, place, waiter);
        self.arm_wait_end(ctx);
        true
    }

    fn end_waits(&mut self, ctx: &mut Context<Self>) {
        self.wait_end = None;
        for waiter in self.waiting.expire(now()) {
            waiter.refuse(Failure::NoTunnel);
        }
        self.arm_wait_end(ctx);
    }

    /// One timer, for the call that has waited longest; none when nobody waits.
    fn arm_wait_end(&mut self, ctx: &mut Context<Self>) {
        let due = self.waiting.next_end();
        if self.wait_end.map(|(armed, _)| armed) == due {
            return;
        }
        if let Some((_, timer)) = self.wait_end.take() {
            ctx.cancel_future(timer);
        }
        let end = |registry: &mut Self, ctx: &mut _| ring(registry, EndWaits, ctx);
        self.wait_end = due.map(|due| (due, ctx.run_later(wait_past(due), end)));
    }
}
