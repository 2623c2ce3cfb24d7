//! `adit services`: each name that is served or called, and how its calls go.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Deserialize;

use super::query::with_query;
use super::table::{Column, Page, Tone};
use super::watching::Watching;
use super::words::{known, number, rate};

/// Which services, and in which order.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    watching: Watching,
    /// What comes first: by name, the most calls in flight, the most calls a second, the most that the
    /// gateway ended.
    #[arg(long, value_parser = ["name", "calls", "rate", "errors"])]
    sort: Option<String>,
    /// How many services to show at most.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

/// As `/services` says it.
#[derive(Debug, Deserialize)]
struct Services {
    matched: usize,
    services: Vec<Service>,
}

#[derive(Debug, Deserialize)]
struct Service {
    name: String,
    tunnels: Tunnels,
    calls_started: u64,
    calls_in_flight: u64,
    per_second: f64,
    p50_seconds: Option<f64>,
    p99_seconds: Option<f64>,
    by_status: BTreeMap<String, u64>,
    by_reason: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
struct Tunnels {
    ready: u64,
    late: u64,
    draining: u64,
}

/// Shows them.
pub(crate) fn run(asked: &Asked) -> Result<ExitCode, String> {
    let limit = asked.limit.map(|limit| limit.to_string());
    let path = with_query("/services", &[("sort", asked.sort.clone()), ("limit", limit)]);
    asked.watching.show(&asked.watching.client()?, &path, draw)
}

fn draw(answer: &Services, page: &mut Page) {
    let columns = [
        Column::Long("SERVICE"),
        Column::Number("READY"),
        Column::Number("LATE"),
        Column::Number("DRAINING"),
        Column::Number("CALLS/S"),
        Column::Number("IN FLIGHT"),
        Column::SpareNumber("STARTED"),
        Column::SpareNumber("P50"),
        Column::Number("P99"),
        Column::Long("ERRORS"),
        Column::Spare("BY THE GATEWAY"),
    ];
    let rows = answer.services.iter().map(|service| {
        let Tunnels { ready, late, draining } = service.tunnels;
        let errors = service.by_status.iter().filter(|(status, _)| *status != "OK");
        let cells = vec![
            service.name.clone(),
            number(ready),
            number(late),
            number(draining),
            rate(service.per_second),
            number(service.calls_in_flight),
            number(service.calls_started),
            known(service.p50_seconds),
            known(service.p99_seconds),
            counted(errors),
            counted(service.by_reason.iter()),
        ];
        (if late + draining > 0 { Tone::Warning } else { Tone::Plain }, cells)
    });
    if answer.services.is_empty() {
        page.line(Tone::Plain, "no service");
    }
    page.table(&columns, rows.collect());
    let (shown, matched) = (answer.services.len(), answer.matched);
    if shown < matched {
        let (shown, matched) = (number(shown as u64), number(matched as u64));
        page.line(Tone::Plain, &format!("{shown} of {matched} services; --limit shows more"));
    }
}

/// The most frequent first.
fn counted<'a>(counts: impl Iterator<Item = (&'a String, &'a u64)>) -> String {
    let mut counts: Vec<_> = counts.collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let words = counts.into_iter().map(|(name, count)| format!("{name} {}", number(*count)));
    words.collect::<Vec<_>>().join(", ")
}
