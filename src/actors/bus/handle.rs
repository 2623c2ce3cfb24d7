//! A bus as everyone else sees it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::actors::event::{Event, Publication};
use crate::actors::kept::KeptEvents;
use crate::actors::lane::EventLane;
use crate::actors::live::LiveLimits;
use crate::actors::mailbox::{Mailbox, Post};
use crate::observe::window::Window;
use crate::tunnel::id::{MemberId, WorkerId};
use crate::tunnel::topic::TopicPattern;
use crate::tunnel::topic::reader::{Read, Reader};

use super::{
    Bus, LeaveBus, MeetBuses, Narrow, Publish, Settle, Subscribe, SubscriptionEnded, Unsubscribe,
};

/// A bus as everyone else sees it.
#[derive(Clone, Debug)]
pub struct BusHandle {
    pub(super) post: Post<Bus>,
    kept: KeptEvents,
}

/// What every bus is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How much of everything.
    pub limits: LiveLimits,
    /// Events that come twice are delivered once.
    pub deduplicate: bool,
    /// What is kept, of all workers.
    pub kept: KeptEvents,
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
        Self { post: Post::start(Bus::new(worker, settings, died)), kept: settings.kept.clone() }
    }

    /// Introduces all buses, in the order of their workers, before anybody listens.
    pub fn meet(&self, buses: Vec<Self>) {
        self.post.tell(MeetBuses(buses));
    }

    /// Publishes something on this worker. What one member publishes under one name reaches each
    /// subscriber in the same order.
    pub fn publish(&self, publication: Publication) {
        self.post.tell(Publish(Arc::new(publication)));
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
        self.post.tell(crate::actors::testing::Crash);
    }
}

impl Membership {
    /// Listens to topics. Twice is the same as once.
    pub fn subscribe(&self, patterns: Vec<TopicPattern>) {
        let (member, lane, ended) = (self.member, self.lane.clone(), self.ended.clone());
        self.bus.post.tell(Subscribe { member, patterns, lane, ended });
    }

    /// Listens to it no more.
    pub fn unsubscribe(&self, pattern: TopicPattern) {
        self.bus.post.tell(Unsubscribe { member: self.member, pattern });
    }

    /// Waits until what it listens to is known to every worker: what is published from then on, comes.
    /// What is refused has been told before.
    pub async fn settled(&self) {
        let (settling, settled) = oneshot::channel();
        self.bus.post.tell(Settle(Arc::new(settling)));
        // It is dropped and never sent.
        let _ = settled.await;
    }

    /// Begins to read what is kept of these topics, after the events with these ids; its lane takes
    /// nothing until all of that is read. To be done before it listens. Whether it may miss some.
    pub fn resume(&self, patterns: &[TopicPattern], ids: &[String]) -> (Reader, bool) {
        self.bus.kept.resume(patterns, ids, &self.lane)
    }

    /// Reads on in what is kept, once what it listens to has [settled](Self::settled). After the end
    /// events come by the lane.
    pub fn read_kept(&self, reader: &mut Reader) -> Read<Arc<Event>> {
        self.bus.kept.read(reader, &self.lane)
    }

    /// May listen to what `keep` says, and to nothing else: the other subscriptions end.
    pub fn narrow(&self, keep: impl Fn(&TopicPattern) -> bool + Send + 'static) {
        self.bus.post.tell(Narrow { member: self.member, keep: Box::new(keep) });
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.lane.close();
        self.bus.post.tell(LeaveBus { member: self.member });
    }
}
