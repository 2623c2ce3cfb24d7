//! What calls took lately: the difference between two looks at what they took since the start.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::observe::calls::{Buckets, CallTotals};

/// Looks this far apart are compared: long enough for a quantile to mean something, short enough to see
/// what happens.
const SPAN: Duration = Duration::from_secs(10);

/// What is remembered from one look to the next. Nothing is done between them.
#[derive(Debug, Default)]
pub struct Lately(Mutex<Past>);

#[derive(Debug, Default)]
struct Past {
    before: Option<Look>,
    last: Option<Look>,
}

#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    duration: Buckets,
    overhead: Buckets,
}

/// What calls took that ended between two looks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recent {
    /// How long ago the earlier look was; nothing if there was none: then it is since the start.
    pub(super) span: Option<Duration>,
    /// From arrival to end.
    pub(super) duration: Buckets,
    /// The time in the gateway.
    pub(super) overhead: Buckets,
}

impl Lately {
    /// Compares these totals with those of a look some ten seconds ago or more.
    pub(super) fn look(&self, totals: &CallTotals, now: Instant) -> Recent {
        // Looks are remembered whole: a panic in between leaves them usable.
        let mut past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let CallTotals { duration, overhead, .. } = totals.clone();
        let recent = match &past.before {
            None => Recent { span: None, duration: duration.clone(), overhead: overhead.clone() },
            Some(before) => Recent {
                span: Some(now.saturating_duration_since(before.at)),
                duration: since(&duration, &before.duration),
                overhead: since(&overhead, &before.overhead),
            },
        };
        let is_due = |look: &Look| now.saturating_duration_since(look.at) >= SPAN;
        if past.last.as_ref().is_none_or(is_due) {
            past.before = past.last.replace(Look { at: now, duration, overhead });
        }
        recent
    }
}

fn since(now: &Buckets, before: &Buckets) -> Buckets {
    let counts = now.counts.iter().zip(&before.counts);
    let counts = counts.map(|(now, before)| now.saturating_sub(*before)).collect();
    Buckets { bounds: now.bounds, counts, sum: (now.sum - before.sum).max(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::calls::DURATION_BOUNDS;

    #[test]
    fn what_calls_took_long_ago_is_left_out() {
        let (lately, start) = (Lately::default(), Instant::now());
        let look = |ended: [u64; 2], seconds| {
            let recent = lately.look(&totals(ended), start + Duration::from_secs(seconds));
            (recent.span.map(|span| span.as_secs()), recent.duration.count())
        };
        assert_eq!(look([5, 0], 0), (None, 5));
        assert_eq!(look([5, 1], 9), (None, 6));
        assert_eq!(look([5, 2], 10), (None, 7));
        assert_eq!(look([5, 4], 12), (Some(12), 4));
        assert_eq!(look([5, 9], 21), (Some(21), 9));
        assert_eq!(look([5, 9], 22), (Some(12), 7));
    }

    #[test]
    fn a_slow_minute_shows_after_many_quick_hours() {
        let (lately, start) = (Lately::default(), Instant::now());
        for seconds in [0, 10, 20] {
            lately.look(&totals([10_000_000, 0]), start + Duration::from_secs(seconds));
        }
        let recent = lately.look(&totals([10_000_000, 100]), start + Duration::from_secs(25));
        assert!(recent.duration.quantile(0.5) > Some(1.0), "{recent:?}");
    }

    /// So many quick calls, and so many slow ones.
    fn totals([quick, slow]: [u64; 2]) -> CallTotals {
        let mut duration = Buckets::none(&DURATION_BOUNDS);
        let places = duration.counts.len();
        duration.counts[3] = quick;
        duration.counts[places - 2] = slow;
        let overhead = duration.clone();
        CallTotals { started: 0, ended: 0, per_second: 0.0, duration, overhead }
    }
}
