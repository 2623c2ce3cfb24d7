//! Metrics of actors, by kind alone: one actor is found in `/actors`.

use prometheus::proto::MetricFamily;

use super::family::Family;
use crate::observe::cast::{ArbiterTotals, Cast, CastTotals, KindTotals, STUCK_AFTER};

pub(super) fn families(cast: &Cast) -> Vec<Option<MetricFamily>> {
    let CastTotals { arbiters, kinds } = cast.totals();
    let mut families = mailboxes(&kinds);
    families.extend(messages(&kinds));
    families.extend(ends(&kinds));
    families.push(stuck(&kinds, &arbiters));
    families
}

fn mailboxes(kinds: &[KindTotals]) -> Vec<Option<MetricFamily>> {
    let mut instances = Family::gauge("gateway_actor_instances", "Actors alive.");
    let mut depth = Family::gauge(
        "gateway_actor_mailbox_depth",
        "Messages sent to actors of this kind and not handled yet.",
    );
    let mut deepest =
        Family::gauge("gateway_actor_mailbox_depth_max", "The same of the fullest mailbox.");
    let mut capacity = Family::gauge(
        "gateway_actor_mailbox_capacity",
        "Messages that a mailbox takes: any number. What is limited is what messages hold: calls and \
         bytes, see gateway_limit.",
    );
    for kind in kinds {
        let labels = [("actor_kind", kind.kind)];
        instances.count(&labels, kind.alive);
        depth.count(&labels, kind.depth);
        deepest.count(&labels, kind.depth_max);
        capacity.add(&labels, f64::INFINITY);
    }
    [instances, depth, deepest, capacity].into_iter().map(Family::finish).collect()
}

fn messages(kinds: &[KindTotals]) -> [Option<MetricFamily>; 3] {
    let mut handled =
        Family::counter("gateway_actor_messages_total", "Messages handled, by their names.");
    let mut handle =
        Family::histogram("gateway_actor_handle_seconds", "How long one message takes.");
    let mut wait = Family::histogram(
        "gateway_actor_mailbox_wait_seconds",
        "How long a message waits in its mailbox.",
    );
    for kind in kinds {
        let labels = [("actor_kind", kind.kind)];
        for (message, number) in &kind.messages {
            handled.count(&[("actor_kind", kind.kind), ("message", message)], *number);
        }
        handle.times(&labels, &kind.handle);
        wait.times(&labels, &kind.wait);
    }
    [handled.finish(), handle.finish(), wait.finish()]
}

fn ends(kinds: &[KindTotals]) -> [Option<MetricFamily>; 3] {
    let mut panics = Family::counter("gateway_actor_panics_total", "Actors that panicked.");
    let mut restarts = Family::counter(
        "gateway_actor_restarts_total",
        "Actors that were started again: none ever is. A peer dials again and a caller is told.",
    );
    let mut dead = Family::counter(
        "gateway_actor_dead_letters_total",
        "Messages that no actor handled: gone when they were sent, or stopped before their turn.",
    );
    for kind in kinds {
        let labels = [("actor_kind", kind.kind)];
        panics.count(&labels, kind.panics);
        restarts.count(&[("actor_kind", kind.kind), ("cause", "panic")], 0);
        for (reason, number) in &kind.dead_letters_by_reason {
            dead.count(&[("actor_kind", kind.kind), ("reason", reason)], *number);
        }
    }
    [panics.finish(), restarts.finish(), dead.finish()]
}

/// An arbiter handles one message at a time.
fn stuck(kinds: &[KindTotals], arbiters: &[ArbiterTotals]) -> Option<MetricFamily> {
    let mut stuck = Family::gauge(
        "gateway_actor_stuck",
        "Actors that have been handling one message for more than a second.",
    );
    for kind in kinds {
        let handling = arbiters.iter().filter_map(|arbiter| arbiter.handling.as_ref());
        let of_kind = handling.filter(|handling| handling.kind == kind.kind);
        let number = of_kind.filter(|handling| handling.for_ >= STUCK_AFTER).count();
        stuck.count(&[("actor_kind", kind.kind)], number as u64);
    }
    stuck.finish()
}
