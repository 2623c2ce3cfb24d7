//! So many at once, and after that so many a second.

use std::time::{Duration, Instant};

/// A bucket that is full at the beginning and fills again at a steady rate.
///
/// All that is kept is when it will be full: each token taken puts that off by the time in which one
/// comes back (the "generic cell rate algorithm" of ATM traffic management).
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    full_at: Instant,
    /// In which one token comes back.
    interval: Duration,
    /// In which all of them do.
    whole: Duration,
}

impl TokenBucket {
    /// A bucket of `burst` tokens, of which `per_second` come back. Zero of either counts as one.
    pub fn new(burst: usize, per_second: usize, now: Instant) -> Self {
        let number = |count: usize| u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let interval = Duration::from_secs(1) / number(per_second);
        Self { full_at: now, interval, whole: interval.saturating_mul(number(burst)) }
    }

    /// Takes one token. Whether there was one.
    pub fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.interval;
        let taken = full_at.saturating_duration_since(now) <= self.whole;
        if taken {
            self.full_at = full_at;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_is_taken_at_once_and_then_as_much_as_comes_back() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(3, 10, start);
        let mut take = |ms| bucket.take(start + Duration::from_millis(ms));
        assert_eq!([take(0), take(0), take(0), take(0)], [true, true, true, false]);
        assert_eq!([take(99), take(100), take(100)], [false, true, false]);
        assert_eq!([take(10_000), take(10_000), take(10_000)], [true; 3], "no more than the burst");
        assert!(!take(10_000));
    }

    #[test]
    fn what_is_taken_no_faster_than_it_comes_back_never_runs_out() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(1, 50, start);
        assert!((0..1_000).all(|n| bucket.take(start + Duration::from_millis(20 * n))));
    }

    proptest! {
        /// In any stretch of time no more is given than the burst and what came back in it.
        #[test]
        fn no_more_is_given_than_the_burst_and_what_comes_back(
            burst in 1..20usize,
            per_second in 1..200usize,
            pauses in prop::collection::vec(0..50u64, 1..200),
        ) {
            let start = Instant::now();
            let mut bucket = TokenBucket::new(burst, per_second, start);
            let (mut now, mut given) = (start, 0);
            for pause in pauses {
                now += Duration::from_millis(pause);
                given += u128::from(bucket.take(now));
                let came_back = (now - start).as_millis() * per_second as u128 / 1_000;
                prop_assert!(given <= burst as u128 + came_back);
            }
        }
    }
}
