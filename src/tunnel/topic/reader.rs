//! Somebody who reads what is kept: where it is, and what of that is meant for it.

use std::collections::{BTreeSet, HashMap};

use super::history::{Forgotten, Found, Step};
use super::tree::TopicTree;
use super::{TopicName, TopicPattern};

/// Names of which it is remembered whether they are meant; more than that are asked for again.
const KNOWN_MAX: usize = 10_000;

/// The reader.
#[derive(Debug)]
pub struct Reader {
    patterns: TopicTree<()>,
    known: HashMap<TopicName, bool>,
    /// The next place that it has not read.
    from: u64,
    /// Places after that of events that it has heard.
    heard: BTreeSet<u64>,
    /// It knows that events before this place may be missing.
    forgotten_before: u64,
}

/// Some of what a subscriber that comes back has missed.
#[derive(Debug, PartialEq, Eq)]
pub struct Read<E> {
    /// The events, the oldest first.
    pub events: Vec<E>,
    /// Events that it had not read were forgotten meanwhile.
    pub may_miss: bool,
    /// There is no more of what is kept.
    pub is_end: bool,
}

impl Reader {
    /// Somebody who reads what the patterns mean, all of it.
    pub fn new(patterns: &[TopicPattern]) -> Self {
        let mut tree = TopicTree::default();
        for pattern in patterns {
            tree.insert(pattern, ());
        }
        Self {
            patterns: tree,
            known: HashMap::new(),
            from: 0,
            heard: BTreeSet::new(),
            forgotten_before: u64::MAX,
        }
    }

    /// It begins after the first of the events that it has heard; at the oldest that is kept if one of
    /// them is not kept any more. Whether it may miss some.
    pub fn begin(&mut self, found: Found) -> bool {
        let Found { mut places, are_missing, forgotten } = found;
        let first = if are_missing { None } else { places.pop_first() };
        self.from = first.map_or(0, |first| first + 1);
        self.heard = places;
        self.forgotten_before = self.newest(forgotten);
        are_missing || first.is_some() && self.forgotten_before > self.from
    }

    /// Where it reads on.
    pub fn from(&self) -> u64 {
        self.from
    }

    /// What is forgotten after this place is news to it.
    pub fn forgotten_after(&self) -> u64 {
        self.forgotten_before.max(self.from)
    }

    /// Takes what is meant for it of what was read.
    pub fn take<E>(&mut self, step: Step<E>, topic_of: impl Fn(&E) -> &TopicName) -> Read<E> {
        let Step { events, forgotten, end } = step;
        let (before, newest) = (self.forgotten_after(), self.newest(forgotten));
        self.forgotten_before = self.forgotten_before.max(newest);
        let last = events.last().map(|(place, _)| place + 1);
        self.from = end.or(last).unwrap_or(self.from);
        let mut meant = Vec::new();
        for (place, event) in events {
            if !self.heard.remove(&place) && self.is_meant(topic_of(&event)) {
                meant.push(event);
            }
        }
        Read { events: meant, may_miss: newest > before, is_end: end.is_some() }
    }

    /// The place before which something was forgotten that is meant.
    fn newest(&mut self, forgotten: Forgotten) -> u64 {
        let Forgotten { before, of_topics } = forgotten;
        let meant = of_topics.into_iter().filter(|(name, _)| self.is_meant(name));
        meant.map(|(_, before)| before).max().unwrap_or(0).max(before)
    }

    fn is_meant(&mut self, name: &TopicName) -> bool {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        let is_meant = !self.patterns.matches(name).is_empty();
        self.known.insert(name.clone(), is_meant);
        is_meant
    }
}
