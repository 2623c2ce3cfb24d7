//! One topic on one worker: hands its events to those who listen there.
//!
//! It starts with its first subscriber and ends with its last one. The bus of its worker decides both,
//! so that nothing comes for it after its end.
//!
//! Somebody who listens to other topics already, or did so a moment ago, joins when those have handed
//! over what came before: otherwise a later event could overtake an earlier one of the same publisher.
//! What comes meanwhile waits here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use actix::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::observe::cast::{Arbiter, Presence};
use crate::observe::topics::TopicCount;
use crate::tunnel::id::MemberId;
use crate::tunnel::topic::TopicPattern;

use super::event::Publication;
use super::farewell::count_panic;
use super::lane::{EventLane, Pushed, QueuedEvent, Terms};
use super::mailbox::{Mailbox, Post, Watched, watched};
use super::now;

/// Somebody listens.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct JoinTopic {
    member: MemberId,
    lane: EventLane,
    /// The number under which it may hear; none if it may at once.
    turn: Option<u64>,
}

/// Somebody joins another topic after this one.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct LetPass {
    member: MemberId,
    passed: Arc<Passed>,
}

/// All others have handed over what came before.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct MayHear {
    turn: u64,
}

/// Somebody listens no more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct LeaveTopic {
    member: MemberId,
    left: Arc<Left>,
}

/// Something was published.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
struct Deliver {
    publication: Arc<Publication>,
    /// Who has it already, where several topics mean its name.
    already: Option<Arc<Already>>,
}

/// To the bus: what served a topic has broken.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct TopicLost {
    /// The topic.
    pub pattern: TopicPattern,
    /// Which one of that pattern.
    pub number: u64,
}

/// Those who have an event from another topic.
#[derive(Debug, Default)]
pub struct Already(Mutex<FxHashSet<MemberId>>);

/// Held by each topic that a member listened to before it joined one. The drop of the last share lets
/// it hear that one.
#[derive(Debug)]
pub struct Passed {
    topic: Mailbox<MayHear>,
    turn: u64,
}

impl Drop for Passed {
    fn drop(&mut self) {
        self.topic.tell(MayHear { turn: self.turn });
    }
}

/// Dropped when a topic has let a member go, to whom it hands nothing more.
#[derive(Debug, Default)]
pub struct Left(Mutex<Vec<Arc<Passed>>>);

impl Left {
    /// The member joins another topic after that.
    pub fn let_pass(&self, passed: Arc<Passed>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(passed);
    }
}

/// A topic as its bus sees it.
#[derive(Clone, Debug)]
pub struct TopicHandle(Post<Topic>);

/// What a topic is started with.
#[derive(Debug)]
pub struct Beginning {
    /// What it is called.
    pub pattern: TopicPattern,
    /// Which one of that pattern.
    pub number: u64,
    /// Where it is counted.
    pub counted: Arc<TopicCount>,
    /// Who is told if it breaks.
    pub lost: Mailbox<TopicLost>,
}

impl TopicHandle {
    /// Starts a topic on the current arbiter.
    pub fn begin(beginning: Beginning, arbiter: &Arc<Arbiter>) -> Self {
        let Beginning { pattern, number, counted, lost } = beginning;
        let presence = arbiter.enter(Topic::ROLE, None);
        let farewell = Farewell { pattern, number, lost };
        let (subscribers, joining) = (FxHashMap::default(), BTreeMap::new());
        Self(Post::start(Topic { subscribers, joining, counted, _farewell: farewell, presence }))
    }

    /// Somebody listens, who listened to nothing else.
    pub fn join(&self, member: MemberId, lane: EventLane) {
        self.0.tell(JoinTopic { member, lane, turn: None });
    }

    /// Somebody listens, as soon as the last share of what this returns is dropped. `turn` is another
    /// number each time.
    pub fn join_after(&self, member: MemberId, lane: EventLane, turn: u64) -> Arc<Passed> {
        self.0.tell(JoinTopic { member, lane, turn: Some(turn) });
        Arc::new(Passed { topic: self.0.mailbox(), turn })
    }

    /// Drops a share when the member has what came before.
    pub fn let_pass(&self, member: MemberId, passed: Arc<Passed>) {
        self.0.tell(LetPass { member, passed });
    }

    /// Somebody listens no more, which has happened when what this returns is dropped. After the last
    /// one the topic ends.
    pub fn leave(&self, member: MemberId) -> Weak<Left> {
        let left = Arc::<Left>::default();
        let seen = Arc::downgrade(&left);
        self.0.tell(LeaveTopic { member, left });
        seen
    }

    /// Something was published.
    pub fn deliver(&self, publication: Arc<Publication>, already: Option<Arc<Already>>) {
        self.0.tell(Deliver { publication, already });
    }

    #[cfg(test)]
    pub(crate) fn crash(&self) {
        self.0.tell(super::testing::Crash);
    }
}

/// The actor behind the handle.
#[derive(Debug)]
struct Topic {
    subscribers: FxHashMap<MemberId, EventLane>,
    /// Those who may not hear yet, by the numbers under which they may.
    joining: BTreeMap<u64, Joining>,
    counted: Arc<TopicCount>,
    _farewell: Farewell,
    presence: Presence,
}

watched!(
    Topic is Topic,
    told: [JoinTopic, LetPass, MayHear, LeaveTopic, Deliver],
    asked: [],
    timers: [],
);

/// Somebody who may not hear yet.
#[derive(Debug)]
struct Joining {
    member: MemberId,
    lane: EventLane,
    /// What came meanwhile, each with the room of its publisher.
    deliveries: Vec<Deliver>,
    /// It joined others after this one.
    held: Vec<Arc<Passed>>,
    /// It has left already, and gets what came before that.
    left: Option<Arc<Left>>,
}

/// Tells the bus of a topic that broke. One that ends has nobody left to tell it to.
#[derive(Debug)]
struct Farewell {
    pattern: TopicPattern,
    number: u64,
    lost: Mailbox<TopicLost>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        count_panic();
        if std::thread::panicking() {
            self.lost.tell(TopicLost { pattern: self.pattern.clone(), number: self.number });
        }
    }
}

impl Already {
    /// Whether the member gets it here first.
    fn is_first(&self, member: MemberId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(member)
    }
}

impl Actor for Topic {
    type Context = Context<Self>;
}

impl Topic {
    /// Hands an event to some of those who listen, if they do not have it.
    fn hand<'m>(
        &self,
        Deliver { publication, already }: &Deliver,
        to: impl Iterator<Item = (&'m MemberId, &'m EventLane)>,
    ) {
        let event = &publication.event;
        let terms = Terms { place: publication.place(), cost: event.cost(), now: now() };
        let queued = QueuedEvent { event: event.clone(), topic: self.counted.clone() };
        let (mut taken, mut kept, mut dropped) = (0, 0, 0);
        for (member, lane) in to {
            if already.as_ref().is_some_and(|already| !already.is_first(*member)) {
                continue;
            }
            match lane.push(&queued, terms) {
                Pushed::Taken => taken += 1,
                Pushed::Kept => kept += 1,
                Pushed::Dropped => dropped += 1,
                Pushed::Gone => {}
            }
        }
        self.counted.went(taken, dropped);
        publication.went(taken + kept, dropped);
    }

    fn count_subscribers(&self) {
        let joining = self.joining.values().filter(|joining| joining.left.is_none());
        self.counted.subscribers(self.subscribers.len() + joining.count());
    }

    fn end_if_empty(&self, ctx: &mut Context<Self>) {
        self.count_subscribers();
        if self.subscribers.is_empty() && self.joining.is_empty() {
            ctx.stop();
        }
    }
}

impl Handler<JoinTopic> for Topic {
    type Result = ();

    fn handle(&mut self, JoinTopic { member, lane, turn }: JoinTopic, _: &mut Self::Context) {
        if let Some(turn) = turn {
            let (deliveries, held, left) = (Vec::new(), Vec::new(), None);
            self.joining.insert(turn, Joining { member, lane, deliveries, held, left });
        } else {
            self.subscribers.insert(member, lane);
        }
        self.count_subscribers();
    }
}

impl Handler<LetPass> for Topic {
    type Result = ();

    fn handle(&mut self, LetPass { member, passed }: LetPass, _: &mut Self::Context) {
        for joining in self.joining.values_mut().filter(|joining| joining.member == member) {
            joining.held.push(passed.clone());
        }
    }
}

impl Handler<MayHear> for Topic {
    type Result = ();

    fn handle(&mut self, MayHear { turn }: MayHear, ctx: &mut Self::Context) {
        let Some(joining) = self.joining.remove(&turn) else { return };
        let Joining { member, lane, deliveries, left, .. } = &joining;
        for delivery in deliveries {
            self.hand(delivery, std::iter::once((member, lane)));
        }
        if left.is_none() {
            self.subscribers.insert(*member, lane.clone());
        }
        self.end_if_empty(ctx);
    }
}

impl Handler<LeaveTopic> for Topic {
    type Result = ();

    fn handle(&mut self, LeaveTopic { member, left }: LeaveTopic, ctx: &mut Self::Context) {
        let mut joining = self.joining.values_mut();
        let joining = joining.find(|joining| joining.member == member && joining.left.is_none());
        match joining {
            Some(joining) => joining.left = Some(left),
            None => drop(self.subscribers.remove(&member)),
        }
        self.end_if_empty(ctx);
    }
}

impl Handler<Deliver> for Topic {
    type Result = ();

    fn handle(&mut self, delivery: Deliver, _: &mut Self::Context) {
        self.counted.came();
        self.hand(&delivery, self.subscribers.iter());
        for joining in self.joining.values_mut().filter(|joining| joining.left.is_none()) {
            joining.deliveries.push(delivery.clone());
        }
    }
}
