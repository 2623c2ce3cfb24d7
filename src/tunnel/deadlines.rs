//! What is due when: one ordered table for a whole worker instead of a timer for each call.

use std::collections::BTreeMap;
use std::time::Instant;

/// Things of type `V`, known by `K`, in the order in which they are due.
#[derive(Debug)]
pub struct Deadlines<K, V> {
    due: BTreeMap<(Instant, K), V>,
}

impl<K: Ord + Copy, V> Deadlines<K, V> {
    /// A table with nothing in it.
    pub fn new() -> Self {
        Self { due: BTreeMap::new() }
    }

    /// Adds what is due at `at`.
    pub fn arm(&mut self, at: Instant, key: K, value: V) {
        self.due.insert((at, key), value);
    }

    /// Takes it out again; nothing happens when it has come due already.
    pub fn disarm(&mut self, at: Instant, key: K) {
        self.due.remove(&(at, key));
    }

    /// Takes out everything that is due at `now`, the earliest first.
    pub fn expire(&mut self, now: Instant) -> Vec<V> {
        let mut expired = Vec::new();
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > now {
                break;
            }
            expired.push(entry.remove());
        }
        expired
    }

    /// When the next thing is due.
    pub fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// How many things are waited for.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether nothing is waited for.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

impl<K: Ord + Copy, V> Default for Deadlines<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_due_comes_out_once_in_order() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut deadlines = Deadlines::new();
        deadlines.arm(at(30), 1, "late");
        deadlines.arm(at(10), 2, "early");
        deadlines.arm(at(20), 3, "gone");
        deadlines.disarm(at(20), 3);

        assert_eq!(deadlines.next(), Some(at(10)));
        assert_eq!(deadlines.expire(at(29)), ["early"]);
        assert_eq!(deadlines.expire(at(30)), ["late"]);
        assert!(deadlines.is_empty());
    }
}
