//! `adit status`: a running gateway at a glance.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Deserialize;

use super::table::{Column, Page, Tone};
use super::watching::Watching;
use super::words::{duration, known, number, rate};

/// As `/status` says it.
#[derive(Debug, Deserialize)]
struct Status {
    version: String,
    state: String,
    uptime_seconds: f64,
    workers: u64,
    calls: Calls,
    tunnels: Tunnels,
    services: u64,
    actors: Actors,
    counts: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
struct Calls {
    started: u64,
    ended: u64,
    in_flight: u64,
    per_second: f64,
    recent: Recent,
}

/// Of the calls that ended in the last ten seconds or so; the first time since the start.
#[derive(Debug, Deserialize)]
struct Recent {
    duration: Quantiles,
    overhead: Quantiles,
}

#[derive(Debug, Deserialize)]
struct Quantiles {
    p50_seconds: Option<f64>,
    p99_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Tunnels {
    open: u64,
    opening: u64,
    ready: u64,
    late: u64,
    draining: u64,
}

#[derive(Debug, Deserialize)]
struct Actors {
    alive: u64,
    handled: u64,
    mailbox_depth: u64,
    panics: u64,
    dead_letters: u64,
    stuck: u64,
}

/// Shows it.
pub(crate) fn run(watching: &Watching) -> Result<ExitCode, String> {
    watching.show(&watching.client()?, "/status", draw)
}

fn draw(status: &Status, page: &mut Page) {
    let Status { version, state, workers, services, .. } = status;
    let uptime = duration(status.uptime_seconds);
    let tone = if state == "serving" { Tone::Title } else { Tone::Warning };
    page.line(tone, &format!("Adit {version}  {state} for {uptime}  workers {workers}"));
    calls(&status.calls, page);
    tunnels(&status.tunnels, *services, page);
    actors(&status.actors, page);
    let counts = status.counts.iter().filter(|(_, count)| **count > 0);
    let counts = counts.map(|(name, count)| (Tone::Plain, vec![name.clone(), number(*count)]));
    page.table(&[Column::Text("COUNTED"), Column::Number("TIMES")], counts.collect());
}

fn calls(calls: &Calls, page: &mut Page) {
    let columns = [
        Column::Text("CALLS   "),
        Column::Number("PER SECOND"),
        Column::Number("IN FLIGHT"),
        Column::Number("STARTED"),
        Column::Number("ENDED"),
        Column::Number("P50"),
        Column::Number("P99"),
        Column::Number("IN GATEWAY P50"),
        Column::Number("P99"),
    ];
    let row = [
        String::new(),
        rate(calls.per_second),
        number(calls.in_flight),
        number(calls.started),
        number(calls.ended),
        known(calls.recent.duration.p50_seconds),
        known(calls.recent.duration.p99_seconds),
        known(calls.recent.overhead.p50_seconds),
        known(calls.recent.overhead.p99_seconds),
    ];
    page.table(&columns, vec![(Tone::Plain, row.into())]);
}

fn tunnels(tunnels: &Tunnels, services: u64, page: &mut Page) {
    let columns = [
        Column::Text("TUNNELS "),
        Column::Number("OPEN"),
        Column::Number("READY"),
        Column::Number("LATE"),
        Column::Number("DRAINING"),
        Column::Number("OPENING"),
        Column::Number("SERVICES"),
    ];
    let Tunnels { open, opening, ready, late, draining } = *tunnels;
    let numbers = [open, ready, late, draining, opening, services].map(number);
    let tone = if late + draining > 0 { Tone::Warning } else { Tone::Plain };
    page.table(&columns, vec![(tone, [vec![String::new()], numbers.into()].concat())]);
}

fn actors(actors: &Actors, page: &mut Page) {
    let columns = [
        Column::Text("ACTORS  "),
        Column::Number("ALIVE"),
        Column::Number("STUCK"),
        Column::Number("IN MAILBOXES"),
        Column::Number("HANDLED"),
        Column::Number("PANICS"),
        Column::Number("DEAD LETTERS"),
    ];
    let Actors { alive, handled, mailbox_depth, panics, dead_letters, stuck } = *actors;
    let numbers = [alive, stuck, mailbox_depth, handled, panics, dead_letters].map(number);
    let tone = if stuck + panics > 0 { Tone::Alarm } else { Tone::Plain };
    page.table(&columns, vec![(tone, [vec![String::new()], numbers.into()].concat())]);
}
