//! How long calls took and how many bytes they had, in the buckets of gRFC A66.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::observe::buckets::{Buckets, as_float};
use crate::observe::histogram::add;

/// The bounds of durations in microseconds (gRFC A66).
const DURATION_BOUNDS_MICROSECONDS: [u32; 41] = [
    0,
    10,
    50,
    100,
    300,
    600,
    800,
    1_000,
    2_000,
    3_000,
    4_000,
    5_000,
    6_000,
    8_000,
    10_000,
    13_000,
    16_000,
    20_000,
    25_000,
    30_000,
    40_000,
    50_000,
    65_000,
    80_000,
    100_000,
    130_000,
    160_000,
    200_000,
    250_000,
    300_000,
    400_000,
    500_000,
    650_000,
    800_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
];

/// The bounds of durations in seconds: a duration stands in the first bucket whose bound it does not
/// exceed.
pub const DURATION_BOUNDS: [f64; 41] = {
    let mut bounds = [0.0; 41];
    let mut place = 0;
    while place < bounds.len() {
        bounds[place] = DURATION_BOUNDS_MICROSECONDS[place] as f64 / 1e6;
        place += 1;
    }
    bounds
};

/// The same in nanoseconds, to be compared with what is measured.
const DURATION_BOUNDS_NANOSECONDS: [u64; 41] = {
    let mut bounds = [0; 41];
    let mut place = 0;
    while place < bounds.len() {
        bounds[place] = DURATION_BOUNDS_MICROSECONDS[place] as u64 * 1_000;
        place += 1;
    }
    bounds
};

/// The bounds of sizes in KiB; 1, 2 and 4 KiB, then four times as much each (gRFC A66).
const SIZE_BOUNDS_KIB: [u32; 14] =
    [0, 1, 2, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304];

/// The bounds of sizes in bytes.
pub const SIZE_BOUNDS: [f64; 14] = {
    let mut bounds = [0.0; 14];
    let mut place = 0;
    while place < bounds.len() {
        bounds[place] = SIZE_BOUNDS_KIB[place] as f64 * 1024.0;
        place += 1;
    }
    bounds
};

/// A number that one thread counts up and others read. Where it is that thread's alone, counting is a
/// load and a store, and no cache line is fought over.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

/// The same for what is no whole number.
#[derive(Debug, Default)]
struct Sum(AtomicU64);

/// Buckets that one thread counts in and others read: of `N` with that for what is over all bounds.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    counts: [Counter; N],
    sum: Sum,
}

/// Durations.
pub(super) type Durations = Histogram<42>;
/// Sizes in bytes.
pub(super) type Sizes = Histogram<15>;

/// A duration, and the bucket it belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    seconds: f64,
    bucket: usize,
}

impl Counter {
    /// For the one thread that counts here.
    pub(super) fn add(&self, more: u64) {
        add(&self.0, more);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Sum {
    fn add(&self, more: f64) {
        self.0.store((self.now() + more).to_bits(), Ordering::Relaxed);
    }

    fn now(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

impl<const N: usize> Histogram<N> {
    fn put(&self, bucket: usize, value: f64) {
        self.counts[bucket].add(1);
        self.sum.add(value);
    }

    /// Adds what is here to `buckets`.
    pub(super) fn read_into(&self, buckets: &mut Buckets) {
        for (count, here) in buckets.counts.iter_mut().zip(&self.counts) {
            *count += here.now();
        }
        buckets.sum += self.sum.now();
    }

    /// Takes over what another counted. For whoever is alone here.
    pub(super) fn absorb(&self, other: &Self) {
        for (count, more) in self.counts.iter().zip(&other.counts) {
            count.add(more.now());
        }
        self.sum.add(other.sum.now());
    }
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { counts: [const { Counter(AtomicU64::new(0)) }; N], sum: Sum::default() }
    }
}

impl Durations {
    pub(super) fn measured(&self, measured: Measured) {
        self.put(measured.bucket, measured.seconds);
    }
}

impl Sizes {
    pub(super) fn bytes(&self, bytes: u64) {
        self.put(size_bucket(bytes), as_float(bytes));
    }
}

impl Measured {
    pub(super) fn nanoseconds(nanoseconds: u64) -> Self {
        let bucket = DURATION_BOUNDS_NANOSECONDS.partition_point(|bound| *bound < nanoseconds);
        Self { seconds: as_float(nanoseconds) / 1e9, bucket }
    }
}

/// Most messages are small, so it is looked for from the small end.
fn size_bucket(bytes: u64) -> usize {
    let fits = |bound: &u32| bytes <= u64::from(*bound) * 1024;
    SIZE_BOUNDS_KIB.iter().position(fits).unwrap_or(SIZE_BOUNDS_KIB.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_those_of_the_grfc() {
        assert_eq!(DURATION_BOUNDS[..8], [0.0, 1e-5, 5e-5, 1e-4, 3e-4, 6e-4, 8e-4, 1e-3]);
        assert_eq!(DURATION_BOUNDS[36..], [5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(SIZE_BOUNDS[..5], [0.0, 1024.0, 2048.0, 4096.0, 16384.0]);
        assert_eq!(SIZE_BOUNDS[13..], [4.0 * 1024.0 * 1024.0 * 1024.0]);
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for (nanoseconds, bucket) in
            [(0, 0), (1, 1), (10_000, 1), (10_001, 2), (300_000, 4), (300_001, 5)]
        {
            assert_eq!(Measured::nanoseconds(nanoseconds).bucket, bucket, "{nanoseconds}");
        }
        assert_eq!(Measured::nanoseconds(u64::MAX).bucket, 41);
        for (bytes, bucket) in [(0, 0), (1, 1), (1024, 1), (1025, 2), (u64::MAX, 14)] {
            assert_eq!(size_bucket(bytes), bucket, "{bytes}");
        }
    }

    #[test]
    fn what_is_measured_is_read_with_its_bucket_and_its_sum() {
        let durations = Durations::default();
        for nanoseconds in [400_000, 400_000, 1_500_000, 200_000_000_000] {
            durations.measured(Measured::nanoseconds(nanoseconds));
        }
        let mut buckets = Buckets::none(&DURATION_BOUNDS);
        durations.read_into(&mut buckets);
        assert_eq!((buckets.count(), buckets.counts[5], buckets.counts[8]), (4, 2, 1));
        assert_eq!(buckets.counts[41], 1, "over all bounds");
        assert!((buckets.sum - 200.0023).abs() < 1e-9, "{}", buckets.sum);
    }
}
