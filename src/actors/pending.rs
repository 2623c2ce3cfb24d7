//! One call, from admission to its end: owns its answer and its deadline.
//!
//! [`Call`] says what must be done; this actor does it. It lives on its caller's worker and stops
//! when the call is over. Whatever happens to it, its caller is told an end: [`CallerLine`] says
//! so when it is dropped.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use tokio::sync::mpsc;

use crate::observe::cast::{Arbiter, Presence};
use crate::observe::tally::{Count, count};
use crate::tunnel::allowance::Hold;
use crate::tunnel::call::{Call, Frame, Order, Said};
use crate::tunnel::failure::Failure;
use crate::tunnel::id::RequestId;
use crate::tunnel::idleness::Idleness;

use super::alarm::{Alarm, AlarmClock, Expired};
use super::credit::Credit;
use super::farewell::count_panic;
use super::live::LiveLimits;
use super::mailbox::{Post, Watched, watched};
use super::now;
use super::registry::{Carried, Carry, ForwardRequest, Inquire, Outcome, RegistryHandle};
use super::traffic::{Ending, Message, Part, RequestHead};

// === What a pending call is told, and what it tells its caller ===

/// The caller says something.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct CallerSaid(pub Said<Message>);

/// The caller is gone, or what it says cannot be taken.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct CallerLeft(pub Failure);

/// The gateway stops: what has not begun does not begin any more.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Drained;

/// What a caller hears.
#[derive(Debug)]
pub enum Reply {
    /// The call is admitted; speak to this.
    Admitted(PendingHandle),
    /// The call has a tunnel; go on, taking room for each message in both queues first.
    GoOn {
        /// The tunnel's queue.
        tunnel_queue: Credit,
        /// The call's share of it.
        call_queue: Credit,
    },
    /// Only the half-close may follow.
    AwaitHalfClose,
    /// A part of the answer.
    Part(Box<Part>),
}

/// A pending call as its caller sees it.
#[derive(Clone, Debug)]
pub struct PendingHandle(Post<Pending>);

impl PendingHandle {
    /// The caller says something.
    pub fn said(&self, said: Said<Message>) {
        self.0.tell(CallerSaid(said));
    }

    /// The caller is gone, or what it says cannot be taken.
    pub fn left(&self, failure: Failure) {
        self.0.tell(CallerLeft(failure));
    }

    /// The gateway stops.
    pub fn drained(&self) {
        self.0.tell(Drained);
    }

    #[cfg(test)]
    pub(crate) fn crash(&self) {
        self.0.tell(super::testing::Crash);
    }
}

/// The way to a caller. Dropped without an end having gone through, it says that the gateway broke.
#[derive(Debug)]
pub struct CallerLine {
    replies: mpsc::Sender<Reply>,
    ended: bool,
    /// The call's place among all calls in flight; it goes along with the end.
    slot: Option<Hold>,
}

impl CallerLine {
    /// Wraps the sending end of the caller's queue. Its room is bounded by the room that messages
    /// hold, so that it is never full.
    pub fn new(replies: mpsc::Sender<Reply>) -> Self {
        Self { replies, ended: false, slot: None }
    }

    /// The call has been admitted; its caller is now among those in flight.
    #[must_use]
    pub fn holding(self, slot: Hold) -> Self {
        let mut line = self;
        line.slot = Some(slot);
        line
    }

    /// Tells the caller the gateway's own end.
    pub fn fail(self, failure: Failure) {
        let mut line = self;
        line.tell(Reply::Part(Part::failed(failure)));
    }

    fn tell(&mut self, mut reply: Reply) {
        if let Reply::Part(part) = &mut reply
            && let Some(ending) = &part.ending
        {
            part.slot = self.slot.take();
            self.ended = true;
            count(match ending {
                Ending::Answered { .. } => Count::CallAnswered,
                Ending::Failed(_) => Count::CallFailed,
            });
        }
        // A caller that is gone has dropped its end and says so itself.
        drop(self.replies.try_send(reply));
    }
}

impl Drop for CallerLine {
    fn drop(&mut self) {
        count_panic();
        if !self.ended {
            self.tell(Reply::Part(Part::failed(Failure::Panic)));
        }
    }
}

// === The actor ===

/// What a worker gives to each of its calls.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The worker's registry.
    pub registry: RegistryHandle,
    /// The worker's alarm clock.
    pub clock: AlarmClock,
    /// How much of everything.
    pub limits: LiveLimits,
    /// Where the worker's actors are counted.
    pub arbiter: Arc<Arbiter>,
}

/// One call.
#[derive(Debug)]
pub struct Pending {
    request: RequestId,
    head: Arc<RequestHead>,
    call: Call<Message>,
    caller: CallerLine,
    surroundings: Surroundings,
    carried: Option<Carried>,
    deadline: Option<Alarm>,
    half_close: Option<Alarm>,
    /// Only where calls may not be still for as long as they like.
    idleness: Option<(Idleness, Alarm)>,
    presence: Presence,
}

watched!(
    Pending is Pending,
    told: [CallerSaid, CallerLeft, Drained, Expired, Outcome],
    asked: [],
    timers: [],
);

impl Pending {
    /// Starts a call. `first` is what its caller has said already.
    pub fn begin(
        head: Arc<RequestHead>,
        first: Option<Said<Message>>,
        caller: CallerLine,
        surroundings: Surroundings,
    ) {
        Self::create(|ctx| {
            let request = head.request;
            let presence = surroundings.arbiter.enter(Self::ROLE, Some(request.uuid()));
            let mut pending = Self {
                request,
                head,
                call: Call::new(),
                caller,
                surroundings,
                carried: None,
                deadline: None,
                half_close: None,
                idleness: None,
                presence,
            };
            pending.deadline =
                pending.head.deadline.map(|at| pending.alarm(at, Expired::Deadline, ctx));
            let timeout = pending.surroundings.limits.now().stream_idle_timeout;
            pending.idleness = Idleness::watch(timeout, now())
                .map(|idleness| (idleness, pending.alarm(idleness.over_at(), Expired::Idle, ctx)));
            let whole = matches!(first, Some(Said::LastMessage(_) | Said::HalfClose));
            if !whole {
                pending.admitted(ctx);
            }
            match first {
                Some(said) => {
                    let order = pending.call.said(said);
                    pending.obey(order, ctx);
                }
                None => pending.inquire(ctx),
            }
            if whole {
                pending.admitted(ctx);
            }
            pending
        });
    }

    fn admitted(&mut self, ctx: &Context<Self>) {
        self.caller.tell(Reply::Admitted(PendingHandle(Post::of(self, ctx))));
    }

    /// A caller that has said nothing yet is told at once when nobody could take its call.
    fn inquire(&self, ctx: &Context<Self>) {
        let (request, path) = (self.request, self.head.path.clone());
        let caller = Post::of(self, ctx).mailbox();
        self.surroundings.registry.inquire(Inquire { request, path, caller });
    }

    fn alarm(&self, at: Instant, what: Expired, ctx: &Context<Self>) -> Alarm {
        let who = Post::of(self, ctx).mailbox();
        self.surroundings.clock.arm(at, self.request, what, who)
    }

    fn moved(&mut self) {
        if let Some((idleness, _)) = &mut self.idleness {
            idleness.moved(now());
        }
    }

    /// The alarm went off: it was set before the last message went, so there may be time left.
    fn idle(&mut self, ctx: &Context<Self>) -> Order<Message> {
        match self.idleness.take() {
            Some((idleness, _)) if idleness.over_at() > now() => {
                let alarm = self.alarm(idleness.over_at(), Expired::Idle, ctx);
                self.idleness = Some((idleness, alarm));
                Order::Nothing
            }
            Some(_) => self.call.left(Failure::Idle),
            None => Order::Nothing,
        }
    }

    fn obey(&mut self, order: Order<Message>, ctx: &mut Context<Self>) {
        match order {
            Order::Nothing => {}
            Order::Ask(first) => self.ask(first, ctx),
            Order::Send(frame, next) => {
                self.carry(frame);
                if let Some(next) = next {
                    self.carry(next);
                }
            }
            Order::AwaitHalfClose => {
                let at = now() + self.surroundings.limits.now().half_close_timeout;
                self.half_close = Some(self.alarm(at, Expired::HalfClose, ctx));
                self.caller.tell(Reply::AwaitHalfClose);
            }
            Order::Fail(failure) => self.caller.tell(Reply::Part(Part::failed(failure))),
            Order::FailAndCancel(failure) => {
                self.caller.tell(Reply::Part(Part::failed(failure)));
                self.cancel(failure);
            }
            Order::FailAndWithdraw(failure) => {
                self.caller.tell(Reply::Part(Part::failed(failure)));
                self.withdraw(failure);
            }
            Order::Cancel(failure) => self.cancel(failure),
            Order::Withdraw(failure) => self.withdraw(failure),
        }
        if self.call.is_ended() {
            ctx.stop();
        }
    }

    fn ask(&mut self, first: Frame<Message>, ctx: &Context<Self>) {
        self.half_close = None;
        let (head, caller) = (self.head.clone(), Post::of(self, ctx).mailbox());
        self.surroundings.registry.forward(ForwardRequest::new(self.request, head, first, caller));
    }

    fn carry(&self, frame: Frame<Message>) {
        if let Some(carried) = &self.carried {
            let (request, head) = (self.request, self.head.clone());
            carried.line.carry.tell(Carry { request, head, frame, opening: None });
        }
    }

    /// The worker's own registry is the one that was asked.
    fn withdraw(&self, failure: Failure) {
        self.surroundings.registry.hang_up(self.request, failure);
    }

    fn cancel(&mut self, failure: Failure) {
        if let Some(carried) = &mut self.carried {
            carried.hang_up(failure);
        }
    }

    fn opened(&mut self, carried: Carried, whole: bool, ctx: &mut Context<Self>) {
        if carried.line.plain && self.deadline.is_none() {
            let at = now() + self.surroundings.limits.now().plain_call_timeout;
            self.deadline = Some(self.alarm(at, Expired::Deadline, ctx));
        }
        if !whole {
            self.caller.tell(Reply::GoOn {
                tunnel_queue: carried.line.credit.clone(),
                call_queue: Credit::new(self.surroundings.limits.now().call_queue_bytes_max),
            });
        }
        if let Some(mut before) = self.carried.replace(carried) {
            // Another tunnel has taken the call over; the one before never carried a word of it.
            before.is_over();
        }
        let order = self.call.opened(whole);
        self.obey(order, ctx);
    }

    fn answered(&mut self, part: Box<Part>, ctx: &mut Context<Self>) {
        self.moved();
        let last = part.ending.is_some();
        if self.call.answered(last) {
            self.caller.tell(Reply::Part(part));
        } else {
            count(Count::FrameLate);
        }
        if self.call.is_ended() {
            if let Some(carried) = &mut self.carried {
                carried.is_over();
            }
            ctx.stop();
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // Only a call that breaks is dropped before the registry has given its answer.
        if self.call.is_with_registry() {
            self.withdraw(Failure::Panic);
        }
    }
}

impl Actor for Pending {
    type Context = Context<Self>;
}

impl Handler<CallerSaid> for Pending {
    type Result = ();

    fn handle(&mut self, CallerSaid(said): CallerSaid, ctx: &mut Self::Context) {
        self.moved();
        let order = self.call.said(said);
        self.obey(order, ctx);
    }
}

impl Handler<CallerLeft> for Pending {
    type Result = ();

    fn handle(&mut self, CallerLeft(failure): CallerLeft, ctx: &mut Self::Context) {
        let order = self.call.left(failure);
        self.obey(order, ctx);
    }
}

impl Handler<Drained> for Pending {
    type Result = ();

    fn handle(&mut self, _: Drained, ctx: &mut Self::Context) {
        let order = self.call.drained();
        self.obey(order, ctx);
    }
}

impl Handler<Expired> for Pending {
    type Result = ();

    fn handle(&mut self, expired: Expired, ctx: &mut Self::Context) {
        let order = match expired {
            Expired::Deadline => self.call.left(Failure::Deadline),
            Expired::HalfClose => self.call.half_close_overdue(),
            Expired::Idle => self.idle(ctx),
        };
        self.obey(order, ctx);
    }
}

impl Handler<Outcome> for Pending {
    type Result = ();

    fn handle(&mut self, outcome: Outcome, ctx: &mut Self::Context) {
        match outcome {
            Outcome::Opened { carried, whole } => self.opened(carried, whole, ctx),
            Outcome::Waits => {
                let order = self.call.waits();
                self.obey(order, ctx);
            }
            Outcome::Unserved(failure) => {
                let order = self.call.unserved(failure);
                self.obey(order, ctx);
            }
            Outcome::OnlyWhole(first) => {
                let order = self.call.only_whole(first);
                self.obey(order, ctx);
            }
            Outcome::Refused(failure) => {
                if let Some(carried) = &mut self.carried {
                    carried.is_over();
                }
                let order = self.call.refused(failure);
                self.obey(order, ctx);
            }
            Outcome::Part(part) => self.answered(part, ctx),
        }
    }
}

#[cfg(test)]
mod tests;
