//! The events that are kept, of all workers.
//!
//! A lock and no actor: whoever publishes would wait for its turn with it all the same, and nothing is
//! done under the lock that takes long.

use std::sync::{Arc, Mutex, PoisonError};

use crate::observe::topics::Topics;
use crate::tunnel::topic::history::{Cursor, History, Keep, Keepable, Read, Resumption};
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

    /// Keeps an event; its place among all.
    pub(super) fn keep(&self, event: &Arc<Event>) -> u64 {
        let Some(kept) = &self.0 else { return 0 };
        let (place, (events, bytes)) =
            kept.with(|history| (history.push(event.clone()), history.size()));
        kept.counted.keeps(events, bytes);
        place
    }

    /// Where somebody begins who has heard the events with these ids.
    pub(super) fn resume(&self, patterns: &[TopicPattern], ids: &[String]) -> Resumption {
        match &self.0 {
            Some(kept) => kept.with(|history| history.resume(patterns, ids)),
            None => Resumption { cursor: Cursor::default(), may_miss: !ids.is_empty() },
        }
    }

    /// What comes next for somebody who reads what is kept. At its end the lane begins to take what
    /// comes after it: nothing is kept in between.
    pub(super) fn read(
        &self,
        patterns: &[TopicPattern],
        cursor: &mut Cursor,
        lane: &EventLane,
    ) -> Read<Arc<Event>> {
        let Some(kept) = &self.0 else {
            lane.hear_from(0);
            return Read { events: Vec::new(), may_miss: false, end: Some(0) };
        };
        let read = kept.with(|history| {
            let read = history.read(patterns, cursor);
            if let Some(end) = read.end {
                lane.hear_from(end);
            }
            read
        });
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
        self.cost()
    }
}
