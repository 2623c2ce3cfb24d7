//! A call on which nothing moves: when it has been still for too long.

use std::time::{Duration, Instant};

/// When a message last went either way on one call.
#[derive(Clone, Copy, Debug)]
pub struct Idleness {
    moved: Instant,
    timeout: Duration,
}

impl Idleness {
    /// Watches from now on. `None` for a timeout that the clock does not reach: it is off.
    pub fn watch(timeout: Duration, now: Instant) -> Option<Self> {
        now.checked_add(timeout).map(|_| Self { moved: now, timeout })
    }

    /// A message went, either way.
    pub fn moved(&mut self, now: Instant) {
        self.moved = now;
    }

    /// When the call will have been still for too long, unless a message goes before. One alarm at
    /// that time is enough for any number of messages: it is armed again when it goes off early.
    pub fn over_at(&self) -> Instant {
        self.moved + self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_puts_the_end_off() {
        let start = Instant::now();
        let mut idleness = Idleness::watch(Duration::from_secs(10), start).unwrap();
        assert_eq!(idleness.over_at(), start + Duration::from_secs(10));
        idleness.moved(start + Duration::from_secs(7));
        assert_eq!(idleness.over_at(), start + Duration::from_secs(17));
    }

    #[test]
    fn a_timeout_beyond_the_clock_is_none() {
        assert!(Idleness::watch(Duration::MAX, Instant::now()).is_none());
    }
}
