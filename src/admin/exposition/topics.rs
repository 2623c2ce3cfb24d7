//! Metrics of topics, all together: one topic is found in `/topics`.

use prometheus::proto::MetricFamily;

use super::family::Family;
use crate::observe::topics::Topics;

pub(super) fn families(topics: &Topics) -> Vec<Option<MetricFamily>> {
    let totals = topics.totals();
    let mut published = Family::counter(
        "gateway_bus_published_total",
        "Events published: accepted by at least one subscriber, none there, or rejected.",
    );
    for (result, number) in &totals.published {
        published.count(&[("result", result)], *number);
    }
    let mut dropped = Family::counter(
        "gateway_bus_dropped_total",
        "Events that a subscriber did not get, each counted once for each.",
    );
    for (reason, number) in &totals.dropped {
        dropped.count(&[("reason", reason)], *number);
    }
    let mut families = vec![published.finish(), dropped.finish()];
    for (name, help, number) in [
        (
            "gateway_bus_delivered_total",
            "Events on their way to a subscriber, each counted once for each.",
            totals.delivered,
        ),
        (
            "gateway_bus_duplicates_total",
            "Events that came again under the same id.",
            totals.duplicates,
        ),
        (
            "gateway_bus_slow_consumers_total",
            "Tunnels closed because they did not take their events.",
            totals.slow_consumers,
        ),
    ] {
        let mut family = Family::counter(name, help);
        family.count(&[], number);
        families.push(family.finish());
    }
    let mut subscribers =
        Family::gauge("gateway_bus_subscribers", "Who listens to at least one topic.");
    subscribers.count(&[], totals.subscribers);
    let mut running = Family::gauge(
        "gateway_bus_topics",
        "Topics that somebody listens to, each counted once for each worker that has subscribers.",
    );
    running.count(&[], totals.topics);
    families.extend([subscribers.finish(), running.finish()]);
    families
}
