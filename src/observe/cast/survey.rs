//! How the numbers of all arbiters become what is told.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::gauge::{Gauge, Reading};
use super::{
    ActorSnapshot, Arbiter, ArbiterTotals, CastSnapshot, CastTotals, Handling, Kind, KindTotals,
    PANICKED_MAX, Panicked,
};
use crate::observe::histogram::Gathered;
use crate::observe::ticks::now;

pub(super) fn look(arbiters: &[Arc<Arbiter>]) -> CastSnapshot {
    let mut actors = Vec::new();
    let totals = survey(arbiters, |gauge, reading| actors.push(snapshot(gauge, &reading)));
    let CastTotals { arbiters: totals, kinds } = totals;
    CastSnapshot { arbiters: totals, kinds, actors, panicked: panicked(arbiters) }
}

pub(super) fn totals(arbiters: &[Arc<Arbiter>]) -> CastTotals {
    survey(arbiters, |_, _| {})
}

fn survey(arbiters: &[Arc<Arbiter>], mut see: impl FnMut(&Gauge, Reading)) -> CastTotals {
    let mut kinds: Vec<_> = Kind::ALL.iter().map(|kind| totals_of_kind(arbiters, *kind)).collect();
    let totals = arbiters.iter().map(|arbiter| {
        let mut totals = totals_of(arbiter);
        arbiter.roster.each(|gauge| {
            let reading = gauge.read();
            if reading.handling.is_some() {
                totals.handling = handling(gauge, &reading);
            }
            if !reading.gone {
                let kind = &mut kinds[gauge.role.kind as usize];
                kind.depth += reading.depth;
                kind.depth_max = kind.depth_max.max(reading.depth);
                totals.depth += reading.depth;
            }
            see(gauge, reading);
        });
        totals
    });
    let arbiters = totals.collect();
    CastTotals { arbiters, kinds }
}

fn totals_of_kind(arbiters: &[Arc<Arbiter>], kind: Kind) -> KindTotals {
    let mut totals = KindTotals { kind: kind.name(), ..KindTotals::default() };
    let (mut left, mut gone) = (0, 0);
    let (mut handle, mut wait) = (Gathered::new(), Gathered::new());
    for counts in arbiters.iter().map(|arbiter| arbiter.counts(kind)) {
        totals.stopped += counts.stopped.load(Ordering::Acquire);
        totals.started += counts.started.load(Ordering::Relaxed);
        totals.panics += counts.panics.load(Ordering::Relaxed);
        left += counts.left.load(Ordering::Relaxed);
        gone += counts.gone.load(Ordering::Relaxed);
        for (name, handled) in counts.messages() {
            match totals.messages.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += handled,
                None => totals.messages.push((name, handled)),
            }
        }
        handle.add(&counts.handle);
        wait.add(&counts.wait);
    }
    totals.alive = totals.started.saturating_sub(totals.stopped);
    totals.dead_letters = left + gone;
    totals.dead_letters_by_reason = vec![("stopped", left), ("gone", gone)];
    totals.messages.retain(|(_, handled)| *handled > 0);
    totals.handled = totals.messages.iter().map(|(_, handled)| handled).sum();
    (totals.handle, totals.wait) = (handle.times(), wait.times());
    totals
}

fn totals_of(arbiter: &Arbiter) -> ArbiterTotals {
    let mut totals = ArbiterTotals { arbiter: arbiter.number, ..ArbiterTotals::default() };
    for kind in Kind::ALL {
        let counts = arbiter.counts(*kind);
        let stopped = counts.stopped.load(Ordering::Acquire);
        let alive = counts.started.load(Ordering::Relaxed).saturating_sub(stopped);
        let handled = counts.handled();
        totals.kinds.push((kind.name(), alive, handled));
        totals.alive += alive;
        totals.handled += handled;
        totals.panics += counts.panics.load(Ordering::Relaxed);
        totals.dead_letters += counts.left.load(Ordering::Relaxed);
        totals.dead_letters += counts.gone.load(Ordering::Relaxed);
    }
    totals
}

fn snapshot(gauge: &Gauge, reading: &Reading) -> ActorSnapshot {
    let handling = handling(gauge, reading);
    ActorSnapshot {
        kind: gauge.role.kind.name(),
        id: gauge.id(),
        arbiter: gauge.arbiter.number,
        age: gauge.started.elapsed(),
        depth: if reading.gone { 0 } else { reading.depth },
        handled: reading.taken - u64::from(handling.is_some()),
        dead_letters: if reading.gone { reading.depth } else { 0 },
        handling,
    }
}

fn handling(gauge: &Gauge, reading: &Reading) -> Option<Handling> {
    let (message, since) = reading.handling?;
    let (kind, id) = (gauge.role.kind.name(), gauge.id());
    Some(Handling { kind, id, message, for_: since.elapsed() })
}

fn panicked(arbiters: &[Arc<Arbiter>]) -> Vec<Panicked> {
    let on = |arbiter: &Arc<Arbiter>| {
        let number = arbiter.number;
        arbiter.panicked().into_iter().map(move |fall| (number, fall))
    };
    let mut falls: Vec<_> = arbiters.iter().flat_map(on).collect();
    falls.sort_by_key(|(_, fall)| Reverse(fall.at));
    falls.truncate(PANICKED_MAX);
    let now = now();
    let told = falls.into_iter().map(|(arbiter, fall)| Panicked {
        kind: fall.kind.name(),
        id: fall.id,
        arbiter,
        message: fall.message,
        ago: fall.at.until(now),
    });
    told.collect()
}
