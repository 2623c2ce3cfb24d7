//! Which events of a publisher came before.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::tunnel::id::MemberId;

/// For so long an id is remembered: a publisher that heard no outcome tries again much sooner.
pub const REMEMBERED: Duration = Duration::from_mins(5);

/// So many ids are remembered, the last ones: a few MiB at most.
pub const REMEMBERED_MAX: usize = 10_000;

/// The ids of the last events.
#[derive(Debug, Default)]
pub struct Duplicates {
    /// Each with the number under which it was remembered last.
    known: HashMap<(MemberId, Arc<str>), u64>,
    order: VecDeque<(Instant, u64, MemberId, Arc<str>)>,
    next: u64,
}

impl Duplicates {
    /// Remembers an event; whether its publisher sent one with this id before.
    pub fn note(&mut self, publisher: MemberId, id: &Arc<str>, now: Instant) -> bool {
        while let Some((since, ..)) = self.order.front()
            && now.saturating_duration_since(*since) >= REMEMBERED
        {
            self.forget_oldest();
        }
        let Entry::Vacant(place) = self.known.entry((publisher, id.clone())) else { return true };
        place.insert(self.next);
        self.order.push_back((now, self.next, publisher, id.clone()));
        self.next += 1;
        if self.order.len() > REMEMBERED_MAX {
            self.forget_oldest();
        }
        false
    }

    /// Nobody has the event: if it comes again it is as if it came first.
    pub fn forget(&mut self, publisher: MemberId, id: &Arc<str>) {
        self.known.remove(&(publisher, id.clone()));
    }

    fn forget_oldest(&mut self) {
        if let Some((_, number, publisher, id)) = self.order.pop_front()
            && let Entry::Occupied(known) = self.known.entry((publisher, id))
            && *known.get() == number
        {
            known.remove();
        }
        debug_assert!(self.known.len() <= self.order.len(), "each id has its turn to go");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_remembered_for_its_publisher_and_for_five_minutes() {
        let (mut seen, start) = (Duplicates::default(), Instant::now());
        let (one, other) = (MemberId::random(), MemberId::random());
        let id: Arc<str> = "e-1".into();
        assert!(!seen.note(one, &id, start));
        assert!(seen.note(one, &id, start + REMEMBERED / 2));
        assert!(!seen.note(other, &id, start), "of another publisher");
        assert!(!seen.note(one, &"e-2".into(), start));
        assert!(!seen.note(one, &id, start + REMEMBERED), "counted from the first");
        assert_eq!(seen.order.len(), 1);
    }

    #[test]
    fn an_event_that_nobody_has_may_come_again() {
        let (mut seen, start) = (Duplicates::default(), Instant::now());
        let (publisher, id): (_, Arc<str>) = (MemberId::random(), "e-1".into());
        assert!(!seen.note(publisher, &id, start));
        seen.forget(publisher, &id);
        assert!(!seen.note(publisher, &id, start + REMEMBERED / 2));
        assert!(seen.note(publisher, &id, start + REMEMBERED), "counted from the second");
        assert_eq!((seen.known.len(), seen.order.len()), (1, 1));
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_goes_first() {
        let (mut seen, now) = (Duplicates::default(), Instant::now());
        let publisher = MemberId::random();
        for number in 0..=REMEMBERED_MAX {
            assert!(!seen.note(publisher, &number.to_string().into(), now));
        }
        assert_eq!((seen.known.len(), seen.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert!(seen.note(publisher, &"1".into(), now));
        assert!(!seen.note(publisher, &"0".into(), now));
    }
}
