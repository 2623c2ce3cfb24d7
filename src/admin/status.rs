//! The gateway at a glance: does it live, does it serve, and how much.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;

use crate::observe::calls::{Buckets, CallTotals};
use crate::observe::cast::{CastTotals, STUCK_AFTER};
use crate::observe::tally;
use crate::observe::tunnels::Standing;

use super::Facts;
use super::answer::{captured, captured_as, moment, seconds};
use super::lately::Recent;

/// `/status`
#[derive(Debug, Serialize)]
struct Status {
    version: &'static str,
    /// `serving` or `draining`.
    state: &'static str,
    uptime_seconds: f64,
    workers: usize,
    calls: Calls,
    tunnels: Tunnels,
    /// Names that the open tunnels serve, each once.
    services: usize,
    actors: Actors,
    /// What the line at the end of the log says, by its words.
    counts: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct Calls {
    started: u64,
    ended: u64,
    in_flight: u64,
    /// Over the last ten seconds.
    per_second: f64,
    /// From a call's arrival to its end, of all calls since the start.
    duration: Quantiles,
    /// The time of it that was spent in the gateway.
    overhead: Quantiles,
    /// The same of the calls that ended lately.
    recent: RecentCalls,
}

#[derive(Debug, Serialize)]
struct RecentCalls {
    /// Since when: so long ago somebody looked before, ten seconds or more. `null` is since the start.
    seconds: Option<f64>,
    ended: u64,
    duration: Quantiles,
    overhead: Quantiles,
}

/// `null` where there are no calls.
#[derive(Debug, Serialize)]
pub(super) struct Quantiles {
    p50_seconds: Option<f64>,
    p99_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Tunnels {
    open: usize,
    opening: usize,
    ready: usize,
    late: usize,
    draining: usize,
}

#[derive(Debug, Serialize)]
struct Actors {
    alive: u64,
    handled: u64,
    mailbox_depth: u64,
    panics: u64,
    dead_letters: u64,
    /// Arbiters whose actor has been handling one message for more than a second.
    stuck: usize,
}

/// `/healthz` and `/readyz`
#[derive(Debug, Serialize)]
struct Health {
    /// `ok`, `stuck` or `draining`.
    status: &'static str,
    /// Arbiters that gave no sign of life within a second.
    silent_arbiters: Vec<usize>,
}

/// `/version`
#[derive(Debug, Serialize)]
struct Build {
    name: &'static str,
    version: &'static str,
    started_at: String,
    uptime_seconds: f64,
}

/// `/config`
#[derive(Debug, Serialize)]
struct Configuration {
    in_force_since: String,
    configuration: Value,
}

pub(super) async fn show(State(facts): State<Facts>) -> Response {
    let window = &facts.window;
    let (standing, totals) = (window.tunnels.standing(), window.calls.totals());
    let recent = facts.lately.look(&totals, Instant::now());
    captured(&Status {
        version: env!("CARGO_PKG_VERSION"),
        state: facts.run.state().name(),
        uptime_seconds: seconds(facts.run.uptime()),
        workers: facts.arbiters.len(),
        calls: Calls::of(&totals, &recent),
        tunnels: Tunnels::of(standing),
        services: standing.services,
        actors: Actors::of(&window.cast.totals()),
        counts: tally::all().collect(),
    })
}

pub(super) async fn health(State(facts): State<Facts>) -> Response {
    let silent_arbiters = facts.silent_arbiters().await;
    if silent_arbiters.is_empty() {
        return captured(&Health { status: "ok", silent_arbiters });
    }
    let health = Health { status: "stuck", silent_arbiters };
    captured_as(StatusCode::SERVICE_UNAVAILABLE, &health)
}

pub(super) async fn readiness(State(facts): State<Facts>) -> Response {
    let silent_arbiters = facts.silent_arbiters().await;
    let status = match facts.run.state() {
        super::facts::State::Draining => "draining",
        super::facts::State::Serving if !silent_arbiters.is_empty() => "stuck",
        super::facts::State::Serving => return captured(&Health { status: "ok", silent_arbiters }),
    };
    captured_as(StatusCode::SERVICE_UNAVAILABLE, &Health { status, silent_arbiters })
}

pub(super) async fn version(State(facts): State<Facts>) -> Response {
    captured(&Build {
        name: "adit",
        version: env!("CARGO_PKG_VERSION"),
        started_at: moment(facts.run.started_at),
        uptime_seconds: seconds(facts.run.uptime()),
    })
}

pub(super) async fn configuration(State(facts): State<Facts>) -> Response {
    let in_force = facts.run.in_force();
    captured(&Configuration {
        in_force_since: moment(in_force.since),
        configuration: in_force.configuration.clone(),
    })
}

impl Calls {
    fn of(totals: &CallTotals, recent: &Recent) -> Self {
        Self {
            started: totals.started,
            ended: totals.ended,
            in_flight: totals.started.saturating_sub(totals.ended),
            per_second: totals.per_second,
            duration: Quantiles::of(&totals.duration),
            overhead: Quantiles::of(&totals.overhead),
            recent: RecentCalls {
                seconds: recent.span.map(seconds),
                ended: recent.duration.count(),
                duration: Quantiles::of(&recent.duration),
                overhead: Quantiles::of(&recent.overhead),
            },
        }
    }
}

impl Quantiles {
    pub(super) fn of(buckets: &Buckets) -> Self {
        Self { p50_seconds: buckets.quantile(0.5), p99_seconds: buckets.quantile(0.99) }
    }
}

impl Tunnels {
    fn of(standing: Standing) -> Self {
        let Standing { opening, ready, late, draining, .. } = standing;
        Self { open: opening + ready + late + draining, opening, ready, late, draining }
    }
}

impl Actors {
    fn of(totals: &CastTotals) -> Self {
        let CastTotals { arbiters, kinds } = totals;
        let handling = arbiters.iter().filter_map(|arbiter| arbiter.handling.as_ref());
        Self {
            alive: kinds.iter().map(|kind| kind.alive).sum(),
            handled: kinds.iter().map(|kind| kind.handled).sum(),
            mailbox_depth: kinds.iter().map(|kind| kind.depth).sum(),
            panics: kinds.iter().map(|kind| kind.panics).sum(),
            dead_letters: kinds.iter().map(|kind| kind.dead_letters).sum(),
            stuck: handling.filter(|handling| handling.for_ >= STUCK_AFTER).count(),
        }
    }
}
