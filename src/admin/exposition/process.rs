//! Metrics of the process: its build, its configuration, its limits, and what it dropped and why.

use std::time::SystemTime;

use prometheus::proto::MetricFamily;

use super::family::Family;
use crate::admin::facts::{Facts, InForce};
use crate::observe::limits::hits;
use crate::observe::tally::{self, Count, counted};

/// A metric that sums up some of the counts: its name, its help, its label, and which value of that
/// stands for which count.
type Selection = (&'static str, &'static str, &'static str, &'static [(&'static str, Count)]);

const SELECTIONS: [Selection; 5] = [
    (
        "gateway_frames_rejected_total",
        "Frames of peers that were not acted on.",
        "reason",
        &[
            ("unknown", Count::FrameUnknown),
            ("undecodable", Count::FrameUndecodable),
            ("protocol", Count::FrameRejected),
        ],
    ),
    (
        "gateway_auth_failures_total",
        "Keys, tokens and TLS handshakes that were refused.",
        "kind",
        &[
            ("key", Count::AuthFailed),
            ("tls", Count::TlsFailed),
            ("metrics_token", Count::WatcherUnknown),
        ],
    ),
    (
        "gateway_retries_total",
        "Calls put through again, because the peer had seen nothing of them.",
        "reason",
        &[("unsent", Count::CallPutThroughAgain)],
    ),
    (
        "gateway_h2_goaway_total",
        "Connections that were told to go.",
        "reason",
        &[
            ("age", Count::ConnectionAged),
            ("drain", Count::ConnectionDrained),
            ("enhance_your_calm", Count::ConnectionCalmed),
        ],
    ),
    (
        "gateway_config_reload_total",
        "Configurations that were to take the place of the one in force.",
        "result",
        &[("ok", Count::ConfigApplied), ("error", Count::ConfigRefused)],
    ),
];

pub(super) fn families(facts: &Facts) -> Vec<Option<MetricFamily>> {
    let in_force = facts.run.in_force();
    let mut families: Vec<_> = SELECTIONS.iter().map(selected).collect();
    families.extend([late(), limits(&in_force), reached(), counts()]);
    families.extend(build(facts, &in_force));
    families
}

fn selected((name, help, label, counts): &Selection) -> Option<MetricFamily> {
    let mut family = Family::counter(name, help);
    for (value, count) in *counts {
        family.count(&[(label, value)], counted(*count));
    }
    family.finish()
}

fn late() -> Option<MetricFamily> {
    let mut late =
        Family::counter("gateway_late_frames_total", "Frames of answers to calls that were over.");
    late.count(&[], counted(Count::FrameLate));
    late.finish()
}

fn limits(in_force: &InForce) -> Option<MetricFamily> {
    let mut limits = Family::gauge(
        "gateway_limit",
        "The limits in force: things, bytes or seconds, as their names say.",
    );
    for (name, value) in &in_force.limits {
        limits.add(&[("name", name)], *value);
    }
    limits.finish()
}

fn reached() -> Option<MetricFamily> {
    let mut reached = Family::counter(
        "gateway_limit_hits_total",
        "What was refused, ended, closed or delayed because of a limit.",
    );
    for (limit, number) in hits() {
        reached.count(&[("limit", limit)], number);
    }
    reached.finish()
}

/// Everything that the last line of the log says.
fn counts() -> Option<MetricFamily> {
    let mut counts = Family::counter(
        "gateway_events_total",
        "What happened and what was dropped, by the words of the line at the end of the log.",
    );
    for (name, number) in tally::all() {
        counts.count(&[("event", name)], number);
    }
    counts.finish()
}

fn build(facts: &Facts, in_force: &InForce) -> [Option<MetricFamily>; 4] {
    let mut build = Family::gauge("gateway_build_info", "The version of Adit.");
    build.count(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let mut started = Family::gauge(
        "process_start_time_seconds",
        "When the process began, in seconds of Unix time.",
    );
    started.add(&[], unix_seconds(facts.run.started_at));
    let mut reloaded = Family::gauge(
        "gateway_config_reload_success_timestamp_seconds",
        "Since when the configuration is in force, in seconds of Unix time.",
    );
    reloaded.add(&[], unix_seconds(in_force.since));
    let mut arbiters = Family::gauge("gateway_arbiters", "Threads that carry tunnels and calls.");
    arbiters.count(&[], facts.arbiters.len() as u64);
    [build.finish(), started.finish(), reloaded.finish(), arbiters.finish()]
}

fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
