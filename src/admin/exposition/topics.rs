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
            "Tunnels and streams closed because they did not take their events.",
            totals.slow_consumers,
        ),
        (
            "gateway_bus_replayed_total",
            "Events that came to who came back from what is kept, each counted once for each.",
            totals.replayed,
        ),
    ] {
        let mut family = Family::counter(name, help);
        family.count(&[], number);
        families.push(family.finish());
    }
    for (name, help, number) in [
        ("gateway_bus_subscribers", "Who listens to at least one topic.", totals.subscribers),
        (
            "gateway_bus_topics",
            "Topics that somebody listens to, each counted once for each worker that has subscribers.",
            totals.topics,
        ),
        (
            "gateway_bus_streams",
            "Calls of adit.events.v1: publishers and subscribers without a tunnel.",
            totals.streams,
        ),
        ("gateway_bus_kept_events", "Events kept for who comes back.", totals.kept_events),
        ("gateway_bus_kept_bytes", "Bytes of the events that are kept.", totals.kept_bytes),
    ] {
        let mut family = Family::gauge(name, help);
        family.count(&[], number);
        families.push(family.finish());
    }
    families
}
