//! How long things take, kept in classes so fine that a quantile is at most an eighth too long.
//!
//! Classes are powers of two, cut into eight each. One thread writes a histogram and any may read it,
//! so that a record is a few plain instructions. Whoever reads adds up the histograms of all threads.

use std::sync::atomic::{AtomicU64, Ordering};

/// Each power of two is cut into so many classes.
const STEPS_BITS: u32 = 3;
const STEPS: usize = 1 << STEPS_BITS;

/// What takes longer than two to this many nanoseconds (137 s) is counted in the last class; the
/// longest is kept as it was.
const LONGEST_BITS: u32 = 37;
const CLASSES: usize = (LONGEST_BITS - STEPS_BITS) as usize * STEPS + STEPS;

/// The bounds that are shown, as powers of two in nanoseconds: from a microsecond to 69 s in steps of
/// four. Each is the end of a class, so that what is shown is exact.
const BOUNDS_BITS: [u32; 14] = [10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36];

const SECOND: f64 = 1e9;

/// How long things took. Written by one thread at a time.
#[derive(Debug)]
pub struct Histogram {
    classes: [AtomicU64; CLASSES],
    sum_nanoseconds: AtomicU64,
    longest_nanoseconds: AtomicU64,
}

/// What histograms hold together.
#[derive(Clone, Debug)]
pub struct Gathered {
    classes: Vec<u64>,
    sum_nanoseconds: u64,
    longest_nanoseconds: u64,
}

/// How long things took, for who wants to know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times {
    /// How many there were.
    pub count: u64,
    /// How long all of them took together.
    pub sum_seconds: f64,
    /// Half of them took no longer. At most an eighth too long, as all that is no bound.
    pub p50_seconds: f64,
    /// Of a hundred, 99 took no longer.
    pub p99_seconds: f64,
    /// The longest, exactly.
    pub longest_seconds: f64,
    /// How many took no longer than so many seconds, for each bound. Exact.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self {
            classes: [const { AtomicU64::new(0) }; CLASSES],
            sum_nanoseconds: AtomicU64::new(0),
            longest_nanoseconds: AtomicU64::new(0),
        }
    }

    /// Something took so long. For the one thread that writes here.
    #[inline]
    pub fn record(&self, nanoseconds: u64) {
        add(&self.classes[class_of(nanoseconds)], 1);
        add(&self.sum_nanoseconds, nanoseconds);
        if nanoseconds > self.longest_nanoseconds.load(Ordering::Relaxed) {
            self.longest_nanoseconds.store(nanoseconds, Ordering::Relaxed);
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds to a number that only this thread writes, for which no locked instruction is needed.
#[inline]
pub(super) fn add(number: &AtomicU64, more: u64) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// A class ends with its bound, as buckets do: what took exactly a power of two is below it.
#[inline]
fn class_of(nanoseconds: u64) -> usize {
    let below = nanoseconds.saturating_sub(1).min((1 << LONGEST_BITS) - 1);
    let power = (below | STEPS as u64).ilog2() - STEPS_BITS;
    let step = usize::try_from(below >> power).unwrap_or(0);
    (power as usize * STEPS + step).min(CLASSES - 1)
}

/// The longest that is counted in a class, in nanoseconds.
fn end_of(class: usize) -> u64 {
    let power = (class / STEPS).saturating_sub(1);
    ((class - power * STEPS + 1) as u64) << power
}

impl Gathered {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { classes: vec![0; CLASSES], sum_nanoseconds: 0, longest_nanoseconds: 0 }
    }

    /// Adds what a histogram holds at this moment.
    pub fn add(&mut self, histogram: &Histogram) {
        for (sum, class) in self.classes.iter_mut().zip(&histogram.classes) {
            *sum += class.load(Ordering::Relaxed);
        }
        let sum = histogram.sum_nanoseconds.load(Ordering::Relaxed);
        self.sum_nanoseconds = self.sum_nanoseconds.wrapping_add(sum);
        let longest = histogram.longest_nanoseconds.load(Ordering::Relaxed);
        self.longest_nanoseconds = self.longest_nanoseconds.max(longest);
    }

    /// What it comes to.
    pub fn times(&self) -> Times {
        let count = self.classes.iter().sum();
        let buckets = BOUNDS_BITS.map(|bits| (seconds(1 << bits), self.within(1 << bits)));
        Times {
            count,
            sum_seconds: seconds(self.sum_nanoseconds),
            p50_seconds: seconds(self.quantile(count, 50)),
            p99_seconds: seconds(self.quantile(count, 99)),
            longest_seconds: seconds(self.longest_nanoseconds),
            buckets: buckets.to_vec(),
        }
    }

    /// How many took no longer than `bound`, which is the end of a class.
    fn within(&self, bound: u64) -> u64 {
        self.classes[..=class_of(bound)].iter().sum()
    }

    fn quantile(&self, count: u64, percent: u64) -> u64 {
        let rank = (count * percent).div_ceil(100);
        let mut seen = 0;
        let reached = self.classes.iter().position(|class| {
            seen += class;
            seen >= rank && seen > 0
        });
        let longest = self.longest_nanoseconds;
        match reached {
            // It may hold anything longer.
            Some(class) if class == CLASSES - 1 => longest,
            Some(class) => end_of(class).min(longest),
            None => 0,
        }
    }
}

impl Default for Gathered {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::cast_precision_loss, reason = "no sum of times is near 2^53 ns times a million")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / SECOND
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_follow_each_other_without_a_gap() {
        let mut before = 0;
        for class in 0..CLASSES {
            let end = end_of(class);
            assert_eq!(class_of(end), class, "the end of class {class} is {end}");
            assert_eq!(class_of(before + 1), class, "class {class} begins after {before}");
            before = end;
        }
        assert_eq!(before, 1 << LONGEST_BITS);
        assert_eq!(class_of(u64::MAX), CLASSES - 1);
        assert_eq!(class_of(0), 0);
    }

    #[test]
    fn every_bound_that_is_shown_is_the_end_of_a_class() {
        for bits in BOUNDS_BITS {
            assert_eq!(end_of(class_of(1 << bits)), 1 << bits);
        }
    }

    #[test]
    fn nothing_took_no_time() {
        let times = Gathered::new().times();
        assert_eq!((times.count, times.buckets.len()), (0, BOUNDS_BITS.len()));
        assert!(times.p99_seconds.abs() < f64::EPSILON);
    }

    #[test]
    fn the_longest_is_exact_even_beyond_the_last_class() {
        let histogram = Histogram::new();
        histogram.record(300_000_000_000);
        let mut gathered = Gathered::new();
        gathered.add(&histogram);
        let times = gathered.times();
        assert!((times.longest_seconds - 300.0).abs() < f64::EPSILON);
        assert!((times.p50_seconds - 300.0).abs() < f64::EPSILON);
        assert_eq!(times.buckets.last().map(|(_, within)| *within), Some(0));
    }

    proptest! {
        #[test]
        fn it_tells_what_a_sorted_list_tells(
            mut took in prop::collection::vec(
                prop_oneof![0_u64..3_000, 0_u64..3_000_000, 0_u64..200_000_000_000],
                1..200,
            ),
            of_other_threads in 0_usize..200,
        ) {
            let (one, other) = (Histogram::new(), Histogram::new());
            for (place, nanoseconds) in took.iter().enumerate() {
                (if place < of_other_threads { &one } else { &other }).record(*nanoseconds);
            }
            let mut gathered = Gathered::new();
            gathered.add(&one);
            gathered.add(&other);
            let times = gathered.times();

            took.sort_unstable();
            let exactly = |rank: usize| seconds(took[rank - 1]);
            prop_assert_eq!(times.count, took.len() as u64);
            prop_assert!((times.sum_seconds - seconds(took.iter().sum())).abs() < 1e-6);
            prop_assert!((times.longest_seconds - exactly(took.len())).abs() < 1e-9);
            for (told, percent) in [(times.p50_seconds, 50), (times.p99_seconds, 99)] {
                let exact = exactly((took.len() * percent).div_ceil(100));
                // Beyond the last class only the longest is known.
                let known = exact <= seconds(1 << (LONGEST_BITS - 1));
                prop_assert!(told >= exact - 1e-12, "{} is less than {}", told, exact);
                prop_assert!(!known || told <= exact * 1.125 + 2e-9, "{} of {}", told, exact);
            }
            for (bound, within) in times.buckets {
                let exact = took.iter().filter(|nanoseconds| seconds(**nanoseconds) <= bound);
                prop_assert_eq!(within, exact.count() as u64);
            }
        }
    }
}
