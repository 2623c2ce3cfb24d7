//! `adit actors`: every actor of a running gateway; those that are stuck come first.

use std::collections::BTreeMap;
use std::process::ExitCode;

use adit::observe::cast::STUCK_AFTER;
use serde::Deserialize;

use super::query::with_query;
use super::table::{Column, Page, Tone};
use super::watching::Watching;
use super::words::{duration, number};

/// Which actors, and in which order.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    watching: Watching,
    /// What comes first, after those that are stuck: the most messages waiting, the most handled, the
    /// oldest, the longest at one message; or by kind and id.
    #[arg(long, value_parser = ["depth", "handled", "age", "handling", "kind"])]
    sort: Option<String>,
    /// How many actors to show at most.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Only actors of this kind.
    #[arg(long)]
    kind: Option<String>,
    /// Only actors of this arbiter.
    #[arg(long, value_name = "NUMBER")]
    arbiter: Option<usize>,
}

/// As `/actors` says it.
#[derive(Debug, Deserialize)]
struct Cast {
    kinds: Vec<Kind>,
    arbiters: Vec<Arbiter>,
    matched: usize,
    actors: Vec<Actor>,
    panicked: Vec<Panicked>,
}

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_field_names, reason = "they are those of the JSON")]
struct Kind {
    kind: String,
    alive: u64,
    started: u64,
    messages_handled: u64,
    mailbox_depth: u64,
    mailbox_depth_max: u64,
    panics: u64,
    dead_letters: u64,
    handle: Durations,
    wait: Durations,
}

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_field_names, reason = "they are those of the JSON")]
struct Durations {
    p50_seconds: f64,
    p99_seconds: f64,
    longest_seconds: f64,
}

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_field_names, reason = "they are those of the JSON")]
struct Arbiter {
    arbiter: usize,
    alive: u64,
    messages_handled: u64,
    mailbox_depth: u64,
    panics: u64,
    dead_letters: u64,
    handling: Option<Handling>,
    #[serde(default)]
    kinds: BTreeMap<String, OfKind>,
}

#[derive(Debug, Deserialize)]
struct OfKind {
    alive: u64,
}

#[derive(Debug, Deserialize)]
struct Handling {
    kind: String,
    message: String,
    for_seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Actor {
    kind: String,
    id: String,
    arbiter: usize,
    age_seconds: f64,
    mailbox_depth: u64,
    messages_handled: u64,
    dead_letters: u64,
    stuck: bool,
    handling: Option<Handling>,
}

#[derive(Debug, Deserialize)]
struct Panicked {
    kind: String,
    id: String,
    arbiter: usize,
    message: Option<String>,
    seconds_ago: f64,
}

/// Shows them.
pub(crate) fn run(asked: &Asked) -> Result<ExitCode, String> {
    let fields = [
        ("sort", asked.sort.clone()),
        ("limit", asked.limit.map(|limit| limit.to_string())),
        ("kind", asked.kind.clone()),
        ("arbiter", asked.arbiter.map(|arbiter| arbiter.to_string())),
    ];
    let path = with_query("/actors", &fields);
    asked.watching.show(&asked.watching.client()?, &path, draw)
}

fn draw(cast: &Cast, page: &mut Page) {
    actors(&cast.actors, page);
    let shown = cast.actors.len();
    if shown < cast.matched {
        let (shown, matched) = (number(shown as u64), number(cast.matched as u64));
        page.line(Tone::Plain, &format!("{shown} of {matched} actors; --limit shows more"));
    }
    kinds(&cast.kinds, page);
    arbiters(&cast.arbiters, page);
    panicked(&cast.panicked, page);
}

fn actors(actors: &[Actor], page: &mut Page) {
    let columns = [
        Column::Text("KIND"),
        Column::Long("ID"),
        Column::Number("ARBITER"),
        Column::Number("AGE"),
        Column::Number("WAITING"),
        Column::Number("HANDLED"),
        Column::SpareNumber("DEAD"),
        Column::Text("STATE"),
        Column::Long("HANDLING"),
    ];
    let rows = actors.iter().map(|actor| {
        let (tone, state) = match (actor.stuck, &actor.handling) {
            (true, _) => (Tone::Alarm, "stuck"),
            (false, Some(_)) => (Tone::Plain, "busy"),
            (false, None) => (Tone::Plain, "idle"),
        };
        let cells = vec![
            actor.kind.clone(),
            actor.id.clone(),
            actor.arbiter.to_string(),
            duration(actor.age_seconds),
            number(actor.mailbox_depth),
            number(actor.messages_handled),
            number(actor.dead_letters),
            state.to_owned(),
            actor.handling.as_ref().map(Handling::told).unwrap_or_default(),
        ];
        (tone, cells)
    });
    page.table(&columns, rows.collect());
}

fn kinds(kinds: &[Kind], page: &mut Page) {
    let columns = [
        Column::Text("KIND"),
        Column::Number("ALIVE"),
        Column::SpareNumber("STARTED"),
        Column::Number("HANDLED"),
        Column::Number("WAITING"),
        Column::SpareNumber("FULLEST"),
        Column::Number("PANICS"),
        Column::Number("DEAD"),
        Column::Number("HANDLE P50"),
        Column::Number("P99"),
        Column::Number("LONGEST"),
        Column::SpareNumber("WAIT P50"),
        Column::SpareNumber("P99"),
    ];
    let rows = kinds.iter().map(|kind| {
        let cells = vec![
            kind.kind.clone(),
            number(kind.alive),
            number(kind.started),
            number(kind.messages_handled),
            number(kind.mailbox_depth),
            number(kind.mailbox_depth_max),
            number(kind.panics),
            number(kind.dead_letters),
            duration(kind.handle.p50_seconds),
            duration(kind.handle.p99_seconds),
            duration(kind.handle.longest_seconds),
            duration(kind.wait.p50_seconds),
            duration(kind.wait.p99_seconds),
        ];
        (if kind.panics > 0 { Tone::Warning } else { Tone::Plain }, cells)
    });
    page.table(&columns, rows.collect());
}

fn arbiters(arbiters: &[Arbiter], page: &mut Page) {
    let columns = [
        Column::Number("ARBITER"),
        Column::Number("ALIVE"),
        Column::Number("HANDLED"),
        Column::Number("WAITING"),
        Column::Number("PANICS"),
        Column::SpareNumber("DEAD"),
        Column::Text("STATE"),
        Column::Long("HANDLING"),
        Column::Spare("ACTORS"),
    ];
    let rows = arbiters.iter().map(|arbiter| {
        let is_stuck = |doing: &&Handling| doing.for_seconds >= STUCK_AFTER.as_secs_f64();
        let doing = arbiter.handling.as_ref();
        let stuck = doing.filter(is_stuck);
        let tone = if stuck.is_some() { Tone::Alarm } else { Tone::Plain };
        let kinds = arbiter.kinds.iter().filter(|(_, of_kind)| of_kind.alive > 0);
        let kinds = kinds.map(|(kind, of_kind)| format!("{kind} {}", number(of_kind.alive)));
        let cells = vec![
            arbiter.arbiter.to_string(),
            number(arbiter.alive),
            number(arbiter.messages_handled),
            number(arbiter.mailbox_depth),
            number(arbiter.panics),
            number(arbiter.dead_letters),
            stuck.map_or(if doing.is_some() { "busy" } else { "idle" }, |_| "stuck").to_owned(),
            doing.map(|doing| format!("{} {}", doing.kind, doing.told())).unwrap_or_default(),
            kinds.collect::<Vec<_>>().join(", "),
        ];
        (tone, cells)
    });
    page.table(&columns, rows.collect());
}

fn panicked(panicked: &[Panicked], page: &mut Page) {
    let columns = [
        Column::Text("PANICKED"),
        Column::Long("ID"),
        Column::Number("ARBITER"),
        Column::Number("AGO"),
        Column::Text("HANDLING"),
    ];
    let rows = panicked.iter().map(|actor| {
        let cells = vec![
            actor.kind.clone(),
            actor.id.clone(),
            actor.arbiter.to_string(),
            duration(actor.seconds_ago),
            actor.message.clone().unwrap_or_default(),
        ];
        (Tone::Alarm, cells)
    });
    page.table(&columns, rows.collect());
}

impl Handling {
    fn told(&self) -> String {
        format!("{} for {}", self.message, duration(self.for_seconds))
    }
}
