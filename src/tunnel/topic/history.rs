//! The last events of each topic, for subscribers that come back.
//!
//! Each event has a place in the order in which the gateway took them. A subscriber names the last event
//! that it has heard and gets those after it that are still kept, of all topics that it asks for, in that
//! order.

use std::collections::{BTreeMap, VecDeque};

use super::{TopicName, TopicPattern};

/// How much of each topic is kept, and of how many topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Events of one topic; 0 keeps none.
    pub events_max: usize,
    /// Bytes of them.
    pub bytes_max: usize,
    /// Topics. One more and the topic that was silent longest is forgotten.
    pub topics_max: usize,
}

/// What is kept. `E` is an event; a clone of one is cheap.
#[derive(Debug)]
pub struct History<E> {
    keep: Keep,
    topics: BTreeMap<TopicName, Kept<E>>,
    /// The next event's place in the order.
    next: u64,
    /// The place of the last event that was forgotten with its topic.
    lost: Option<u64>,
}

#[derive(Debug)]
struct Kept<E> {
    events: VecDeque<Past<E>>,
    bytes: usize,
    last: u64,
    /// The place of the last event of it that is not kept any more.
    lost: Option<u64>,
}

#[derive(Debug)]
struct Past<E> {
    order: u64,
    id: Box<str>,
    event: E,
    bytes: usize,
}

/// What a subscriber that comes back has missed.
#[derive(Debug, PartialEq, Eq)]
pub struct Replay<E> {
    /// The events, the oldest first, each with its place in the order.
    pub events: Vec<(u64, E)>,
    /// Events from this place on come by themselves.
    pub next: u64,
    /// The event that was named is not kept any more, or others that came after it are not.
    pub may_miss: bool,
}

impl<E: Clone> History<E> {
    /// Nothing has happened yet.
    pub fn new(keep: Keep) -> Self {
        Self { keep, topics: BTreeMap::new(), next: 0, lost: None }
    }

    /// Takes an event of so many bytes; its place in the order.
    pub fn push(&mut self, topic: &TopicName, id: &str, event: E, bytes: usize) -> u64 {
        let order = self.next;
        self.next += 1;
        let Keep { events_max, bytes_max, .. } = self.keep;
        if events_max == 0 {
            return order;
        }
        self.make_place(topic);
        let kept = self.topics.entry(topic.clone()).or_insert_with(Kept::new);
        kept.last = order;
        if bytes > bytes_max {
            kept.lost = Some(order);
            return order;
        }
        while kept.events.len() >= events_max || bytes > bytes_max - kept.bytes {
            let Some(oldest) = kept.events.pop_front() else { break };
            kept.bytes -= oldest.bytes;
            kept.lost = kept.lost.max(Some(oldest.order));
        }
        kept.bytes += bytes;
        kept.events.push_back(Past { order, id: id.into(), event, bytes });
        order
    }

    /// What came after the event named `after` in the topics that the patterns mean; everything that is
    /// kept of them if that is not kept, or none is named.
    pub fn since(&self, patterns: &[TopicPattern], after: Option<&str>) -> Replay<E> {
        let is_meant = |name: &TopicName| patterns.iter().any(|pattern| pattern.matches(name));
        let meant = self.topics.iter().filter(|(name, _)| is_meant(name)).map(|(_, kept)| kept);
        let meant: Vec<_> = meant.collect();
        let lost = meant.iter().filter_map(|kept| kept.lost).max().max(self.lost);
        let past = meant.iter().flat_map(|kept| &kept.events);
        let past: BTreeMap<_, _> = past.map(|past| (past.order, past)).collect();
        let heard = after.and_then(|id| past.values().find(|past| &*past.id == id));
        let heard = heard.map(|past| past.order);
        let missed = past.values().filter(|past| heard.is_none_or(|heard| past.order > heard));
        Replay {
            events: missed.map(|past| (past.order, past.event.clone())).collect(),
            next: self.next,
            may_miss: after.is_some() && heard.is_none_or(|heard| lost > Some(heard)),
        }
    }

    /// How many events are kept, and how many bytes of them.
    pub fn size(&self) -> (usize, usize) {
        let kept = self.topics.values();
        kept.fold((0, 0), |(events, bytes), kept| (events + kept.events.len(), bytes + kept.bytes))
    }

    /// Forgets the topic that was silent longest, if there is no room for this one.
    fn make_place(&mut self, topic: &TopicName) {
        if self.topics.contains_key(topic) || self.topics.len() < self.keep.topics_max {
            return;
        }
        let silent = self.topics.iter().min_by_key(|(_, kept)| kept.last);
        if let Some(silent) = silent.map(|(name, _)| name.clone())
            && let Some(kept) = self.topics.remove(&silent)
        {
            self.lost = self.lost.max(Some(kept.last));
        }
    }
}

impl<E> Kept<E> {
    fn new() -> Self {
        Self { events: VecDeque::new(), bytes: 0, last: 0, lost: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEEP: Keep = Keep { events_max: 3, bytes_max: 10, topics_max: 2 };

    #[test]
    fn what_came_after_an_event_is_told_in_order_across_topics() {
        let mut history = History::new(Keep { topics_max: 9, ..KEEP });
        for (topic, id) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("b", "5")] {
            history.push(&name(topic), id, id.to_owned(), 1);
        }
        let replay = history.since(&[pattern("a"), pattern("b")], Some("2"));
        assert_eq!(replay.events, [(2, "3".to_owned()), (4, "5".to_owned())]);
        assert_eq!((replay.next, replay.may_miss), (5, false));
        assert!(history.since(&[pattern("#")], Some("5")).events.is_empty());
    }

    #[test]
    fn an_event_that_is_not_kept_any_more_gives_all_there_is_and_says_so() {
        let mut history = History::new(KEEP);
        for id in ["1", "2", "3", "4"] {
            history.push(&name("a"), id, id.to_owned(), 1);
        }
        let replay = history.since(&[pattern("a")], Some("1"));
        assert_eq!((replay.events.len(), replay.may_miss), (3, true));
        let replay = history.since(&[pattern("a")], None);
        assert_eq!((replay.events.len(), replay.may_miss), (3, false));
    }

    #[test]
    fn an_event_that_is_too_large_to_be_kept_leaves_no_false_trace() {
        let mut history = History::new(KEEP);
        history.push(&name("a"), "1", (), 1);
        history.push(&name("a"), "2", (), 11);
        assert!(history.since(&[pattern("a")], Some("1")).may_miss);
        assert_eq!(history.size(), (1, 1));
    }

    #[test]
    fn what_another_topic_has_lost_meanwhile_is_told() {
        let mut history = History::new(KEEP);
        history.push(&name("a"), "heard", "", 1);
        for id in ["1", "2", "3"] {
            history.push(&name("b"), id, "", 1);
        }
        assert!(!history.since(&[pattern("#")], Some("heard")).may_miss);
        history.push(&name("b"), "4", "", 1);
        assert!(history.since(&[pattern("#")], Some("heard")).may_miss);
        assert!(!history.since(&[pattern("a")], Some("heard")).may_miss);
    }

    #[test]
    fn one_topic_more_and_the_one_silent_longest_is_forgotten() {
        let mut history = History::new(KEEP);
        for topic in ["a", "b", "a", "c"] {
            history.push(&name(topic), topic, topic.to_owned(), 1);
        }
        let kept = history.since(&[pattern("#")], None).events;
        assert_eq!(kept, [(0, "a".to_owned()), (2, "a".to_owned()), (3, "c".to_owned())]);
    }

    #[test]
    fn nothing_is_kept_unless_asked_for() {
        let mut history = History::new(Keep { events_max: 0, ..KEEP });
        assert_eq!(history.push(&name("a"), "1", (), 1), 0);
        assert_eq!(history.push(&name("a"), "2", (), 1), 1);
        assert_eq!(history.size(), (0, 0));
    }

    proptest! {
        /// However much comes, no topic keeps more than it may, and what is kept is the end of what could be.
        #[test]
        fn the_end_of_each_topic_is_kept(
            pushes in prop::collection::vec((0..3_usize, 1..12_usize), 0..100)
        ) {
            let mut history = History::new(KEEP);
            for (order, (topic, bytes)) in pushes.iter().enumerate() {
                history.push(&name(["a", "b", "c"][*topic]), &order.to_string(), order, *bytes);
                prop_assert!(history.topics.len() <= KEEP.topics_max);
                for kept in history.topics.values() {
                    prop_assert!(kept.events.len() <= KEEP.events_max);
                    prop_assert!(kept.bytes <= KEEP.bytes_max);
                    prop_assert_eq!(kept.bytes, kept.events.iter().map(|past| past.bytes).sum::<usize>());
                }
            }
            for (topic, letter) in ["a", "b", "c"].into_iter().enumerate() {
                let fits = |order: &usize| pushes[*order].0 == topic && pushes[*order].1 <= KEEP.bytes_max;
                let of_topic: Vec<_> = (0..pushes.len()).filter(fits).collect();
                let kept = history.since(&[pattern(letter)], None).events;
                let kept: Vec<_> = kept.into_iter().map(|(_, event)| event).collect();
                prop_assert!(of_topic.ends_with(&kept));
            }
        }
    }

    fn name(text: &str) -> TopicName {
        TopicName::parse(text, 255).unwrap()
    }

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::parse(text, 255).unwrap()
    }
}
