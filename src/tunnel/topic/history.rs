//! The last events of each topic, for subscribers that come back.
//!
//! Each event has a place in the order in which the gateway took them. A subscriber names the last
//! events that it has heard, gets what is kept after those in that order, some at a time, and then
//! listens: whoever reads up to the end knows the first place that comes by itself.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::{TopicName, TopicPattern};

/// So many events are looked at in one step, whether they are meant or not: a step holds up who
/// publishes.
const LOOKED_AT_MAX: usize = 1_024;
/// About so many bytes of events are given in one step, which stay in memory until they are taken.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Events of one topic.
    pub events_max: usize,
    /// Bytes of them.
    pub bytes_max: usize,
    /// Topics. One more and the topic that was silent longest is forgotten.
    pub topics_max: usize,
    /// Bytes of all topics together; the same then. Not under `bytes_max`.
    pub total_bytes_max: usize,
}

/// What can be kept. A clone of it is cheap.
pub trait Keepable: Clone {
    /// What its publisher calls it.
    fn id(&self) -> &Arc<str>;
    /// What it was published under.
    fn topic(&self) -> &TopicName;
    /// What it counts for.
    fn bytes(&self) -> usize;
}

/// What is kept. `E` is an event.
#[derive(Debug)]
pub struct History<E> {
    keep: Keep,
    /// Every event that is kept, by its place.
    events: BTreeMap<u64, E>,
    /// The same by their ids: several publishers may use the same one.
    places: BTreeSet<(Arc<str>, u64)>,
    topics: HashMap<TopicName, Kept>,
    /// The topics, by the place of the last event that each had.
    by_silence: BTreeMap<u64, TopicName>,
    bytes: usize,
    /// The place of the next event.
    next: u64,
    /// Events before this place have been forgotten with their topics.
    forgotten_before: u64,
}

/// One topic.
#[derive(Debug, Default)]
struct Kept {
    places: VecDeque<u64>,
    bytes: usize,
    /// The place of the last event that it had, kept or not.
    last: Option<u64>,
    /// Events of it before this place are not kept any more.
    forgotten_before: u64,
}

/// Where a subscriber is that reads what is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The next place that it has not read.
    from: u64,
    /// Places after that of events that it has heard.
    heard: BTreeSet<u64>,
    /// It knows that events before this place may be missing.
    forgotten_before: u64,
}

/// Where a subscriber that comes back begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Resumption {
    /// The position.
    pub cursor: Cursor,
    /// None of the events that were named is kept any more, or others that came later are not.
    pub may_miss: bool,
}

/// Some of what a subscriber that comes back has missed.
#[derive(Debug, PartialEq, Eq)]
pub struct Read<E> {
    /// The events, the oldest first.
    pub events: Vec<E>,
    /// Events that it had not read were forgotten meanwhile.
    pub may_miss: bool,
    /// There is no more: events from this place on come by themselves.
    pub end: Option<u64>,
}

impl<E: Keepable> History<E> {
    /// Nothing has happened yet.
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            events: BTreeMap::new(),
            places: BTreeSet::new(),
            topics: HashMap::new(),
            by_silence: BTreeMap::new(),
            bytes: 0,
            next: 0,
            forgotten_before: 0,
        }
    }

    /// Takes an event; its place in the order.
    pub fn push(&mut self, event: E) -> u64 {
        let place = self.next;
        self.next += 1;
        if !self.topics.contains_key(event.topic()) {
            while self.topics.len() >= self.keep.topics_max.max(1) {
                self.forget_topic();
            }
        }
        let (topic, bytes) = (event.topic().clone(), event.bytes());
        let kept = self.topics.entry(topic.clone()).or_default();
        if let Some(before) = kept.last.replace(place) {
            self.by_silence.remove(&before);
        }
        self.by_silence.insert(place, topic.clone());
        if bytes > self.keep.bytes_max {
            kept.forgotten_before = place + 1;
            return place;
        }
        self.make_room(&topic, bytes);
        if let Some(kept) = self.topics.get_mut(&topic) {
            kept.places.push_back(place);
            kept.bytes += bytes;
            self.bytes += bytes;
            self.places.insert((event.id().clone(), place));
            self.events.insert(place, event);
        }
        self.check();
        place
    }

    /// Where somebody begins who has heard these events, by their ids; at the oldest that is kept if
    /// there are none.
    pub fn resume(&self, patterns: &[TopicPattern], ids: &[String]) -> Resumption {
        let mut heard: BTreeSet<u64> = ids.iter().flat_map(|id| self.places_of(id)).collect();
        let forgotten_before = self.forgotten_before(patterns);
        let first = heard.pop_first();
        let from = first.map_or(0, |first| first + 1);
        let may_miss = !ids.is_empty() && (first.is_none() || forgotten_before > from);
        Resumption { cursor: Cursor { from, heard, forgotten_before }, may_miss }
    }

    fn places_of(&self, id: &str) -> impl Iterator<Item = u64> {
        let id: Arc<str> = id.into();
        let places = self.places.range((id.clone(), 0)..=(id, u64::MAX));
        places.map(|(_, place)| *place)
    }

    /// What comes next for somebody who reads the topics that the patterns mean.
    pub fn read(&self, patterns: &[TopicPattern], cursor: &mut Cursor) -> Read<E> {
        let forgotten_before = self.forgotten_before(patterns);
        let may_miss = forgotten_before > cursor.forgotten_before.max(cursor.from);
        cursor.forgotten_before = forgotten_before;
        let (mut events, mut bytes, mut looked_at) = (Vec::new(), 0, 0);
        for (place, event) in self.events.range(cursor.from..) {
            if looked_at >= LOOKED_AT_MAX || bytes >= READ_BYTES_MAX {
                return Read { events, may_miss, end: None };
            }
            looked_at += 1;
            cursor.from = place + 1;
            let is_meant = || patterns.iter().any(|pattern| pattern.matches(event.topic()));
            if !cursor.heard.remove(place) && is_meant() {
                bytes += event.bytes();
                events.push(event.clone());
            }
        }
        cursor.from = self.next;
        Read { events, may_miss, end: Some(self.next) }
    }

    /// How many events are kept, and how many bytes of them.
    pub fn size(&self) -> (usize, usize) {
        (self.events.len(), self.bytes)
    }

    /// Events of these topics before this place may not be kept any more.
    fn forgotten_before(&self, patterns: &[TopicPattern]) -> u64 {
        let is_meant = |name: &TopicName| patterns.iter().any(|pattern| pattern.matches(name));
        let meant = self
            .topics
            .iter()
            .filter(|(name, kept)| kept.forgotten_before > self.forgotten_before && is_meant(name));
        let of_meant = meant.map(|(_, kept)| kept.forgotten_before).max();
        of_meant.unwrap_or(self.forgotten_before)
    }

    /// Forgets the oldest events of a topic, and topics that were silent longest, until an event of so
    /// many bytes has room.
    fn make_room(&mut self, topic: &TopicName, bytes: usize) {
        let Keep { events_max, bytes_max, total_bytes_max, .. } = self.keep;
        if let Some(kept) = self.topics.get_mut(topic) {
            while kept.places.len() >= events_max || kept.bytes + bytes > bytes_max {
                let Some(oldest) = kept.places.pop_front() else { break };
                if let Some(event) = self.events.remove(&oldest) {
                    self.places.remove(&(event.id().clone(), oldest));
                    kept.bytes -= event.bytes();
                    self.bytes -= event.bytes();
                }
                kept.forgotten_before = kept.forgotten_before.max(oldest + 1);
            }
        }
        // The topic itself is the last to go: it has just been heard of.
        while self.bytes + bytes > total_bytes_max && self.topics.len() > 1 {
            self.forget_topic();
        }
    }

    /// Forgets the topic that was silent longest.
    fn forget_topic(&mut self) {
        let Some((last, topic)) = self.by_silence.pop_first() else { return };
        let Some(kept) = self.topics.remove(&topic) else { return };
        for place in kept.places {
            if let Some(event) = self.events.remove(&place) {
                self.places.remove(&(event.id().clone(), place));
            }
        }
        self.bytes -= kept.bytes;
        self.forgotten_before = self.forgotten_before.max(last + 1);
    }

    fn check(&self) {
        debug_assert_eq!(
            self.topics.len(),
            self.by_silence.len(),
            "each topic was heard last once"
        );
        debug_assert_eq!(self.events.len(), self.places.len(), "each event is found by its id");
        debug_assert!(self.bytes <= self.keep.total_bytes_max, "all together have room");
        debug_assert!(self.topics.len() <= self.keep.topics_max, "so many topics are known");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEEP: Keep = Keep { events_max: 3, bytes_max: 10, topics_max: 2, total_bytes_max: 16 };

    #[test]
    fn what_came_after_an_event_is_told_in_order_across_topics() {
        let mut history = History::new(Keep { topics_max: 9, ..KEEP });
        push(&mut history, &[("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("b", "5")]);
        assert_eq!(after(&history, &["a", "b"], &["2"]), (ids(["3", "5"]), false));
        assert_eq!(after(&history, &["#"], &["5"]), (ids([]), false));
        assert_eq!(after(&history, &["#"], &[]), (ids(["1", "2", "3", "4", "5"]), false));
    }

    #[test]
    fn of_several_that_were_heard_the_first_counts_and_none_comes_again() {
        let mut history = History::new(Keep { events_max: 9, ..KEEP });
        push(&mut history, &[("a", "1"), ("a", "2"), ("a", "3"), ("a", "4"), ("a", "5")]);
        assert_eq!(after(&history, &["a"], &["4", "2", "gone"]), (ids(["3", "5"]), false));
    }

    #[test]
    fn an_event_that_is_not_kept_any_more_gives_all_there_is_and_says_so() {
        let mut history = History::new(KEEP);
        push(&mut history, &[("a", "1"), ("a", "2"), ("a", "3"), ("a", "4")]);
        assert_eq!(after(&history, &["a"], &["1"]), (ids(["2", "3", "4"]), true));
        assert_eq!(after(&history, &["a"], &[]), (ids(["2", "3", "4"]), false));
    }

    #[test]
    fn an_event_that_is_too_large_to_be_kept_is_told_as_missing() {
        let mut history = History::new(KEEP);
        history.push(sized("a", "1", 1));
        history.push(sized("a", "2", 11));
        assert_eq!(after(&history, &["a"], &["1"]), (ids([]), true));
        assert_eq!(history.size(), (1, 1));
    }

    #[test]
    fn what_another_topic_has_lost_meanwhile_is_told_to_who_listens_to_it() {
        let mut history = History::new(KEEP);
        push(&mut history, &[("a", "heard"), ("b", "1"), ("b", "2"), ("b", "3")]);
        assert!(!after(&history, &["#"], &["heard"]).1);
        push(&mut history, &[("b", "4")]);
        assert!(after(&history, &["#"], &["heard"]).1);
        assert!(!after(&history, &["a"], &["heard"]).1);
    }

    #[test]
    fn one_topic_more_and_the_one_silent_longest_is_forgotten() {
        let mut history = History::new(KEEP);
        push(&mut history, &[("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")]);
        assert_eq!(after(&history, &["#"], &[]).0, ids(["1", "3", "4"]));
        assert!(after(&history, &["#"], &["1"]).1, "2 is missing");
        assert!(!after(&history, &["#"], &["3"]).1);
    }

    #[test]
    fn all_topics_together_have_their_room_too() {
        let mut history = History::new(KEEP);
        history.push(sized("a", "1", 10));
        history.push(sized("b", "2", 6));
        assert_eq!(history.size(), (2, 16));
        history.push(sized("b", "3", 1));
        assert_eq!(after(&history, &["#"], &[]).0, ids(["2", "3"]));
        assert_eq!(history.size(), (2, 7));
    }

    #[test]
    fn a_long_history_is_read_in_steps_and_what_is_lost_between_them_is_told() {
        let total = LOOKED_AT_MAX * 2 + 10;
        let mut history = History::new(Keep {
            events_max: total,
            bytes_max: total,
            topics_max: 1,
            total_bytes_max: total,
        });
        for number in 0..total {
            history.push(sized("a", &number.to_string(), 1));
        }
        let patterns = [pattern("a")];
        let mut cursor = history.resume(&patterns, &[]).cursor;
        let first = history.read(&patterns, &mut cursor);
        assert_eq!((first.events.len(), first.may_miss, first.end), (LOOKED_AT_MAX, false, None));
        for _ in 0..LOOKED_AT_MAX {
            history.push(sized("a", "late", 1));
        }
        assert!(!history.read(&patterns, &mut cursor.clone()).may_miss, "those were read");
        history.push(sized("a", "late", 1));
        let second = history.read(&patterns, &mut cursor);
        assert!(second.may_miss && second.end.is_none());
        assert!(!history.read(&patterns, &mut cursor).may_miss, "it is told once");
    }

    #[test]
    fn a_step_ends_when_it_has_bytes_enough() {
        let keep = Keep { bytes_max: usize::MAX / 2, total_bytes_max: usize::MAX / 2, ..KEEP };
        let mut history = History::new(keep);
        history.push(sized("a", "1", READ_BYTES_MAX));
        history.push(sized("a", "2", 1));
        let patterns = [pattern("a")];
        let mut cursor = history.resume(&patterns, &[]).cursor;
        assert_eq!(history.read(&patterns, &mut cursor).events.len(), 1);
        let rest = history.read(&patterns, &mut cursor);
        assert_eq!((rest.events.len(), rest.end), (1, Some(2)));
    }

    proptest! {
        /// However much comes, nothing keeps more than it may, what is kept of a topic is its end, and
        /// who reads on and on between pushes hears each event once or is told of a loss.
        #[test]
        fn the_end_of_each_topic_is_kept_and_reading_on_skips_nothing_silently(
            steps in prop::collection::vec((0..4_usize, 1..12_usize), 0..100)
        ) {
            let mut history = History::new(KEEP);
            let patterns = [pattern("#")];
            let mut cursor = history.resume(&patterns, &[]).cursor;
            let (mut pushed, mut heard, mut told) = (Vec::new(), Vec::new(), false);
            for (what, bytes) in steps {
                if what < 3 {
                    let topic = ["a", "b", "c"][what];
                    let event = sized(topic, &pushed.len().to_string(), bytes);
                    history.push(event.clone());
                    pushed.push(event);
                } else {
                    let read = history.read(&patterns, &mut cursor);
                    heard.extend(read.events);
                    let is_gap = heard.len() < pushed.len();
                    told |= read.may_miss;
                    prop_assert!(!is_gap || told, "{} of {}", heard.len(), pushed.len());
                    prop_assert_eq!(read.end, Some(pushed.len() as u64));
                }
                prop_assert!(history.topics.len() <= KEEP.topics_max);
                prop_assert!(history.bytes <= KEEP.total_bytes_max);
                prop_assert_eq!(history.bytes, history.events.values().map(Keepable::bytes).sum::<usize>());
                for kept in history.topics.values() {
                    prop_assert!(kept.places.len() <= KEEP.events_max && kept.bytes <= KEEP.bytes_max);
                }
            }
            prop_assert!(heard.is_sorted_by_key(|event| event.id.parse::<usize>().unwrap()));
            for letter in ["a", "b", "c"] {
                let fits = |event: &&Sample| event.topic.as_str() == letter && event.bytes <= KEEP.bytes_max;
                let of_topic: Vec<_> = pushed.iter().filter(fits).map(|event| event.id.to_string()).collect();
                prop_assert!(of_topic.ends_with(&after(&history, &[letter], &[]).0));
            }
        }
    }

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Sample {
        topic: TopicName,
        id: Arc<str>,
        bytes: usize,
    }

    impl Keepable for Sample {
        fn id(&self) -> &Arc<str> {
            &self.id
        }

        fn topic(&self) -> &TopicName {
            &self.topic
        }

        fn bytes(&self) -> usize {
            self.bytes
        }
    }

    fn sized(topic: &str, id: &str, bytes: usize) -> Sample {
        Sample { topic: TopicName::parse(topic, 255).unwrap(), id: id.into(), bytes }
    }

    fn push(history: &mut History<Sample>, events: &[(&str, &str)]) {
        for (topic, id) in events {
            history.push(sized(topic, id, 1));
        }
    }

    /// What comes for somebody who has heard these, and whether some may be missing.
    fn after(history: &History<Sample>, topics: &[&str], heard: &[&str]) -> (Vec<String>, bool) {
        let patterns: Vec<_> = topics.iter().map(|text| pattern(text)).collect();
        let heard: Vec<_> = heard.iter().map(|id| (*id).to_owned()).collect();
        let Resumption { mut cursor, may_miss } = history.resume(&patterns, &heard);
        let read = history.read(&patterns, &mut cursor);
        assert!(read.end.is_some() && !read.may_miss, "a short one is read at once");
        (read.events.into_iter().map(|event| event.id.to_string()).collect(), may_miss)
    }

    fn ids<const N: usize>(ids: [&str; N]) -> Vec<String> {
        ids.map(str::to_owned).into()
    }

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::parse(text, 255).unwrap()
    }
}
