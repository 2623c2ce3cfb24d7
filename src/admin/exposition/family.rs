//! One metric with all its series.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::observe::calls::Buckets;
use crate::observe::histogram::Times;

/// The labels of one series.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// A metric that is being put together.
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    series: Vec<Metric>,
}

impl Family {
    /// A number that only grows. Its name ends in `_total`.
    pub(super) fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::COUNTER, series: Vec::new() }
    }

    /// A number that goes up and down.
    pub(super) fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::GAUGE, series: Vec::new() }
    }

    /// How often a number was how large.
    pub(super) fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::HISTOGRAM, series: Vec::new() }
    }

    /// Adds a series of a counter or a gauge.
    pub(super) fn add(&mut self, labels: Labels<'_>, value: f64) {
        let mut metric = Metric::from_label(pairs(labels));
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.series.push(metric);
    }

    /// The same of a number of things.
    pub(super) fn count(&mut self, labels: Labels<'_>, count: u64) {
        self.add(labels, number(count));
    }

    /// Adds a series of a histogram.
    pub(super) fn buckets(&mut self, labels: Labels<'_>, buckets: &Buckets) {
        let mut sum = 0;
        let cumulative = buckets.bounds.iter().zip(&buckets.counts).map(|(bound, count)| {
            sum += count;
            (*bound, sum)
        });
        let cumulative: Vec<_> = cumulative.collect();
        self.distribution(labels, cumulative, buckets.count(), buckets.sum);
    }

    /// Adds a series of a histogram of durations.
    pub(super) fn times(&mut self, labels: Labels<'_>, times: &Times) {
        self.distribution(labels, times.buckets.clone(), times.count, times.sum_seconds);
    }

    fn distribution(
        &mut self,
        labels: Labels<'_>,
        cumulative: Vec<(f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        let buckets = cumulative.into_iter().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_histogram(histogram);
        self.series.push(metric);
    }

    /// The metric; nothing if it has no series.
    pub(super) fn finish(self) -> Option<MetricFamily> {
        let Self { name, help, kind, series } = self;
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        let is_there = !series.is_empty();
        family.set_metric(series);
        is_there.then_some(family)
    }
}

/// A count as Prometheus has it.
#[expect(clippy::cast_precision_loss, reason = "past 2^53 a metric loses the last digits")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

fn pairs(labels: Labels<'_>) -> Vec<LabelPair> {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    pairs.collect()
}
