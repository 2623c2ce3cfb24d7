//! The last events of each topic, for subscribers that come back.
//!
//! Each event has a place in the order in which the gateway took them. A subscriber names the last
//! events that it has heard, gets what is kept after those in that order, some at a time, and then
//! listens: whoever reads up to the end knows the first place that comes by itself. What of it is meant
//! for whom is found out by a [`super::reader::Reader`], since publishers do not wait for that.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::TopicName;

/// So many events are read in one step, which holds up who publishes.
const READ_MAX: usize = 256;
/// About so many bytes of events are read in one step, which stay in memory until they are taken.
const READ_BYTES_MAX: usize = 1024 * 1024;
/// So many events of topics that are forgotten go with each event that comes: a topic may have had very
/// many.
const LET_GO_MAX: usize = 64;

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
    /// Events of topics that are forgotten, which go one after the other.
    leaving: VecDeque<u64>,
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

/// What is known of the events that somebody has heard.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The places of those that are kept.
    pub places: BTreeSet<u64>,
    /// Some are not kept.
    pub are_missing: bool,
    /// What is not kept any more.
    pub forgotten: Forgotten,
}

/// Some of what is kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Step<E> {
    /// The events with their places, the oldest first.
    pub events: Vec<(u64, E)>,
    /// What is not kept any more.
    pub forgotten: Forgotten,
    /// There is no more: events from this place on come by themselves.
    pub end: Option<u64>,
}

/// Events that are not kept any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Those of any topic before this place.
    pub before: u64,
    /// Those of these topics before these places.
    pub of_topics: Vec<(TopicName, u64)>,
}

impl<E: Keepable> History<E> {
    /// Nothing has happened yet.
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            events: BTreeMap::new(),
            places: BTreeSet::new(),
            leaving: VecDeque::new(),
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
        self.let_go(LET_GO_MAX);
        self.check();
        place
    }

    /// The events with these ids. Where several have the same one the last of them is meant.
    pub fn find(&self, ids: &[String]) -> Found {
        let ids: BTreeSet<&String> = ids.iter().collect();
        let places: BTreeSet<u64> = ids.iter().filter_map(|id| self.place_of(id)).collect();
        let are_missing = places.len() < ids.len();
        let first = places.first().filter(|_| !are_missing);
        let after = first.map_or(0, |first| first + 1);
        Found { are_missing, forgotten: self.forgotten(after), places }
    }

    fn place_of(&self, id: &str) -> Option<u64> {
        let id: Arc<str> = id.into();
        let mut places = self.places.range((id.clone(), 0)..=(id, u64::MAX));
        places.next_back().map(|(_, place)| *place)
    }

    /// What comes from a place on, and what has been forgotten after another.
    pub fn read(&self, from: u64, forgotten_after: u64) -> Step<E> {
        let forgotten = self.forgotten(forgotten_after);
        let (mut events, mut bytes) = (Vec::new(), 0);
        for (place, event) in self.events.range(from..) {
            if events.len() >= READ_MAX || bytes >= READ_BYTES_MAX {
                return Step { events, forgotten, end: None };
            }
            bytes += event.bytes();
            events.push((*place, event.clone()));
        }
        Step { events, forgotten, end: Some(self.next) }
    }

    /// How many events are kept, and how many bytes of them.
    pub fn size(&self) -> (usize, usize) {
        (self.events.len(), self.bytes)
    }

    /// What has been forgotten that came after a place.
    fn forgotten(&self, after: u64) -> Forgotten {
        let topics = self.topics.iter().map(|(name, kept)| (name, kept.forgotten_before));
        let later = topics.filter(|(_, before)| *before > after.max(self.forgotten_before));
        let of_topics = later.map(|(name, before)| (name.clone(), before)).collect();
        Forgotten { before: self.forgotten_before, of_topics }
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
        while self.bytes + bytes > total_bytes_max && self.let_go(1) {}
        // The topic itself is the last to go: it has just been heard of.
        while self.bytes + bytes > total_bytes_max && self.topics.len() > 1 {
            self.forget_topic();
            while self.bytes + bytes > total_bytes_max && self.let_go(1) {}
        }
    }

    /// Forgets the topic that was silent longest. Its events go in time.
    fn forget_topic(&mut self) {
        let Some((last, topic)) = self.by_silence.pop_first() else { return };
        let Some(kept) = self.topics.remove(&topic) else { return };
        self.leaving.extend(kept.places);
        self.forgotten_before = self.forgotten_before.max(last + 1);
    }

    /// Lets so many events of topics go that are forgotten; whether there was any.
    fn let_go(&mut self, most: usize) -> bool {
        let leaving: Vec<_> = self.leaving.drain(..most.min(self.leaving.len())).collect();
        for place in &leaving {
            if let Some(event) = self.events.remove(place) {
                self.places.remove(&(event.id().clone(), *place));
                self.bytes -= event.bytes();
            }
        }
        !leaving.is_empty()
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
    use crate::tunnel::topic::TopicPattern;
    use crate::tunnel::topic::reader::{Read, Reader};
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
        assert_eq!(after(&history, &["a"], &["4", "2", "2"]), (ids(["3", "5"]), false));
    }

    #[test]
    fn if_one_that_was_heard_is_not_kept_all_others_come_and_that_is_told() {
        let mut history = History::new(KEEP);
        push(&mut history, &[("b", "1"), ("a", "2"), ("b", "3"), ("b", "4"), ("b", "5")]);
        assert_eq!(after(&history, &["#"], &["1", "4"]), (ids(["2", "3", "5"]), true));
    }

    #[test]
    fn of_several_events_with_one_id_the_last_is_meant() {
        let mut history = History::new(KEEP);
        push(&mut history, &[("a", "1"), ("a", "x"), ("b", "x"), ("b", "2")]);
        assert_eq!(after(&history, &["#"], &["x"]), (ids(["2"]), false));
    }

    #[test]
    fn a_topic_that_had_very_many_events_is_forgotten_in_steps() {
        let many = 3 * LET_GO_MAX;
        let keep =
            Keep { events_max: many, bytes_max: many, topics_max: 1, total_bytes_max: 2 * many };
        let mut history = History::new(keep);
        for _ in 0..many {
            history.push(sized("a", "x", 1));
        }
        for left in [2, 1, 0] {
            history.push(sized("b", "y", 1));
            assert_eq!(history.size().0, left * LET_GO_MAX + 3 - left);
        }
        assert!(after(&history, &["#"], &["y"]).0.is_empty());
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
        let total = READ_MAX * 2 + 10;
        let mut history = History::new(Keep {
            events_max: total,
            bytes_max: total,
            topics_max: 1,
            total_bytes_max: total,
        });
        for number in 0..total {
            history.push(sized("a", &number.to_string(), 1));
        }
        let (mut reader, _) = resume(&history, &["a"], &[]);
        let first = read(&history, &mut reader);
        assert_eq!((first.events.len(), first.may_miss, first.is_end), (READ_MAX, false, false));
        for _ in 0..=READ_MAX {
            history.push(sized("a", "late", 1));
        }
        let second = read(&history, &mut reader);
        assert!(second.may_miss && !second.is_end, "one was not read");
        assert!(!read(&history, &mut reader).may_miss, "it is told once");
    }

    #[test]
    fn a_step_ends_when_it_has_bytes_enough() {
        let keep = Keep { bytes_max: usize::MAX / 2, total_bytes_max: usize::MAX / 2, ..KEEP };
        let mut history = History::new(keep);
        history.push(sized("a", "1", READ_BYTES_MAX));
        history.push(sized("a", "2", 1));
        let (mut reader, _) = resume(&history, &["a"], &[]);
        assert_eq!(read(&history, &mut reader).events.len(), 1);
        let rest = read(&history, &mut reader);
        assert_eq!((rest.events.len(), rest.is_end), (1, true));
    }

    proptest! {
        /// However much comes, nothing keeps more than it may, what is kept of a topic is its end, and
        /// each time that somebody reads on it gets all that came since, or is told of a loss.
        #[test]
        fn the_end_of_each_topic_is_kept_and_reading_on_skips_nothing_silently(
            steps in prop::collection::vec((0..4_usize, 1..12_usize), 0..100)
        ) {
            let mut history = History::new(KEEP);
            let (mut reader, _) = resume(&history, &["#"], &[]);
            let (mut pushed, mut read_up_to) = (Vec::new(), 0);
            for (what, bytes) in steps {
                if what < 3 {
                    let topic = ["a", "b", "c"][what];
                    let event = sized(topic, &pushed.len().to_string(), bytes);
                    history.push(event.clone());
                    pushed.push(event);
                } else {
                    let read = read(&history, &mut reader);
                    let unread = &pushed[read_up_to..];
                    read_up_to = pushed.len();
                    prop_assert!(read.is_end && read.events.is_sorted_by_key(number));
                    prop_assert!(read.events.iter().all(|event| unread.contains(event)));
                    prop_assert!(read.may_miss || read.events == unread, "{:?}", read.events);
                }
                prop_assert!(history.topics.len() <= KEEP.topics_max);
                prop_assert!(history.bytes <= KEEP.total_bytes_max);
                prop_assert_eq!(history.bytes, history.events.values().map(Keepable::bytes).sum::<usize>());
                for kept in history.topics.values() {
                    prop_assert!(kept.places.len() <= KEEP.events_max && kept.bytes <= KEEP.bytes_max);
                }
            }
            for letter in ["a", "b", "c"] {
                let fits = |event: &&Sample| event.topic.as_str() == letter && event.bytes <= KEEP.bytes_max;
                let of_topic: Vec<_> = pushed.iter().filter(fits).map(|event| event.id.to_string()).collect();
                prop_assert!(of_topic.ends_with(&after(&history, &[letter], &[]).0));
            }
        }
    }

    fn number(event: &Sample) -> usize {
        event.id.parse().unwrap()
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
        let (mut reader, may_miss) = resume(history, topics, heard);
        let read = read(history, &mut reader);
        assert!(read.is_end && !read.may_miss, "a short one is read at once");
        (read.events.into_iter().map(|event| event.id.to_string()).collect(), may_miss)
    }

    fn resume(history: &History<Sample>, topics: &[&str], heard: &[&str]) -> (Reader, bool) {
        let patterns: Vec<_> = topics.iter().map(|text| pattern(text)).collect();
        let heard: Vec<_> = heard.iter().map(|id| (*id).to_owned()).collect();
        let mut reader = Reader::new(&patterns);
        let may_miss = reader.begin(history.find(&heard));
        (reader, may_miss)
    }

    fn read(history: &History<Sample>, reader: &mut Reader) -> Read<Sample> {
        let step = history.read(reader.from(), reader.forgotten_after());
        reader.take(step, |event| &event.topic)
    }

    fn ids<const N: usize>(ids: [&str; N]) -> Vec<String> {
        ids.map(str::to_owned).into()
    }

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::parse(text, 255).unwrap()
    }
}
