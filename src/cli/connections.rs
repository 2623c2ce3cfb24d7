//! `adit connections`: the tunnels of a running gateway, or one of them with its last frames.

use std::process::ExitCode;

use serde::Deserialize;

use super::client::{AskError, Client};
use super::query::with_query;
use super::table::{Column, Page, Tone};
use super::watching::{Watching, failed};
use super::words::{bytes, duration, known, number};

/// The digits and lines of a whole id (RFC 9562).
const ID_LENGTH: usize = 36;
/// As many as the listener gives at once; enough to find one by the beginning of its id.
const SEARCHED_MAX: usize = 10_000;

/// Which tunnels, and in which order.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// Show this one and its last frames. The beginning of its id is enough.
    #[arg(conflicts_with_all = ["state", "sort", "limit", "service", "key"])]
    id: Option<String>,
    #[command(flatten)]
    watching: Watching,
    /// Those that are open, or those that were closed last, or both.
    #[arg(long, value_parser = ["open", "closed", "all"])]
    state: Option<String>,
    /// What comes first: the oldest, the most calls in flight, the most bytes, the longest not heard.
    #[arg(long, value_parser = ["age", "calls", "bytes", "silence"])]
    sort: Option<String>,
    /// How many to show at most.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Only those that serve this name.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only those of the key with this id.
    #[arg(long, value_name = "ID")]
    key: Option<String>,
}

/// As `/connections` says it.
#[derive(Debug, Deserialize)]
#[expect(clippy::struct_field_names, reason = "they are those of the JSON")]
struct Connections {
    open: u64,
    closed: u64,
    matched: u64,
    connections: Vec<Connection>,
}

/// As `/connections/{id}` says it.
#[derive(Debug, Deserialize)]
struct One {
    connection: Connection,
    frames: Vec<Frame>,
}

#[derive(Debug, Deserialize)]
struct Connection {
    id: String,
    key_id: String,
    peer_address: String,
    dialect: String,
    features: Vec<String>,
    services: Vec<String>,
    worker: usize,
    state: String,
    opened_at: String,
    age_seconds: f64,
    calls_in_flight: u64,
    calls_started: u64,
    own_calls_in_flight: u64,
    frames_in: u64,
    frames_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    queued_bytes: u64,
    stalled_seconds: f64,
    last_heard_seconds_ago: f64,
    round_trip_seconds: Option<f64>,
    closed_at: Option<String>,
    reason: Option<String>,
    detail: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Frame {
    direction: String,
    kind: String,
    request_id: Option<String>,
    bytes: u64,
    at: String,
}

/// Shows them.
pub(crate) fn run(asked: &Asked) -> Result<ExitCode, String> {
    let client = asked.watching.client()?;
    if let Some(beginning) = &asked.id {
        return match whole_id(&client, beginning) {
            Ok(id) => asked.watching.show(&client, &format!("/connections/{id}"), draw_one),
            Err(error) => Ok(failed(&error, &client)),
        };
    }
    let fields = [
        ("state", asked.state.clone()),
        ("sort", asked.sort.clone()),
        ("limit", asked.limit.map(|limit| limit.to_string())),
        ("service", asked.service.clone()),
        ("key", asked.key.clone()),
    ];
    asked.watching.show(&client, &with_query("/connections", &fields), draw)
}

/// The id that begins so, as a table on a narrow terminal shows it.
fn whole_id(client: &Client, beginning: &str) -> Result<String, AskError> {
    let beginning = beginning.trim_end_matches('…').to_ascii_lowercase();
    let is_id = |letter: char| letter.is_ascii_hexdigit() || letter == '-';
    if beginning.is_empty() || !beginning.chars().all(is_id) {
        return Err(AskError::Refused("an id has hexadecimal digits and `-` alone".to_owned()));
    }
    if beginning.len() >= ID_LENGTH {
        return Ok(beginning);
    }
    let answer = client.ask(&format!("/connections?state=all&limit={SEARCHED_MAX}"))?;
    let listed: Connections = serde_json::from_slice(&answer).map_err(AskError::Strange)?;
    let ids = listed.connections.into_iter().map(|connection| connection.id);
    let mut ids = ids.filter(|id| id.starts_with(&beginning));
    match (ids.next(), ids.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(AskError::Refused(format!("no tunnel has an id like {beginning}"))),
        _ => Err(AskError::Refused(format!("more than one id begins with {beginning}"))),
    }
}

fn draw(answer: &Connections, page: &mut Page) {
    let Connections { open, closed, matched, ref connections } = *answer;
    let shown = connections.len() as u64;
    let rest = if shown < matched {
        format!("; {} of {} shown, --limit shows more", number(shown), number(matched))
    } else {
        String::new()
    };
    let (open, closed) = (number(open), number(closed));
    page.line(Tone::Title, &format!("{open} open, {closed} closed lately{rest}"));
    let mut columns = vec![
        Column::Long("ID"),
        Column::Text("STATE"),
        Column::Long("SERVICES"),
        Column::Spare("KEY"),
        Column::Spare("PEER"),
        Column::Number("AGE"),
        Column::Number("CALLS"),
        Column::Number("IN"),
        Column::Number("OUT"),
        Column::Number("HEARD"),
        Column::Number("PING"),
    ];
    let with_reason = connections.iter().any(|connection| connection.reason.is_some());
    if with_reason {
        columns.push(Column::Long("REASON"));
    }
    let rows = connections.iter().map(|connection| {
        let mut cells = connection.cells();
        if with_reason {
            cells.push(connection.reason.clone().unwrap_or_default());
        }
        (connection.tone(), cells)
    });
    page.table(&columns, rows.collect());
}

fn draw_one(answer: &One, page: &mut Page) {
    let columns = [Column::Text("TUNNEL"), Column::Text("")];
    let facts = answer.connection.facts().into_iter();
    let tone = |name: &str| if name == "state" { answer.connection.tone() } else { Tone::Plain };
    let rows = facts.map(|(name, value)| (tone(name), vec![name.to_owned(), value]));
    page.table(&columns, rows.collect());
    let columns = [
        Column::Text("FRAME AT"),
        Column::Text("WAY"),
        Column::Text("KIND"),
        Column::Number("BYTES"),
        Column::Long("REQUEST"),
    ];
    let rows = answer.frames.iter().map(|frame| {
        let request = frame.request_id.clone().unwrap_or_default();
        let (at, way) = (frame.at.clone(), frame.direction.clone());
        (Tone::Plain, vec![at, way, frame.kind.clone(), number(frame.bytes), request])
    });
    page.table(&columns, rows.collect());
}

impl Connection {
    fn tone(&self) -> Tone {
        let stands_out = matches!(self.state.as_str(), "late" | "draining");
        if stands_out { Tone::Warning } else { Tone::Plain }
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.state.clone(),
            self.services.join(" "),
            self.key_id.clone(),
            self.peer_address.clone(),
            duration(self.age_seconds),
            number(self.calls_in_flight),
            bytes(self.bytes_in),
            bytes(self.bytes_out),
            duration(self.last_heard_seconds_ago),
            known(self.round_trip_seconds),
        ]
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let listed = |names: &[String]| match names {
            [] => "-".to_owned(),
            names => names.join(" "),
        };
        let traffic = |frames, amount| format!("{} frames, {}", number(frames), bytes(amount));
        let mut facts = vec![
            ("id", self.id.clone()),
            ("state", self.state.clone()),
            ("key", self.key_id.clone()),
            ("peer", self.peer_address.clone()),
            ("worker", self.worker.to_string()),
            ("dialect", self.dialect.clone()),
            ("features", listed(&self.features)),
            ("services", listed(&self.services)),
            ("opened", format!("{} ({} ago)", self.opened_at, duration(self.age_seconds))),
            ("calls in flight", number(self.calls_in_flight)),
            ("calls put on it", number(self.calls_started)),
            ("calls of its own", number(self.own_calls_in_flight)),
            ("in", traffic(self.frames_in, self.bytes_in)),
            ("out", traffic(self.frames_out, self.bytes_out)),
            ("waiting to be sent", bytes(self.queued_bytes)),
            ("peer took none for", duration(self.stalled_seconds)),
            ("last heard", format!("{} ago", duration(self.last_heard_seconds_ago))),
            ("ping", known(self.round_trip_seconds)),
        ];
        let ended = [("closed", &self.closed_at), ("reason", &self.reason), ("why", &self.detail)];
        facts.extend(ended.into_iter().filter_map(|(name, told)| Some((name, told.clone()?))));
        facts
    }
}
