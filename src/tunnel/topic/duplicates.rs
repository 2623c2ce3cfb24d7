//! Which events of a publisher came before.

use std::collections::{HashSet, VecDeque};
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
    known: HashSet<(MemberId, Arc<str>)>,
    order: VecDeque<(Instant, MemberId, Arc<str>)>,
}

impl Duplicates {
    /// Remembers an event; whether its publisher sent one with this id before.
    pub fn note(&mut self, publisher: MemberId, id: &Arc<str>, now: Instant) -> bool {
        while let Some((since, ..)) = self.order.front()
            && now.saturating_duration_since(*since) >= REMEMBERED
        {
            self.forget_oldest();
        }
        if !self.known.insert((publisher, id.clone())) {
            return true;
        }
        self.order.push_back((now, publisher, id.clone()));
        if self.order.len() > REMEMBERED_MAX {
            self.forget_oldest();
        }
        false
    }

    fn forget_oldest(&mut self) {
        if let Some((_, publisher, id)) = self.order.pop_front() {
            self.known.remove(&(publisher, id));
        }
        debug_assert_eq!(self.known.len(), self.order.len(), "each id is in both");
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
