//! Events on their way to one subscriber that may be slow.
//!
//! When there is no room the newest event is dropped, for this subscriber alone. What was dropped is
//! remembered by topic and told in its place, before the next event that finds room or when the queue is
//! empty: the subscriber hears everything up to a gap, the gap, and what came after it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// So many topics of one gap are told apart; drops of further ones are counted together, under
/// [`ALL_TOPICS`].
const GAP_TOPICS_MAX: usize = 64;
/// The pattern that means every topic.
const ALL_TOPICS: &str = "#";

/// The events that wait for one subscriber. `E` is an event.
#[derive(Debug)]
pub struct EventQueue<E> {
    waiting: VecDeque<Entry<E>>,
    events: usize,
    bytes: usize,
    room: Room,
    /// Dropped since the last event that found room, by topic.
    dropped: BTreeMap<Box<str>, u64>,
    /// When the first event was dropped since one was last taken or found room.
    full_since: Option<Instant>,
}

/// How much may wait. An empty queue takes an event of any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Events.
    pub events_max: usize,
    /// Bytes of them.
    pub bytes_max: usize,
}

#[derive(Debug)]
enum Entry<E> {
    Event { event: E, bytes: usize },
    Gap(Gap),
}

/// Events of one topic that were dropped in this place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The topic; `#` for the rest when there were too many of them.
    pub topic: Box<str>,
    /// How many.
    pub missed: u64,
}

/// What a subscriber hears next.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<E> {
    /// An event.
    Event(E),
    /// That some are missing here.
    Gap(Gap),
}

impl<E> EventQueue<E> {
    /// A queue in which nothing waits.
    pub fn new(room: Room) -> Self {
        Self {
            waiting: VecDeque::new(),
            events: 0,
            bytes: 0,
            room,
            dropped: BTreeMap::new(),
            full_since: None,
        }
    }

    /// Adds an event of a topic, of so many bytes; whether there was room for it.
    pub fn push(&mut self, topic: &str, event: E, bytes: usize, now: Instant) -> bool {
        if !self.has_room(bytes) {
            self.drop_one(topic);
            self.full_since.get_or_insert(now);
            return false;
        }
        self.tell_gap();
        self.full_since = None;
        self.events += 1;
        self.bytes += bytes;
        self.waiting.push_back(Entry::Event { event, bytes });
        true
    }

    /// Takes what is next.
    pub fn pop(&mut self) -> Option<Heard<E>> {
        if self.waiting.is_empty() {
            self.tell_gap();
        }
        match self.waiting.pop_front()? {
            Entry::Event { event, bytes } => {
                self.events -= 1;
                self.bytes -= bytes;
                self.full_since = None;
                Some(Heard::Event(event))
            }
            Entry::Gap(gap) => Some(Heard::Gap(gap)),
        }
    }

    /// Whether nothing is left to be told.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.dropped.is_empty()
    }

    /// How many events wait.
    pub fn len(&self) -> usize {
        self.events
    }

    /// How many bytes of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there has been no room for so long, and nothing was taken.
    pub fn is_stuck(&self, now: Instant, patience: Duration) -> bool {
        self.full_since.is_some_and(|since| now.saturating_duration_since(since) >= patience)
    }

    /// A gap that is told before the event takes room like one.
    fn has_room(&self, bytes: usize) -> bool {
        self.events == 0
            || (self.waiting.len() + self.dropped.len() < self.room.events_max
                && bytes <= self.room.bytes_max.saturating_sub(self.bytes))
    }

    fn drop_one(&mut self, topic: &str) {
        let told_apart = self.dropped.contains_key(topic) || self.dropped.len() < GAP_TOPICS_MAX;
        let topic = if told_apart { topic } else { ALL_TOPICS };
        *self.dropped.entry(topic.into()).or_default() += 1;
    }

    fn tell_gap(&mut self) {
        if self.dropped.is_empty() {
            return;
        }
        let gaps = std::mem::take(&mut self.dropped).into_iter();
        self.waiting.extend(gaps.map(|(topic, missed)| Entry::Gap(Gap { topic, missed })));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: Room = Room { events_max: 3, bytes_max: 10 };

    #[test]
    fn the_newest_is_dropped_and_the_gap_is_told_in_its_place() {
        let (mut queue, now) = (EventQueue::new(ROOM), Instant::now());
        for event in 1..=3 {
            assert!(queue.push("a", event, 1, now));
        }
        assert!(!queue.push("a", 4, 1, now) && !queue.push("b", 5, 1, now));
        assert!(!queue.push("a", 6, 1, now));
        for event in 1..=3 {
            assert_eq!(queue.pop(), Some(Heard::Event(event)));
        }
        assert!(queue.push("c", 7, 1, now));
        let heard: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        let gap = |topic: &str, missed| Heard::Gap(Gap { topic: topic.into(), missed });
        assert_eq!(heard, [gap("a", 2), gap("b", 1), Heard::Event(7)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_gap_at_the_end_is_told_when_the_queue_is_empty() {
        let (mut queue, now) = (EventQueue::new(ROOM), Instant::now());
        assert!(queue.push("a", 1, 10, now) && !queue.push("a", 2, 1, now));
        assert_eq!(queue.pop(), Some(Heard::Event(1)));
        assert!(!queue.is_empty());
        assert_eq!(queue.pop(), Some(Heard::Gap(Gap { topic: "a".into(), missed: 1 })));
        assert_eq!((queue.pop(), queue.is_empty()), (None, true));
    }

    #[test]
    fn an_empty_queue_takes_an_event_of_any_size() {
        let mut queue = EventQueue::new(ROOM);
        assert!(queue.push("a", (), 1_000, Instant::now()));
        assert_eq!((queue.len(), queue.bytes()), (1, 1_000));
    }

    #[test]
    fn it_is_stuck_when_nothing_found_room_for_long_enough() {
        let (mut queue, start) = (EventQueue::new(ROOM), Instant::now());
        let minute = Duration::from_mins(1);
        assert!(queue.push("a", (), 10, start) && !queue.push("a", (), 1, start));
        assert!(!queue.push("a", (), 1, start + minute / 2));
        assert!(!queue.is_stuck(start + minute / 2, minute));
        assert!(queue.is_stuck(start + minute, minute));
        queue.pop();
        assert!(queue.push("a", (), 1, start + minute));
        assert!(!queue.is_stuck(start + minute * 2, minute), "it has moved");
    }

    #[test]
    fn a_subscriber_that_takes_what_waited_is_not_stuck_though_nothing_new_comes() {
        let (mut queue, start) = (EventQueue::new(ROOM), Instant::now());
        let minute = Duration::from_mins(1);
        assert!(queue.push("a", (), 10, start) && !queue.push("a", (), 1, start));
        queue.pop();
        assert!(!queue.is_stuck(start + minute, minute));
    }

    #[test]
    fn a_gap_of_very_many_topics_has_a_last_entry_for_the_rest() {
        let (mut queue, now) = (EventQueue::new(ROOM), Instant::now());
        queue.push("full", 0, 10, now);
        for topic in 0..GAP_TOPICS_MAX + 10 {
            queue.push(&topic.to_string(), 0, 1, now);
        }
        queue.pop();
        let heard: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(heard.len(), GAP_TOPICS_MAX + 1);
        assert!(heard.contains(&Heard::Gap(Gap { topic: "#".into(), missed: 10 })));
    }

    proptest! {
        /// Whatever comes and goes, every event is heard in order or counted in a gap in its place.
        #[test]
        fn every_event_is_heard_or_counted(steps in prop::collection::vec(0..3_usize, 0..200)) {
            let (mut queue, now) = (EventQueue::new(ROOM), Instant::now());
            let (mut sent, mut next) = (0_u64, 0_u64);
            let mut hear = |queue: &mut EventQueue<u64>| -> bool {
                match queue.pop() {
                    Some(Heard::Event(number)) => {
                        assert_eq!(number, next);
                        next += 1;
                        true
                    }
                    Some(Heard::Gap(gap)) => {
                        next += gap.missed;
                        true
                    }
                    None => false,
                }
            };
            for step in steps {
                if step == 0 {
                    hear(&mut queue);
                } else {
                    queue.push("a", sent, 4 * step - 3, now);
                    sent += 1;
                }
                prop_assert!(queue.len() <= ROOM.events_max);
                prop_assert!(queue.len() <= 1 || queue.bytes() <= ROOM.bytes_max);
            }
            while hear(&mut queue) {}
            prop_assert_eq!(next, sent);
            prop_assert_eq!((queue.len(), queue.bytes()), (0, 0));
        }
    }
}
