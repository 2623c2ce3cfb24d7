//! The events that are kept, of all workers.
//!
//! A lock and no actor: whoever publishes would wait for its turn with it all the same. What is done under
//! the lock is bounded; what of a step is meant for a subscriber is found out without it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::observe::topics::Topics;
use crate::tunnel::topic::history::{History, Keep, Keepable};
use crate::tunnel::topic::reader::{Read, Reader};
use crate::tunnel::topic::{TopicName, TopicPattern};

use super::event::Event;
use super::lane::EventLane;

/// What is kept, if anything is. Clones share it.
#[derive(Clone, Debug)]
pub struct KeptEvents(Option<Arc<Kept>>);

#[derive(Debug)]
struct Kept {
    history: Mutex<History<Arc<Event>>>,
    counted: Arc<Topics>,
}

impl KeptEvents {
    /// So much is kept; nothing without a `keep`.
    pub fn new(keep: Option<Keep>, counted: &Arc<Topics>) -> Self {
        let kept = |keep| {
            let history = Mutex::new(History::new(keep));
            Arc::new(Kept { history, counted: counted.clone() })
        };
        Self(keep.map(kept))
    }

    /// Whether anything is kept.
    pub(super) fn keeps(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps an event; its place among all.
    pub(super) fn keep(&self, event: &Arc<Event>) -> u64 {
        let Some(kept) = &self.0 else { return 0 };
        let (place, (events, bytes)) =
            kept.with(|history| (history.push(event.clone()), history.size()));
        kept.counted.keeps(events, bytes);
        place
    }

    /// Where somebody begins who has heard the events with these ids: it reads what is kept before it
    /// listens, if anything is. Whether it may miss some.
    pub(super) fn resume(
        &self,
        patterns: &[TopicPattern],
        ids: &[String],
        lane: &EventLane,
    ) -> (Reader, bool) {
        let mut reader = Reader::new(patterns);
        let Some(kept) = &self.0 else { return (reader, !ids.is_empty()) };
        lane.hear_from(u64::MAX);
        let found = kept.with(|history| history.find(ids));
        let may_miss = reader.begin(found);
        (reader, may_miss)
    }

    /// What comes next for somebody who reads what is kept. At its end the lane begins to take what
    /// comes after it: nothing is kept in between.
    pub(super) fn read(&self, reader: &mut Reader, lane: &EventLane) -> Read<Arc<Event>> {
        let Some(kept) = &self.0 else {
            return Read { events: Vec::new(), may_miss: false, is_end: true };
        };
        let step = kept.with(|history| {
            let step = history.read(reader.from(), reader.forgotten_after());
            if let Some(end) = step.end {
                lane.hear_from(end);
            }
            step
        });
        let read = reader.take(step, |event| &event.name);
        kept.counted.replays(read.events.len());
        read
    }
}

impl Kept {
    fn with<T>(&self, use_it: impl FnOnce(&mut History<Arc<Event>>) -> T) -> T {
        // It is changed in one step or not: a panic in between leaves it usable.
        use_it(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Keepable for Arc<Event> {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn topic(&self) -> &TopicName {
        &self.name
    }

    fn bytes(&self) -> usize {
        self.kept_cost()
    }
}
