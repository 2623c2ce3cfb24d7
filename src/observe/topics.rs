//! The topics that somebody listens to, and what was published.
//!
//! Each topic of a worker has a [`TopicGauge`] on which that worker alone counts. It is on the list
//! from when the topic begins until nothing of it waits any more; then what it counted goes to the
//! totals.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The topics of the gateway.
#[derive(Debug, Default)]
pub struct Topics {
    table: Mutex<Table>,
    published: [AtomicU64; PUBLISHED.len()],
    duplicates: AtomicU64,
    slow_consumers: AtomicU64,
    streams: AtomicUsize,
    kept_events: AtomicUsize,
    kept_bytes: AtomicUsize,
    replayed: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    running: BTreeMap<u64, Arc<TopicGauge>>,
    /// What topics have counted that are on the list no more.
    past: Counts,
    /// The patterns that each subscriber listens to.
    listening: HashMap<u128, BTreeSet<String>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    delivered: u64,
    queue_full: u64,
    subscriber_gone: u64,
    too_large: u64,
}

/// What became of something that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publishing {
    /// At least one subscriber has it in its queue.
    Accepted,
    /// Nobody listens.
    NoSubscriber,
    /// It was refused.
    Rejected,
}

const PUBLISHED: [(Publishing, &str); 3] = [
    (Publishing::Accepted, "accepted"),
    (Publishing::NoSubscriber, "no_subscriber"),
    (Publishing::Rejected, "rejected"),
];

/// What is counted of one topic on one worker. That worker counts; anybody reads.
#[derive(Debug)]
pub struct TopicGauge {
    pattern: String,
    worker: usize,
    subscribers: AtomicUsize,
    events: AtomicU64,
    /// Events that went into a queue, one for each subscriber.
    queued: AtomicU64,
    delivered: AtomicU64,
    queue_full: AtomicU64,
    subscriber_gone: AtomicU64,
    too_large: AtomicU64,
}

/// A topic is on the list until the last of these is dropped.
#[derive(Debug)]
pub struct TopicCount {
    topics: Arc<Topics>,
    number: u64,
    gauge: Arc<TopicGauge>,
}

/// Somebody who listens to at least one topic, counted until this is dropped.
#[derive(Debug)]
pub struct SubscriberCount {
    topics: Arc<Topics>,
    id: u128,
}

/// A publisher or a subscriber without a tunnel, counted until this is dropped.
#[derive(Debug)]
pub struct StreamCount(Arc<Topics>);

/// All topics together, since the start of the gateway. A pattern that is listened to on several
/// workers is a topic of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicTotals {
    /// Events by what became of them: `accepted`, `no_subscriber`, `rejected`.
    pub published: Vec<(&'static str, u64)>,
    /// Events that came again under the same id.
    pub duplicates: u64,
    /// Events on their way to a subscriber, each counted once for each.
    pub delivered: u64,
    /// Events that a subscriber did not get, by reason: `queue_full`, `subscriber_gone`, `too_large`.
    pub dropped: Vec<(&'static str, u64)>,
    /// Who listens now to at least one topic.
    pub subscribers: u64,
    /// Topics now.
    pub topics: u64,
    /// Tunnels and streams that were closed because they did not take their events.
    pub slow_consumers: u64,
    /// Publishers and subscribers without a tunnel, now.
    pub streams: u64,
    /// Events that are kept for who comes back.
    pub kept_events: u64,
    /// Bytes of them.
    pub kept_bytes: u64,
    /// Events that came to who came back, each counted once for each.
    pub replayed: u64,
}

/// One topic on one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSnapshot {
    /// Its pattern.
    pub pattern: String,
    /// The worker.
    pub worker: usize,
    /// Who listens to it there. With none it has ended, and some of its events are still queued.
    pub subscribers: u64,
    /// Events that have come for it.
    pub events: u64,
    /// Those on their way to a subscriber, each counted once for each.
    pub delivered: u64,
    /// Those that a subscriber did not get.
    pub dropped: u64,
    /// Those that wait in the queues of subscribers.
    pub queued: u64,
}

impl Topics {
    // === What happens ===

    /// A topic begins on a worker.
    pub fn begin(self: &Arc<Self>, pattern: &str, worker: usize) -> Arc<TopicCount> {
        let gauge = Arc::new(TopicGauge::new(pattern, worker));
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        table.running.insert(number, gauge.clone());
        drop(table);
        Arc::new(TopicCount { topics: self.clone(), number, gauge })
    }

    /// Somebody begins to listen.
    pub fn subscriber(self: &Arc<Self>, id: u128) -> SubscriberCount {
        self.table().listening.entry(id).or_default();
        SubscriberCount { topics: self.clone(), id }
    }

    /// A publisher or a subscriber without a tunnel is here.
    pub fn stream(self: &Arc<Self>) -> StreamCount {
        self.streams.fetch_add(1, Ordering::Relaxed);
        StreamCount(self.clone())
    }

    /// An event was published.
    pub fn published(&self, how: Publishing) {
        self.published[how as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// An event came again under the same id.
    pub fn duplicate(&self) {
        self.duplicates.fetch_add(1, Ordering::Relaxed);
    }

    /// A tunnel was closed because it did not take its events.
    pub fn slow_consumer(&self) {
        self.slow_consumers.fetch_add(1, Ordering::Relaxed);
    }

    /// So many events are kept, of so many bytes.
    pub fn keeps(&self, events: usize, bytes: usize) {
        self.kept_events.store(events, Ordering::Relaxed);
        self.kept_bytes.store(bytes, Ordering::Relaxed);
    }

    /// So many events were read by somebody who came back.
    pub fn replays(&self, events: usize) {
        add(&self.replayed, events as u64);
    }

    // === What is seen ===

    /// Every topic of every worker, in the order in which they began.
    pub fn look(&self) -> Vec<TopicSnapshot> {
        let running: Vec<_> = self.table().running.values().cloned().collect();
        running.iter().map(|gauge| gauge.snapshot()).collect()
    }

    /// The patterns that somebody listens to.
    pub fn of(&self, id: u128) -> Vec<String> {
        self.table().listening.get(&id).into_iter().flatten().cloned().collect()
    }

    /// All of them together.
    pub fn totals(&self) -> TopicTotals {
        let table = self.table();
        let (mut sum, topics) = (table.past, table.running.len() as u64);
        let subscribers = table.listening.len() as u64;
        for gauge in table.running.values() {
            sum.add(gauge);
        }
        drop(table);
        let read = |(how, name): (Publishing, _)| (name, load(&self.published[how as usize]));
        TopicTotals {
            published: PUBLISHED.map(read).into(),
            duplicates: load(&self.duplicates),
            delivered: sum.delivered,
            dropped: vec![
                ("queue_full", sum.queue_full),
                ("subscriber_gone", sum.subscriber_gone),
                ("too_large", sum.too_large),
            ],
            subscribers,
            topics,
            slow_consumers: load(&self.slow_consumers),
            streams: self.streams.load(Ordering::Relaxed) as u64,
            kept_events: self.kept_events.load(Ordering::Relaxed) as u64,
            kept_bytes: self.kept_bytes.load(Ordering::Relaxed) as u64,
            replayed: load(&self.replayed),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Numbers that are off by one after a panic are better than none.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TopicGauge {
    fn new(pattern: &str, worker: usize) -> Self {
        Self {
            pattern: pattern.to_owned(),
            worker,
            subscribers: AtomicUsize::new(0),
            events: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            queue_full: AtomicU64::new(0),
            subscriber_gone: AtomicU64::new(0),
            too_large: AtomicU64::new(0),
        }
    }

    /// So many listen to it.
    pub fn subscribers(&self, now: usize) {
        self.subscribers.store(now, Ordering::Relaxed);
    }

    /// An event has come.
    pub fn came(&self) {
        add(&self.events, 1);
    }

    /// So many queues took an event, so many had no room.
    pub fn went(&self, taken: usize, dropped: usize) {
        add(&self.queued, taken as u64);
        add(&self.queue_full, dropped as u64);
    }

    /// An event was taken out of a queue and is on its way.
    pub fn delivered(&self) {
        add(&self.delivered, 1);
    }

    /// An event was in the queue of a subscriber that has gone.
    pub fn subscriber_gone(&self) {
        add(&self.subscriber_gone, 1);
    }

    /// An event was taken out of a queue and is too large for the subscriber.
    pub fn too_large(&self) {
        add(&self.too_large, 1);
    }

    fn snapshot(&self) -> TopicSnapshot {
        let (delivered, gone) = (load(&self.delivered), load(&self.subscriber_gone));
        let (queue_full, too_large) = (load(&self.queue_full), load(&self.too_large));
        // What was read before may since have come and gone.
        let queued = load(&self.queued).saturating_sub(delivered + gone + too_large);
        TopicSnapshot {
            pattern: self.pattern.clone(),
            worker: self.worker,
            subscribers: self.subscribers.load(Ordering::Relaxed) as u64,
            events: load(&self.events),
            delivered,
            dropped: queue_full + gone + too_large,
            queued,
        }
    }
}

impl Counts {
    fn add(&mut self, gauge: &TopicGauge) {
        self.delivered += load(&gauge.delivered);
        self.queue_full += load(&gauge.queue_full);
        self.subscriber_gone += load(&gauge.subscriber_gone);
        self.too_large += load(&gauge.too_large);
    }
}

impl Deref for TopicCount {
    type Target = TopicGauge;

    fn deref(&self) -> &TopicGauge {
        &self.gauge
    }
}

impl Drop for TopicCount {
    fn drop(&mut self) {
        let mut table = self.topics.table();
        table.past.add(&self.gauge);
        table.running.remove(&self.number);
    }
}

impl SubscriberCount {
    /// It listens to a pattern.
    pub fn listens(&self, pattern: &str) {
        let mut table = self.topics.table();
        table.listening.entry(self.id).or_default().insert(pattern.to_owned());
    }

    /// It does so no more.
    pub fn listens_no_more(&self, pattern: &str) {
        let mut table = self.topics.table();
        table.listening.entry(self.id).or_default().remove(pattern);
    }
}

impl Drop for SubscriberCount {
    fn drop(&mut self) {
        self.topics.table().listening.remove(&self.id);
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

fn add(to: &AtomicU64, more: u64) {
    to.fetch_add(more, Ordering::Relaxed);
}

fn load(from: &AtomicU64) -> u64 {
    from.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_topic_has_counted_stays_in_the_totals_when_it_has_ended() {
        let topics = Arc::new(Topics::default());
        let topic = topics.begin("a.*", 1);
        let waiting = topic.clone();
        topic.subscribers(2);
        topic.came();
        topic.went(2, 1);
        topic.delivered();
        let seen = topics.look();
        assert_eq!((seen.len(), &*seen[0].pattern, seen[0].worker), (1, "a.*", 1));
        assert_eq!((seen[0].subscribers, seen[0].events, seen[0].delivered), (2, 1, 1));
        assert_eq!((seen[0].dropped, seen[0].queued), (1, 1));
        drop(topic);
        assert_eq!(topics.look().len(), 1, "one event still waits");
        waiting.subscriber_gone();
        let before = topics.totals();
        drop(waiting);
        assert_eq!(topics.look(), []);
        assert_eq!(before.topics, 1);
        assert_eq!(topics.totals(), TopicTotals { topics: 0, ..before.clone() });
        assert_eq!(before.delivered, 1);
        assert_eq!(before.dropped, [("queue_full", 1), ("subscriber_gone", 1), ("too_large", 0)]);
    }

    #[test]
    fn what_is_published_is_counted_by_what_became_of_it() {
        let topics = Arc::new(Topics::default());
        for how in [Publishing::Accepted, Publishing::Rejected, Publishing::Accepted] {
            topics.published(how);
        }
        topics.duplicate();
        topics.slow_consumer();
        let subscriber = topics.subscriber(7);
        subscriber.listens("a.*");
        subscriber.listens("b");
        subscriber.listens_no_more("b");
        assert_eq!((topics.of(7), topics.of(8)), (vec!["a.*".to_owned()], vec![]));
        let totals = topics.totals();
        assert_eq!(totals.published, [("accepted", 2), ("no_subscriber", 0), ("rejected", 1)]);
        assert_eq!((totals.duplicates, totals.slow_consumers, totals.subscribers), (1, 1, 1));
        drop(subscriber);
        assert_eq!((topics.totals().subscribers, topics.of(7)), (0, vec![]));
    }
}
