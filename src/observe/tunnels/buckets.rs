//! How long things took, counted by how long: what Prometheus calls a histogram.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::observe::buckets::Buckets;

/// The bounds in which handshakes and round trips of tunnels are counted, in seconds. They are among
/// those of gRFC A66; a network round trip needs no finer ones, and fewer leave room for more services.
pub const BOUNDS: &[f64] = &[
    0.0001, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0,
];

/// A histogram that counts from any thread.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Counts one.
    pub(super) fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds(took), Ordering::Relaxed);
    }

    /// Counts all that another has counted.
    pub(super) fn absorb(&self, other: &Self) {
        for (count, more) in self.counts.iter().zip(&other.counts) {
            count.fetch_add(more.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.nanoseconds.fetch_add(other.nanoseconds.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// What it has counted.
    pub(super) fn buckets(&self) -> Buckets {
        Buckets {
            bounds: BOUNDS,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }
}

/// A duration in nanoseconds; more than fits is as much as fits, which is five centuries.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_as_long_as_a_bound_is_within_it() {
        let histogram = Histogram::default();
        for milliseconds in [0, 1, 2, 3, 60_000] {
            histogram.record(Duration::from_millis(milliseconds));
        }
        let buckets = histogram.buckets();
        assert_eq!(buckets.counts[..5], [1, 0, 1, 1, 1], "{:?}", buckets.bounds);
        assert_eq!(buckets.counts.last(), Some(&1));
        assert_eq!((buckets.count(), buckets.sum), (5, 60.006));
    }

    #[test]
    fn two_histograms_make_one() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.record(Duration::from_millis(3));
        other.record(Duration::from_millis(3));
        other.record(Duration::from_secs(1));
        one.absorb(&other);
        let buckets = one.buckets();
        assert_eq!((buckets.count(), buckets.counts[4], buckets.sum), (3, 2, 1.006));
    }
}
