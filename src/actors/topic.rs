//! One topic on one worker: hands its events to those who listen there.
//!
//! It starts with its first subscriber and ends with its last one. The bus of its worker decides both,
//! so that nothing comes for it after its end.

use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::observe::cast::{Arbiter, Presence};
use crate::observe::topics::TopicCount;
use crate::tunnel::id::MemberId;
use crate::tunnel::topic::TopicPattern;

use super::event::Publication;
use super::farewell::count_panic;
use super::lane::{EventLane, Pushed, QueuedEvent};
use super::mailbox::{Mailbox, Post, Watched, watched};
use super::now;

/// Somebody listens.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct JoinTopic {
    member: MemberId,
    lane: EventLane,
}

/// Somebody listens no more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct LeaveTopic {
    member: MemberId,
}

/// Something was published.
#[derive(Debug, Message)]
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
        let subscribers = FxHashMap::default();
        Self(Post::start(Topic { subscribers, counted, _farewell: farewell, presence }))
    }

    /// Somebody listens.
    pub fn join(&self, member: MemberId, lane: EventLane) {
        self.0.tell(JoinTopic { member, lane });
    }

    /// Somebody listens no more. After the last one it ends.
    pub fn leave(&self, member: MemberId) {
        self.0.tell(LeaveTopic { member });
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
    counted: Arc<TopicCount>,
    _farewell: Farewell,
    presence: Presence,
}

watched!(Topic is Topic, told: [JoinTopic, LeaveTopic, Deliver], asked: [], timers: []);

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

impl Handler<JoinTopic> for Topic {
    type Result = ();

    fn handle(&mut self, JoinTopic { member, lane }: JoinTopic, _: &mut Self::Context) {
        self.subscribers.insert(member, lane);
        self.counted.subscribers(self.subscribers.len());
    }
}

impl Handler<LeaveTopic> for Topic {
    type Result = ();

    fn handle(&mut self, LeaveTopic { member }: LeaveTopic, ctx: &mut Self::Context) {
        self.subscribers.remove(&member);
        self.counted.subscribers(self.subscribers.len());
        if self.subscribers.is_empty() {
            ctx.stop();
        }
    }
}

impl Handler<Deliver> for Topic {
    type Result = ();

    fn handle(&mut self, Deliver { publication, already }: Deliver, _: &mut Self::Context) {
        let (event, now) = (&publication.event, now());
        let (cost, mut taken, mut dropped) = (event.cost(), 0, 0);
        for (member, lane) in &self.subscribers {
            if already.as_ref().is_some_and(|already| !already.is_first(*member)) {
                continue;
            }
            let queued = QueuedEvent { event: event.clone(), topic: self.counted.clone() };
            match lane.push(queued, cost, now) {
                Pushed::Taken => taken += 1,
                Pushed::Dropped => dropped += 1,
                Pushed::Gone => {}
            }
        }
        self.counted.came(taken, dropped);
        publication.went(taken, dropped);
    }
}
