//! The bus of one worker: knows who listens to what, and sends events there.
//!
//! A topic is one actor on each worker that has subscribers of it. An event crosses to another worker
//! once, however many listen there, and that worker's bus finds its topics itself.

mod handle;

use std::sync::{Arc, Weak};

use actix::prelude::*;
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};

use crate::observe::cast::{Arbiter, Presence};
use crate::observe::limits::{self, Limit};
use crate::observe::topics::{SubscriberCount, Topics};
use crate::tunnel::id::{MemberId, WorkerId};
use crate::tunnel::topic::TopicPattern;
use crate::tunnel::topic::directory::{Changed, Most, TopicDirectory};
use crate::tunnel::topic::duplicates::Duplicates;
use crate::tunnel::topic::refusal::EventRefusal;

use super::event::{InVain, Publication};
use super::farewell::PermanentFarewell;
use super::kept::KeptEvents;
use super::lane::EventLane;
use super::live::LiveLimits;
use super::mailbox::{Mailbox, Post, Watched, watched};
use super::now;
pub use handle::{BusHandle, Membership, Settings};

use super::topic::{Already, Beginning, Left, TopicHandle, TopicLost};

// === What a bus is told ===

/// These are all the buses.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct MeetBuses(Vec<BusHandle>);

/// A member listens to topics.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Subscribe {
    member: MemberId,
    patterns: Vec<TopicPattern>,
    lane: EventLane,
    ended: Mailbox<SubscriptionEnded>,
}

/// It does so no more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Unsubscribe {
    member: MemberId,
    pattern: TopicPattern,
}

/// It listens to nothing any more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct LeaveBus {
    member: MemberId,
}

/// Says whether a topic may still be listened to.
type Keep = Box<dyn Fn(&TopicPattern) -> bool + Send>;

/// A member may listen to what `keep` says, and to nothing else.
#[derive(Message)]
#[rtype(result = "()")]
struct Narrow {
    member: MemberId,
    keep: Keep,
}

/// Something was published on this worker.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Publish(Arc<Publication>);

/// Something was published on another one.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct DeliverHere(Arc<Publication>);

/// Tells when every bus knows who listens here now: the last share of this is dropped then.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Settle(Arc<Settling>);

/// To another bus: what came before this is known there too.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Settled(#[expect(dead_code, reason = "held until it is dropped")] Arc<Settling>);

/// Nothing is sent by it: who waits sees it go.
type Settling = oneshot::Sender<()>;

/// Another worker has its first subscriber of a pattern, or lost its last one.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct TopicElsewhere {
    pattern: TopicPattern,
    worker: WorkerId,
    begins: bool,
}

// === What it tells others ===

/// To a member: it does not listen to a topic, although it asked for that.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SubscriptionEnded {
    /// The topic.
    pub pattern: TopicPattern,
    /// Why.
    pub why: EventRefusal,
}

// === The actor ===

/// The actor behind the handle.
#[derive(Debug)]
struct Bus {
    worker: WorkerId,
    directory: TopicDirectory<Running>,
    members: FxHashMap<MemberId, Member>,
    duplicates: Duplicates,
    deduplicate: bool,
    kept: KeptEvents,
    others: Vec<(WorkerId, BusHandle)>,
    limits: LiveLimits,
    cradle: Cradle,
    /// How often a member joined a topic after others.
    turns: u64,
    _farewell: PermanentFarewell,
    presence: Presence,
}

watched!(
    Bus is Bus,
    told: [
        MeetBuses, Subscribe, Unsubscribe, LeaveBus, Narrow, Publish, InVain, DeliverHere, Settle,
        Settled,
        TopicElsewhere, TopicLost,
    ],
    asked: [],
    timers: [],
);

/// A topic that runs here.
#[derive(Clone, Debug)]
struct Running {
    number: u64,
    topic: TopicHandle,
}

/// Somebody who listens, or did.
#[derive(Debug)]
struct Member {
    ended: Mailbox<SubscriptionEnded>,
    /// That it listens to something.
    counted: Option<SubscriberCount>,
    /// The topics that it left since it last joined one, if they have not let it go yet.
    left: Vec<Weak<Left>>,
}

/// A member that asks for topics.
struct Asks {
    member: MemberId,
    lane: EventLane,
    ended: Mailbox<SubscriptionEnded>,
    /// What it listens to already.
    before: Vec<Running>,
}

/// Where topics begin.
#[derive(Debug)]
struct Cradle {
    worker: WorkerId,
    arbiter: Arc<Arbiter>,
    counted: Arc<Topics>,
    begun: u64,
}

impl Cradle {
    fn begin(&mut self, pattern: &TopicPattern, lost: Mailbox<TopicLost>) -> Running {
        self.begun += 1;
        let (number, pattern) = (self.begun, pattern.clone());
        let counted = self.counted.begin(pattern.as_str(), self.worker.0);
        let beginning = Beginning { pattern, number, counted, lost };
        Running { number, topic: TopicHandle::begin(beginning, &self.arbiter) }
    }
}

impl Bus {
    fn new(
        worker: WorkerId,
        settings: &Settings,
        died: mpsc::UnboundedSender<&'static str>,
    ) -> Self {
        let Settings { limits, deduplicate, kept, window } = settings;
        let arbiter = window.cast.arbiter(worker.0);
        let presence = arbiter.enter(Self::ROLE, None);
        Self {
            worker,
            directory: TopicDirectory::default(),
            members: FxHashMap::default(),
            duplicates: Duplicates::default(),
            deduplicate: *deduplicate,
            kept: kept.clone(),
            others: Vec::new(),
            limits: limits.clone(),
            turns: 0,
            cradle: Cradle { worker, arbiter, counted: window.topics.clone(), begun: 0 },
            _farewell: PermanentFarewell { kind: "bus", died },
            presence,
        }
    }

    /// Tells the others that somebody here listens to a pattern, or nobody any more.
    fn announce(&self, pattern: &TopicPattern, begins: bool) {
        for (_, bus) in &self.others {
            let (pattern, worker) = (pattern.clone(), self.worker);
            bus.post.tell(TopicElsewhere { pattern, worker, begins });
        }
    }

    fn leave(&mut self, member: MemberId, pattern: &TopicPattern) {
        let Some(Changed { topic, is_edge }) = self.directory.unsubscribe(member, pattern) else {
            return;
        };
        let left = topic.topic.leave(member);
        if let Some(member) = self.members.get_mut(&member) {
            member.left.push(left);
        }
        if is_edge {
            self.announce(pattern, false);
        }
        self.left(member, pattern);
    }

    /// A member asks for a topic. All that it asks for at once it joins after what it listened to
    /// before: nothing is published in between, so that none of them can overtake another.
    fn subscribe(
        &mut self,
        asks: &Asks,
        left: &[Arc<Left>],
        pattern: TopicPattern,
        lost: &Mailbox<TopicLost>,
    ) {
        let limits = self.limits.now();
        let most =
            Most { topics: limits.topics_max, subscriptions: limits.subscriptions_per_tunnel_max };
        let begin = || self.cradle.begin(&pattern, lost.clone());
        match self.directory.subscribe(asks.member, &pattern, most, begin) {
            Ok(Some(Changed { topic, is_edge })) => {
                self.join(asks, left, &topic.topic);
                if let Some(counted) = self.counted(asks.member) {
                    counted.listens(pattern.as_str());
                }
                if is_edge {
                    self.announce(&pattern, true);
                }
            }
            Ok(None) => {}
            Err(why) => {
                let of_all = matches!(why, EventRefusal::Topics { .. });
                limits::hit(if of_all {
                    Limit::TopicsMax
                } else {
                    Limit::SubscriptionsPerTunnelMax
                });
                asks.ended.tell(SubscriptionEnded { pattern, why });
            }
        }
    }

    /// The topics that a member left since it last joined one, if they have not let it go yet.
    fn left_lately(&mut self, asks: &Asks) -> Vec<Arc<Left>> {
        let new = || Member { ended: asks.ended.clone(), counted: None, left: Vec::new() };
        let Member { left, .. } = self.members.entry(asks.member).or_insert_with(new);
        left.drain(..).filter_map(|left| left.upgrade()).collect()
    }

    /// A member joins a topic, after all that it listened to before.
    fn join(&mut self, asks: &Asks, left: &[Arc<Left>], topic: &TopicHandle) {
        let Asks { member, lane, before, .. } = asks;
        if before.is_empty() && left.is_empty() {
            return topic.join(*member, lane.clone());
        }
        self.turns += 1;
        let passed = topic.join_after(*member, lane.clone(), self.turns);
        for running in before {
            running.topic.let_pass(*member, passed.clone());
        }
        for left in left {
            left.let_pass(passed.clone());
        }
    }

    /// Where it is counted what a member listens to.
    fn counted(&mut self, member: MemberId) -> Option<&SubscriberCount> {
        let topics = &self.cradle.counted;
        let Member { counted, .. } = self.members.get_mut(&member)?;
        Some(counted.get_or_insert_with(|| topics.subscriber(member.uuid().as_u128())))
    }

    /// A subscription ends that its member still wants.
    fn end(&mut self, member: MemberId, pattern: TopicPattern, why: EventRefusal) {
        let ended = self.members.get(&member).map(|member| member.ended.clone());
        self.leave(member, &pattern);
        self.left(member, &pattern);
        if let Some(ended) = ended {
            ended.tell(SubscriptionEnded { pattern, why });
        }
    }

    /// A member listens to a pattern no more, or to nothing at all.
    fn left(&mut self, member: MemberId, pattern: &TopicPattern) {
        let listens = self.directory.listens(member);
        let Some(member) = self.members.get_mut(&member) else { return };
        if let Some(counted) = &member.counted {
            counted.listens_no_more(pattern.as_str());
        }
        if !listens {
            member.counted = None;
        }
    }

    /// Whether an event came before and is not to be delivered again.
    fn came_before(&mut self, publication: &Publication) -> bool {
        let event = &publication.event;
        if !event.is_named || !self.duplicates.note(event.publisher, &event.id, now()) {
            return false;
        }
        self.cradle.counted.duplicate();
        self.deduplicate
    }
}

/// Hands an event to the topics of this worker. Who listens to several of them gets it once.
fn deliver(topics: &[&Running], publication: &Arc<Publication>) {
    let already = (topics.len() > 1).then(Arc::<Already>::default);
    for running in topics {
        running.topic.deliver(publication.clone(), already.clone());
    }
}

impl Actor for Bus {
    type Context = Context<Self>;
}

impl Handler<MeetBuses> for Bus {
    type Result = ();

    fn handle(&mut self, MeetBuses(buses): MeetBuses, _: &mut Self::Context) {
        let buses = buses.into_iter().enumerate().map(|(number, bus)| (WorkerId(number), bus));
        self.others = buses.filter(|(worker, _)| *worker != self.worker).collect();
    }
}

impl Handler<Subscribe> for Bus {
    type Result = ();

    fn handle(&mut self, subscribe: Subscribe, ctx: &mut Self::Context) {
        let Subscribe { member, patterns, lane, ended } = subscribe;
        let lost = Post::of(self, ctx).mailbox();
        let asks = Asks { member, lane, ended, before: self.directory.topics_of(member) };
        let left = self.left_lately(&asks);
        for pattern in patterns {
            self.subscribe(&asks, &left, pattern, &lost);
        }
    }
}

impl Handler<Unsubscribe> for Bus {
    type Result = ();

    fn handle(&mut self, Unsubscribe { member, pattern }: Unsubscribe, _: &mut Self::Context) {
        self.leave(member, &pattern);
    }
}

impl Handler<LeaveBus> for Bus {
    type Result = ();

    fn handle(&mut self, LeaveBus { member }: LeaveBus, _: &mut Self::Context) {
        for pattern in self.directory.patterns_of(member) {
            self.leave(member, &pattern);
        }
        self.members.remove(&member);
    }
}

impl Handler<Narrow> for Bus {
    type Result = ();

    fn handle(&mut self, Narrow { member, keep }: Narrow, _: &mut Self::Context) {
        for pattern in self.directory.patterns_of(member) {
            if !keep(&pattern) {
                self.end(member, pattern, EventRefusal::OutOfScope);
            }
        }
    }
}

impl Handler<Publish> for Bus {
    type Result = ();

    fn handle(&mut self, Publish(publication): Publish, ctx: &mut Self::Context) {
        if self.came_before(&publication) {
            return publication.is_duplicate();
        }
        // What is kept comes to who comes back.
        if self.deduplicate && publication.event.is_named && !self.kept.keeps() {
            publication.tells_if_in_vain(Post::of(self, ctx).mailbox());
        }
        publication.is_routed(self.kept.keep(&publication.event));
        let route = self.directory.route(&publication.event.name);
        for (_, bus) in self.others.iter().filter(|(worker, _)| route.elsewhere.contains(worker)) {
            bus.post.tell(DeliverHere(publication.clone()));
        }
        deliver(&route.here, &publication);
    }
}

impl Handler<InVain> for Bus {
    type Result = ();

    fn handle(&mut self, InVain(event): InVain, _: &mut Self::Context) {
        self.duplicates.forget(event.publisher, &event.id);
    }
}

impl Handler<DeliverHere> for Bus {
    type Result = ();

    fn handle(&mut self, DeliverHere(publication): DeliverHere, _: &mut Self::Context) {
        deliver(&self.directory.route(&publication.event.name).here, &publication);
    }
}

impl Handler<Settle> for Bus {
    type Result = ();

    fn handle(&mut self, Settle(settling): Settle, _: &mut Self::Context) {
        for (_, bus) in &self.others {
            bus.post.tell(Settled(settling.clone()));
        }
    }
}

impl Handler<Settled> for Bus {
    type Result = ();

    fn handle(&mut self, _: Settled, _: &mut Self::Context) {}
}

impl Handler<TopicElsewhere> for Bus {
    type Result = ();

    fn handle(&mut self, told: TopicElsewhere, _: &mut Self::Context) {
        let TopicElsewhere { pattern, worker, begins } = told;
        if begins {
            self.directory.begun_elsewhere(&pattern, worker);
        } else {
            self.directory.ended_elsewhere(&pattern, worker);
        }
    }
}

impl Handler<TopicLost> for Bus {
    type Result = ();

    fn handle(&mut self, TopicLost { pattern, number }: TopicLost, _: &mut Self::Context) {
        let lost = self.directory.lose(&pattern, |running| running.number == number);
        if !lost.is_empty() {
            self.announce(&pattern, false);
        }
        for member in lost {
            self.end(member, pattern.clone(), EventRefusal::Lost);
        }
    }
}

#[cfg(test)]
mod tests;
