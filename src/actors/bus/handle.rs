//! A bus as everyone else sees it.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::actors::event::Publication;
use crate::actors::lane::EventLane;
use crate::actors::live::LiveLimits;
use crate::actors::mailbox::{Mailbox, Post};
use crate::observe::window::Window;
use crate::tunnel::id::{MemberId, WorkerId};
use crate::tunnel::topic::TopicPattern;

use super::{Bus, LeaveBus, MeetBuses, Narrow, Publish, Subscribe, SubscriptionEnded, Unsubscribe};

/// A bus as everyone else sees it.
#[derive(Clone, Debug)]
pub struct BusHandle(pub(super) Post<Bus>);

/// What every bus is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How much of everything.
    pub limits: LiveLimits,
    /// Events that come twice are delivered once.
    pub deduplicate: bool,
    /// Where everything is counted.
    pub window: Window,
}

/// Who may listen. Dropped, it listens to nothing any more.
#[derive(Debug)]
pub struct Membership {
    bus: BusHandle,
    member: MemberId,
    lane: EventLane,
    ended: Mailbox<SubscriptionEnded>,
}

impl BusHandle {
    /// Starts the bus of one worker, on that worker.
    pub fn start(
        worker: WorkerId,
        settings: &Settings,
        died: mpsc::UnboundedSender<&'static str>,
    ) -> Self {
        Self(Post::start(Bus::new(worker, settings, died)))
    }

    /// Introduces all buses, in the order of their workers, before anybody listens.
    pub fn meet(&self, buses: Vec<Self>) {
        self.0.tell(MeetBuses(buses));
    }

    /// Publishes something on this worker. What one member publishes under one name reaches each
    /// subscriber in the same order.
    pub fn publish(&self, publication: Publication) {
        self.0.tell(Publish(Arc::new(publication)));
    }

    /// Somebody on this worker may listen. Its events come by the lane; `ended` hears of each
    /// subscription that is refused or taken back.
    pub fn member(
        &self,
        member: MemberId,
        lane: EventLane,
        ended: Mailbox<SubscriptionEnded>,
    ) -> Membership {
        Membership { bus: self.clone(), member, lane, ended }
    }

    #[cfg(test)]
    pub(crate) fn crash(&self) {
        self.0.tell(crate::actors::testing::Crash);
    }
}

impl Membership {
    /// Listens to a topic. Twice is the same as once.
    pub fn subscribe(&self, pattern: TopicPattern) {
        let (member, lane, ended) = (self.member, self.lane.clone(), self.ended.clone());
        self.bus.0.tell(Subscribe { member, pattern, lane, ended });
    }

    /// Listens to it no more.
    pub fn unsubscribe(&self, pattern: TopicPattern) {
        self.bus.0.tell(Unsubscribe { member: self.member, pattern });
    }

    /// May listen to what `keep` says, and to nothing else: the other subscriptions end.
    pub fn narrow(&self, keep: impl Fn(&TopicPattern) -> bool + Send + 'static) {
        self.bus.0.tell(Narrow { member: self.member, keep: Box::new(keep) });
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.lane.close();
        self.bus.0.tell(LeaveBus { member: self.member });
    }
}
