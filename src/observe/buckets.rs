//! How often something fell into each of some buckets, to be read at one moment: what calls and tunnels
//! show of how long things took.

/// How often something fell into each of some buckets, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// The upper bounds, each within its bucket.
    pub bounds: &'static [f64],
    /// How many fell into each bucket and into none before; the last is for what is over all bounds.
    pub counts: Vec<u64>,
    /// What all of them add up to.
    pub sum: f64,
}

impl Buckets {
    /// Nothing was counted.
    pub fn none(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Below which value the given part of them lies, 0.5 for half; nothing if there were none. Within a
    /// bucket they are taken to lie evenly, and what is over all bounds counts as the last bound.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let wanted = part.clamp(0.0, 1.0) * as_float(count);
        let mut below = 0;
        let mut lower = 0.0;
        for (upper, count) in self.bounds.iter().zip(&self.counts) {
            if *count > 0 && as_float(below + count) >= wanted {
                let within = (wanted - as_float(below)) / as_float(*count);
                return Some(lower + (upper - lower) * within.clamp(0.0, 1.0));
            }
            below += count;
            lower = *upper;
        }
        Some(lower)
    }
}

/// A count as a number that can be divided.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and only shown")]
pub(super) fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let mut buckets = Buckets::none(&[0.0, 0.001, 0.002, 1.0]);
        assert_eq!((buckets.count(), buckets.quantile(0.5)), (0, None));
        buckets.counts = vec![0, 2, 1, 0, 1];
        assert_eq!(buckets.count(), 4);
        assert_eq!(buckets.quantile(0.25), Some(0.0005));
        assert_eq!(buckets.quantile(0.5), Some(0.001));
        assert_eq!(buckets.quantile(0.75), Some(0.002));
        assert_eq!(buckets.quantile(0.99), Some(1.0), "over all bounds");
    }
}
