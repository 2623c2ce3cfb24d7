//! Who listens hears what is published, on whichever worker, and nothing is left of who has gone.

mod kept;
mod random;

use super::*;
use crate::actors::event::{Outcome, Published};
use crate::actors::lane::QueuedEvent;
use crate::actors::testing::{Stage, event, next, probe, settle};
use crate::observe::cast::Kind;
use crate::tunnel::limits::Limits;
use crate::tunnel::topic::TopicName;
use crate::tunnel::topic::queue::{Gap, Heard};
use std::slice;

// === Delivery ===

#[actix::test]
async fn an_event_reaches_all_who_listen_on_every_worker_and_its_publisher_learns_how_many() {
    let stage = Stage::with(2, Limits::default());
    let listeners: Vec<_> = [0, 0, 1].map(|worker| Listener::new(&stage, worker)).into();
    for (listener, pattern) in listeners.iter().zip(["orders.eu", "orders.#", "*.eu"]) {
        listener.subscribe(pattern);
    }
    let bystander = Listener::new(&stage, 1);
    bystander.subscribe("orders.us");
    settle().await;
    for worker in [0, 1] {
        let mut publisher = Publisher::new(&stage, worker);
        let id = publisher.publish("orders.eu");
        assert_eq!(publisher.outcome().await, (id.clone(), Outcome::Accepted { subscribers: 3 }));
        for listener in &listeners {
            assert_eq!(listener.heard(), slice::from_ref(&id));
        }
    }
    assert_eq!(bystander.heard(), NOTHING);
    let totals = stage.window.topics.totals();
    assert_eq!(totals.published[0], ("accepted", 2));
    assert_eq!((totals.topics, totals.subscribers), (4, 4));
}

#[actix::test]
async fn who_listens_to_several_patterns_of_a_name_gets_one_copy() {
    let stage = Stage::with(2, Limits::default());
    let (many, one) = (Listener::new(&stage, 1), Listener::new(&stage, 1));
    for pattern in ["a.b", "a.*", "#", "a.#.b"] {
        many.subscribe(pattern);
    }
    one.subscribe("a.*");
    settle().await;
    let mut publisher = Publisher::new(&stage, 0);
    let sent: Vec<_> = (0..50).map(|_| publisher.publish("a.b")).collect();
    for id in &sent {
        assert_eq!(publisher.outcome().await, (id.clone(), Outcome::Accepted { subscribers: 2 }));
    }
    assert_eq!((many.heard(), one.heard()), (sent.clone(), sent));
}

#[actix::test]
async fn what_one_publisher_says_under_one_topic_comes_in_order() {
    let stage = Stage::with(2, Limits::default());
    let listeners: Vec<_> = (0..8).map(|number| Listener::new(&stage, number % 2)).collect();
    for listener in &listeners {
        listener.subscribe("a.#");
        listener.subscribe("*.b");
    }
    settle().await;
    let publishers = [0, 1].map(|worker| Publisher::new(&stage, worker));
    let mut sent = [Vec::new(), Vec::new()];
    for _ in 0..200 {
        for (publisher, sent) in publishers.iter().zip(&mut sent) {
            sent.push(publisher.publish("a.b"));
        }
    }
    settle().await;
    for listener in &listeners {
        let heard = listener.heard();
        for sent in &sent {
            let own: Vec<_> = heard.iter().filter(|id| sent.contains(id)).cloned().collect();
            assert_eq!(&own, sent);
        }
        assert_eq!(heard.len(), 400);
    }
}

#[actix::test]
async fn order_is_kept_while_a_subscriber_adds_patterns_of_the_same_name() {
    let stage = Stage::with(2, Limits::default());
    let other = Listener::new(&stage, 0);
    for pattern in ["a.b", "#"] {
        other.subscribe(pattern);
    }
    settle().await;
    let publisher = Publisher::new(&stage, 0);
    for order in [["a.*", "a.b", "#"], ["#", "a.*", "a.b"], ["a.b", "#", "a.*"]] {
        let listener = Listener::new(&stage, 0);
        let mut sent = Vec::new();
        for pattern in order {
            listener.subscribe(pattern);
            sent.extend((0..3).map(|_| publisher.publish("a.b")));
        }
        settle().await;
        assert_eq!(listener.heard(), sent, "{order:?}");
    }
}

#[actix::test]
async fn nobody_listens_and_that_is_no_error_and_begins_no_topic() {
    let stage = Stage::with(2, Limits::default());
    let mut publisher = Publisher::new(&stage, 0);
    let id = publisher.publish("a.b");
    assert_eq!(publisher.outcome().await, (id, Outcome::NoSubscriber));
    assert_eq!((running(&stage), stage.window.topics.look()), (0, vec![]));
    assert_eq!(stage.window.topics.totals().published[1], ("no_subscriber", 1));
}

// === Topics begin and end ===

#[actix::test]
async fn a_topic_runs_on_a_worker_as_long_as_somebody_there_listens() {
    let stage = Stage::with(2, Limits::default());
    let listeners: Vec<_> = [0, 0, 1].map(|worker| Listener::new(&stage, worker)).into();
    for (listener, expected) in listeners.iter().zip([1, 1, 2]) {
        listener.subscribe("a.*");
        listener.subscribe("a.*");
        settle().await;
        assert_eq!(running(&stage), expected);
    }
    let topics = stage.window.topics.look();
    let seen: Vec<_> = topics.iter().map(|topic| (topic.worker, topic.subscribers)).collect();
    assert_eq!(seen, [(0, 2), (1, 1)]);
    for (listener, expected) in listeners.iter().zip([2, 1, 0]) {
        listener.unsubscribe("a.*");
        listener.unsubscribe("a.*");
        settle().await;
        assert_eq!(running(&stage), expected);
    }
    nothing_is_left(&stage);
}

#[actix::test]
async fn who_goes_away_leaves_nothing_behind() {
    let stage = Stage::with(2, Limits::default());
    let listener = Listener::new(&stage, 1);
    for pattern in ["a", "b.*", "#"] {
        listener.subscribe(pattern);
    }
    settle().await;
    let mut publisher = Publisher::new(&stage, 0);
    publisher.publish("a");
    settle().await;
    drop(listener);
    settle().await;
    nothing_is_left(&stage);
    let dropped = stage.window.topics.totals().dropped;
    assert_eq!(dropped[1], ("subscriber_gone", 1));
    publisher.outcome().await;
    let id = publisher.publish("a");
    assert_eq!(publisher.outcome().await, (id, Outcome::NoSubscriber));
}

#[actix::test]
async fn who_subscribes_and_publishes_on_one_worker_hears_its_own_words() {
    let stage = Stage::new();
    let (listener, publisher) = (Listener::new(&stage, 0), Publisher::new(&stage, 0));
    listener.subscribe("a");
    let first = publisher.publish("a");
    listener.unsubscribe("a");
    publisher.publish("a");
    listener.subscribe("a");
    let last = publisher.publish("a");
    settle().await;
    assert_eq!(listener.heard(), [first, last]);
}

// === Who is slow ===

#[actix::test]
async fn the_newest_is_dropped_for_a_slow_subscriber_alone_and_it_is_told() {
    let limits = Limits { subscriber_queue_events_max: 3, ..Limits::default() };
    let stage = Stage::with(2, limits);
    let (slow, quick) = (Listener::new(&stage, 0), Listener::new(&stage, 0));
    slow.subscribe("a");
    quick.subscribe("a");
    settle().await;
    let mut publisher = Publisher::new(&stage, 1);
    let mut sent = Vec::new();
    for number in 0..10 {
        sent.push(publisher.publish("a"));
        let subscribers = if number < 3 { 2 } else { 1 };
        assert_eq!(publisher.outcome().await.1, Outcome::Accepted { subscribers });
        assert_eq!(quick.heard(), sent[number..]);
    }
    let mut expected: Vec<_> = sent[..3].iter().cloned().map(Ok).collect();
    expected.push(Err(Gap { topic: "a".into(), missed: 7 }));
    assert_eq!(slow.drained(), expected);
    let after = publisher.publish("a");
    settle().await;
    assert_eq!((slow.heard(), quick.heard()), (vec![after.clone()], vec![after]));
    let totals = stage.window.topics.totals();
    assert_eq!((totals.delivered, totals.dropped[0]), (15, ("queue_full", 7)));
}

#[actix::test]
async fn an_event_for_which_nobody_has_room_is_rejected() {
    let limits = Limits { subscriber_queue_events_max: 1, ..Limits::default() };
    let stage = Stage::with(1, limits);
    let listener = Listener::new(&stage, 0);
    listener.subscribe("a");
    let mut publisher = Publisher::new(&stage, 0);
    publisher.publish("a");
    publisher.publish("a");
    assert_eq!(publisher.outcome().await.1, Outcome::Accepted { subscribers: 1 });
    let refused = Outcome::Refused(EventRefusal::NoneHadRoom);
    assert_eq!(publisher.outcome().await.1, refused);
}

// === Limits, scopes and faults ===

#[actix::test]
async fn one_subscription_or_one_topic_too_many_is_refused_and_named() {
    let limits = Limits { topics_max: 3, subscriptions_per_tunnel_max: 2, ..Limits::default() };
    let stage = Stage::with(2, limits);
    let (mut one, mut other) = (Listener::new(&stage, 0), Listener::new(&stage, 1));
    for pattern in ["a", "b", "c"] {
        one.subscribe(pattern);
    }
    let why = EventRefusal::Subscriptions { max: 2 };
    assert_eq!(one.refused().await, ("c".to_owned(), why));
    settle().await;
    for pattern in ["d", "e"] {
        other.subscribe(pattern);
    }
    assert_eq!(other.refused().await, ("e".to_owned(), EventRefusal::Topics { max: 3 }));
    one.unsubscribe("a");
    settle().await;
    other.subscribe("e");
    settle().await;
    assert_eq!((running(&stage), other.ended.try_recv().is_err()), (3, true));
}

#[actix::test]
async fn a_narrower_key_ends_the_subscriptions_that_it_does_not_allow() {
    let stage = Stage::with(1, Limits::default());
    let mut listener = Listener::new(&stage, 0);
    for pattern in ["a.*", "b"] {
        listener.subscribe(pattern);
    }
    listener.membership.narrow(|pattern| pattern.as_str() == "b");
    assert_eq!(listener.refused().await, ("a.*".to_owned(), EventRefusal::OutOfScope));
    settle().await;
    assert_eq!(running(&stage), 1);
}

#[actix::test]
async fn a_topic_that_breaks_ends_its_subscriptions_which_may_begin_again() {
    let stage = Stage::with(2, Limits::default());
    let mut listener = Listener::new(&stage, 0);
    listener.subscribe("a");
    settle().await;
    stage.buses[0].post.tell(TopicLost { pattern: pattern("a"), number: 99 });
    settle().await;
    assert!(listener.ended.try_recv().is_err(), "of another topic");
    stage.buses[0].post.tell(TopicLost { pattern: pattern("a"), number: 1 });
    assert_eq!(listener.refused().await, ("a".to_owned(), EventRefusal::Lost));
    let mut publisher = Publisher::new(&stage, 1);
    publisher.publish("a");
    assert_eq!(publisher.outcome().await.1, Outcome::NoSubscriber);
    listener.subscribe("a");
    settle().await;
    let id = publisher.publish("a");
    settle().await;
    assert_eq!(listener.heard(), [id]);
}

#[actix::test]
async fn a_topic_that_panics_tells_its_bus() {
    let stage = Stage::new();
    let (lost, mut told) = probe();
    let counted = stage.window.topics.begin("a", 0);
    let beginning = Beginning { pattern: pattern("a"), number: 7, counted, lost };
    let topic = TopicHandle::begin(beginning, &stage.window.cast.arbiter(0));
    let (lane, publisher) = (Listener::new(&stage, 0).lane.clone(), Publisher::new(&stage, 0));
    topic.join(publisher.member, lane);
    topic.crash();
    let TopicLost { pattern, number } = next(&mut told).await;
    assert_eq!((pattern.as_str(), number), ("a", 7));
}

#[actix::test]
async fn a_bus_that_panics_is_reported() {
    let mut stage = Stage::with(2, Limits::default());
    stage.buses[1].crash();
    assert_eq!(next(&mut stage.died).await, "bus");
}

// === The same event twice ===

#[actix::test]
async fn an_event_that_comes_twice_is_counted_and_delivered_once_if_that_is_asked_for() {
    let stage = Stage::new();
    for (deduplicate, delivered) in [(false, 2), (true, 1)] {
        let (limits, window) = (stage.limits.clone(), stage.window.clone());
        let kept = KeptEvents::new(None, &window.topics);
        let settings = Settings { limits, deduplicate, kept, window };
        let (died, _died) = mpsc::unbounded_channel();
        let bus = BusHandle::start(WorkerId(0), &settings, died);
        let listener = Listener::at(&bus, &stage.limits.now());
        listener.subscribe("a");
        let mut publisher = Publisher::new(&stage, 0);
        let accepted = Outcome::Accepted { subscribers: 1 };
        let second = if deduplicate { Outcome::Duplicate } else { accepted };
        for expected in [accepted, second] {
            publisher.publish_as(&bus, "a", "e-1");
            assert_eq!(publisher.outcome().await.1, expected);
        }
        assert_eq!(listener.heard().len(), delivered);
    }
    assert_eq!(stage.window.topics.totals().duplicates, 2);
}

// === Who takes part ===

const NOTHING: [Arc<str>; 0] = [];

/// Somebody who listens, in the hands of the test.
struct Listener {
    membership: Membership,
    lane: EventLane,
    ended: mpsc::UnboundedReceiver<SubscriptionEnded>,
}

impl Listener {
    fn new(stage: &Stage, worker: usize) -> Self {
        Self::at(&stage.buses[worker], &stage.limits.now())
    }

    fn at(bus: &BusHandle, limits: &Limits) -> Self {
        let lane = EventLane::new(limits);
        let (ended, heard) = probe();
        let membership = bus.member(MemberId::random(), lane.clone(), ended);
        Self { membership, lane, ended: heard }
    }

    fn subscribe(&self, text: &str) {
        self.membership.subscribe(vec![pattern(text)]);
    }

    fn unsubscribe(&self, text: &str) {
        self.membership.unsubscribe(pattern(text));
    }

    async fn refused(&mut self) -> (String, EventRefusal) {
        let SubscriptionEnded { pattern, why } = next(&mut self.ended).await;
        (pattern.as_str().to_owned(), why)
    }

    /// Everything that waits: ids of events, and gaps.
    fn drained(&self) -> Vec<Result<Arc<str>, Gap>> {
        let heard = std::iter::from_fn(|| self.lane.pop());
        let told = |heard| match heard {
            Heard::Event(QueuedEvent { event, topic }) => {
                topic.delivered();
                Ok(event.id.clone())
            }
            Heard::Gap(gap) => Err(gap),
        };
        heard.map(told).collect()
    }

    /// The ids of the events that wait, of which none may be missing.
    fn heard(&self) -> Vec<Arc<str>> {
        self.drained().into_iter().map(Result::unwrap).collect()
    }
}

/// Somebody who publishes.
struct Publisher {
    member: MemberId,
    bus: BusHandle,
    counted: Arc<Topics>,
    outcome: Mailbox<Published>,
    outcomes: mpsc::UnboundedReceiver<Published>,
}

impl Publisher {
    fn new(stage: &Stage, worker: usize) -> Self {
        let (outcome, outcomes) = probe();
        let (bus, counted) = (stage.buses[worker].clone(), stage.window.topics.clone());
        Self { member: MemberId::random(), bus, counted, outcome, outcomes }
    }

    /// Publishes something; returns its id.
    fn publish(&self, name: &str) -> Arc<str> {
        self.publish_as(&self.bus, name, &MemberId::random().to_string())
    }

    fn publish_as(&self, bus: &BusHandle, name: &str, id: &str) -> Arc<str> {
        let event = event(self.member, name, id);
        let id = event.id.clone();
        let (outcome, counted) = (Some(self.outcome.clone()), self.counted.clone());
        bus.publish(Publication::new(event, None, outcome, counted));
        id
    }

    async fn outcome(&mut self) -> (Arc<str>, Outcome) {
        let published = next(&mut self.outcomes).await;
        (published.id, published.outcome)
    }
}

/// How many topics run.
fn running(stage: &Stage) -> usize {
    let kinds = stage.window.cast.totals().kinds;
    usize::try_from(kinds[Kind::Topic as usize].alive).unwrap()
}

fn nothing_is_left(stage: &Stage) {
    assert_eq!((running(stage), stage.window.topics.look()), (0, vec![]));
    let totals = stage.window.topics.totals();
    assert_eq!((totals.topics, totals.subscribers), (0, 0));
}

fn pattern(text: &str) -> TopicPattern {
    TopicPattern::parse(text, 255).unwrap()
}
