//! The configuration file as written. The comment on a field is its description for everybody: in
//! the schema, and in the page that lists all fields. Its `default` is what the gateway uses.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Listener;
use super::limits::LimitsFile;
use super::moment::Moment;
use super::shapes::{Count, Section};
use super::units::{Size, Span, more_than_zero};
use crate::admin::Settings as MetricsSettings;
use crate::grpc::age::ConnectionAge;
use crate::grpc::keepalive::Keepalive;
use crate::observe::log::access::AccessLog;
use crate::tunnel::directory::Routing;
use crate::tunnel::liveness::Patience;

/// More workers than this is a slip: each is an executor with a thread of its own.
pub(super) const WORKERS_MAX: usize = 256;

/// As long as other gateways wait; orchestrators commonly kill after the same time.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(30);

/// Soon enough for whoever waits for a new certificate, and next to nothing for a disk.
pub(super) const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// More names than this in one list are a slip, and each is compared with what a program registers.
pub(super) const PATTERNS_MAX: usize = 1_000;

/// More events of a topic, or topics with events, than this are a slip: they are kept in memory.
pub(super) const KEPT_MAX: usize = 1_000_000;

/// A list. An item that could not be read is `None`, so that the others keep their places.
pub(super) type List<T> = Option<Vec<Option<T>>>;

/// The configuration of Adit. Every field may be left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(title = "Adit")]
pub(super) struct File {
    /// Where the gateway listens, 64 addresses at most; together they serve callers and tunnels.
    #[schemars(extend("default" = [{ "address": Listener::default().address.to_string() }]))]
    pub(super) listeners: List<Section<ListenerFile>>,
    /// Threads that carry tunnels and calls. Left out, one per core.
    #[schemars(range(min = 1, max = WORKERS_MAX))]
    pub(super) workers: Option<Count>,
    /// Who may open tunnels, and call where callers need a key.
    #[schemars(extend("default" = []))]
    pub(super) keys: List<Section<KeyFile>>,
    pub(super) callers: Section<CallersFile>,
    pub(super) routing: Section<RoutingFile>,
    pub(super) heartbeat: Section<HeartbeatFile>,
    pub(super) keepalive: Section<KeepaliveFile>,
    pub(super) drain: Section<DrainFile>,
    pub(super) events: Section<EventsFile>,
    pub(super) limits: Section<LimitsFile>,
    pub(super) metrics: Section<MetricsFile>,
    pub(super) log: Section<LogFile>,
}

/// An address, and whom it serves.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct ListenerFile {
    /// Where to listen. Port 0 is any free port.
    #[schemars(required, title = "IP address and port", regex(pattern = r":[0-9]{1,5}$"))]
    pub(super) address: Option<String>,
    /// Whom this address serves.
    #[schemars(length(min = 1), extend("default" = ["callers", "tunnels"], "uniqueItems" = true))]
    pub(super) serves: List<Role>,
    /// Callers may ask here how services fare (`grpc.health.v1`).
    #[schemars(extend("default" = true))]
    pub(super) health: Option<bool>,
    /// Callers may ask here which services there are and what they look like (`grpc.reflection`). Left
    /// out, they may where the address is loopback.
    pub(super) reflection: Option<bool>,
    /// Callers may publish and subscribe to events here (`adit.events.v1`). Left out, they may unless the
    /// address is not loopback and callers need no key.
    pub(super) events: Option<bool>,
    #[serde(default)]
    pub(super) tls: Option<Section<TlsFile>>,
}

/// TLS on this address. Files are in PEM; relative paths are relative to the working directory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct TlsFile {
    /// The file with the certificate, and after it those between it and its CA.
    #[schemars(required)]
    pub(super) certificate: Option<String>,
    /// The file with its private key, without a passphrase.
    #[schemars(required)]
    pub(super) key: Option<String>,
    /// A file with CAs: clients must show a certificate of one of them. Left out, they need none.
    pub(super) client_ca: Option<String>,
    /// How often to look whether these files have changed.
    #[schemars(transform = more_than_zero, extend("default" = shown(RELOAD_INTERVAL)))]
    pub(super) reload_interval: Option<Span>,
}

/// Whom a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    Callers,
    Tunnels,
}

/// One key, and what it is good for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct KeyFile {
    /// What logs call the key: 1 to 64 letters, digits, `-`, `_` and `.`; each id once.
    #[schemars(required, regex(pattern = r"^[A-Za-z0-9._-]{1,64}$"))]
    pub(super) id: Option<String>,
    /// The SHA-256 of the key, as `adit key new` prints it. Left out, `key_env` says where the key is.
    #[schemars(regex(pattern = r"^[0-9A-Fa-f]{64}$"), extend("writeOnly" = true))]
    pub(super) sha256: Option<String>,
    /// The environment variable that has the key itself. Left out, there is `sha256`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_]+$"))]
    pub(super) key_env: Option<String>,
    /// When the key is good no more. Left out, never.
    pub(super) expires: Option<Moment>,
    /// The SHA-256 of the key that this one takes the place of, and which is good too. Left out, there
    /// is none.
    #[schemars(regex(pattern = r"^[0-9A-Fa-f]{64}$"), extend("writeOnly" = true))]
    pub(super) old_sha256: Option<String>,
    /// When that older key is good no more. Left out, `expires`.
    pub(super) old_expires: Option<Moment>,
    /// The names that its tunnels may serve: `demo.Greeter`, `demo.*` (all that begins with `demo.`)
    /// or `*`. Those written out in full count as known from the start, and belong to the keys that
    /// write them out.
    #[schemars(length(max = PATTERNS_MAX), extend("default" = ["*"], "x-formerly" = "services"))]
    pub(super) register: List<String>,
    /// The services that its holder may call, written likewise.
    #[schemars(length(max = PATTERNS_MAX), extend("default" = ["*"]))]
    pub(super) call: List<String>,
    /// The topics that its tunnels may publish under, as patterns: words between dots, of which `*` is
    /// any one word and `#` any number of words.
    #[schemars(length(max = PATTERNS_MAX), extend("default" = ["#"]))]
    pub(super) publish: List<String>,
    /// The topics that its tunnels may subscribe to, written likewise. A subscription that means more
    /// than one of them is refused.
    #[schemars(length(max = PATTERNS_MAX), extend("default" = ["#"]))]
    pub(super) subscribe: List<String>,
    /// Others may serve the names that `register` writes out.
    #[schemars(extend("default" = false))]
    pub(super) shared: Option<bool>,
    /// Features that programs with this key get without asking.
    #[schemars(extend("default" = [], "uniqueItems" = true))]
    pub(super) features: List<Feature>,
    #[serde(default)]
    pub(super) limits: Section<KeyLimitsFile>,
    /// Names of which the client's certificate must have one: DNS names and URIs, like
    /// `agent-1.example.com`, `*.example.com` or `spiffe://example.com/billing/*`. Left out, the key is
    /// good without a certificate.
    #[schemars(length(min = 1))]
    pub(super) certificate_names: List<String>,
}

/// Limits of what one key does, beside those for everybody; each more than zero.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "named as in `limits`, where not all are counts")]
pub(super) struct KeyLimitsFile {
    /// Its tunnels at once. Left out, `limits.tunnels_per_key_max`.
    #[schemars(transform = more_than_zero)]
    pub(super) tunnels_max: Option<Count>,
    /// Different names that its tunnels serve together. Left out, there is no limit.
    #[schemars(transform = more_than_zero)]
    pub(super) services_max: Option<Count>,
    /// Calls in flight that its holders make. Left out, there is no limit.
    #[schemars(transform = more_than_zero)]
    pub(super) calls_max: Option<Count>,
}

/// What a key can grant to programs that do not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Feature {
    Stream,
}

/// What callers must have, and how old their connections get.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct CallersFile {
    /// Callers must send a key. Left out, they must if an address that serves them is not loopback.
    pub(super) require_key: Option<bool>,
    /// Calls have an `x-request-id`: the caller's own, or one that the gateway makes, for the service and
    /// back to the caller.
    #[schemars(extend("default" = true))]
    pub(super) request_id: Option<bool>,
    /// A connection this old (a tenth less or more) gets GOAWAY: clients open another, calls in flight
    /// finish. 0s is never. One that carries a tunnel gets as old as it likes, one that
    /// carries a subscriber of events is not closed.
    #[schemars(extend("default" = shown(ConnectionAge::default().max)))]
    pub(super) connection_age_max: Option<Span>,
    /// What is still in flight so long after that ends with its connection.
    #[schemars(extend("default" = shown(ConnectionAge::default().grace)))]
    pub(super) connection_age_grace: Option<Span>,
}

/// How calls find their tunnels.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct RoutingFile {
    /// `/demo.Greeter/Greet` may go to a peer that registered `Greeter`.
    #[schemars(extend("default" = Routing::default().match_unqualified))]
    pub(super) match_unqualified: Option<bool>,
    /// So long after the start every name counts as known: calls end with `no_tunnel`, not with
    /// `unknown_service`.
    #[schemars(extend("default" = shown(Routing::default().startup_grace)))]
    pub(super) startup_grace: Option<Span>,
    /// So long a name stays known after its last tunnel has gone.
    #[schemars(extend("default" = shown(Routing::default().name_retention)))]
    pub(super) name_retention: Option<Span>,
    /// So long a call of a known name waits for a tunnel when there is none. 0s is not at all.
    #[schemars(extend("default" = shown(Routing::default().wait_for_tunnel)))]
    pub(super) wait_for_tunnel: Option<Span>,
    /// Rules for single services, 256 at most. The first whose name means the service that is called
    /// counts. Names written out in full are known from the start.
    #[schemars(extend("default" = []))]
    pub(super) services: List<Section<ServiceFile>>,
}

/// A rule for some services.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct ServiceFile {
    /// Which services: a pattern like those of `keys`. A mistake if an earlier rule means all of them.
    #[schemars(required)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) affinity: Option<Section<AffinityFile>>,
}

/// How calls of a service are kept together.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct AffinityFile {
    /// Calls with the same value under this metadata key go to the same tunnel.
    #[schemars(required)]
    pub(super) metadata: Option<String>,
}

/// Heartbeats on tunnels: when a silent tunnel is late, and when it is dead.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct HeartbeatFile {
    /// The gateway says something on a tunnel after sending nothing for so long.
    #[schemars(transform = more_than_zero, extend("default" = shown(Patience::default().interval)))]
    pub(super) interval: Option<Span>,
    /// A tunnel silent for so long gets no new calls. Longer than `interval`.
    #[schemars(extend("default" = shown(Patience::default().late_after)))]
    pub(super) late_after: Option<Span>,
    /// A tunnel silent for so long is closed. Longer than `late_after`.
    #[schemars(extend("default" = shown(Patience::default().dead_after)))]
    pub(super) dead_after: Option<Span>,
}

/// HTTP/2 pings on all connections, callers' too.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct KeepaliveFile {
    /// A connection silent for so long gets a ping.
    #[schemars(transform = more_than_zero, extend("default" = shown(Keepalive::default().interval)))]
    pub(super) interval: Option<Span>,
    /// It is closed if nothing comes back in this time.
    #[schemars(transform = more_than_zero, extend("default" = shown(Keepalive::default().timeout)))]
    pub(super) timeout: Option<Span>,
}

/// How the gateway stops.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct DrainFile {
    /// How long calls in flight may go on after a signal to stop.
    #[schemars(extend("default" = shown(DRAIN_GRACE)))]
    pub(super) grace: Option<Span>,
}

/// Events that peers and callers publish and subscribe to. None are kept for subscribers that come back
/// unless `keep_events` or `keep_bytes` says how many; what is kept is kept in memory, until a restart.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct EventsFile {
    /// An event that its publisher sends again under the same `event_id` within five minutes is not
    /// delivered again if a subscriber has it in its queue, or it is kept. Of each worker the last 10000 ids are remembered. Either way it is counted.
    #[schemars(extend("default" = false))]
    pub(super) deduplicate: Option<bool>,
    /// Events that are kept of each topic, the last ones. Left out, as many as `keep_bytes` has room for,
    /// or none without that too.
    #[schemars(range(min = 1, max = KEPT_MAX))]
    pub(super) keep_events: Option<Count>,
    /// Bytes of the events that are kept of each topic; a larger event is not kept. Left out, 1MiB where
    /// there is `keep_events`.
    #[schemars(transform = more_than_zero)]
    pub(super) keep_bytes: Option<Size>,
    /// Topics of which events are kept; when there is one more, the one that was silent longest is
    /// forgotten. Left out, 1000.
    #[schemars(range(min = 1, max = KEPT_MAX))]
    pub(super) keep_topics: Option<Count>,
    /// Bytes of all events that are kept; when there are more, the topics that were silent longest are
    /// forgotten. Not under `keep_bytes`. Left out, 64MiB, or `keep_bytes` if that is more.
    #[schemars(transform = more_than_zero)]
    pub(super) keep_total_bytes: Option<Size>,
}

/// The metrics listener: what can be seen of the running gateway, for Prometheus, `adit status` and a
/// browser. It never serves calls or tunnels.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct MetricsFile {
    /// Whether there is one.
    #[schemars(extend("default" = true))]
    pub(super) enabled: Option<bool>,
    /// Where it listens. Port 0 is any free port. Anywhere but on loopback it needs a token.
    #[schemars(
        title = "IP address and port",
        regex(pattern = r":[0-9]{1,5}$"),
        extend("default" = MetricsSettings::default().address.map(|address| address.to_string()))
    )]
    pub(super) address: Option<String>,
    /// The SHA-256 of the token that it asks for (`authorization: Bearer`), as `adit key new` prints
    /// it. Left out, `token_env` says where the token is, or it asks for none.
    #[schemars(regex(pattern = r"^[0-9A-Fa-f]{64}$"), extend("writeOnly" = true))]
    pub(super) token_sha256: Option<String>,
    /// The environment variable that has the token itself. Left out, there is `token_sha256` or no token.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_]+$"))]
    pub(super) token_env: Option<String>,
    /// Series of one metric, each bucket of a histogram among them; 100 to 100000. Methods and services
    /// that find no place count as `other`.
    #[schemars(extend("default" = MetricsSettings::default().series_max))]
    pub(super) series_max: Option<Count>,
}

/// What the gateway says about itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct LogFile {
    /// How much is logged. The variable `RUST_LOG` wins.
    #[schemars(extend("default" = "info"))]
    pub(super) level: Option<Level>,
    /// One line for each call when it has ended, as JSON or as text.
    #[schemars(extend("default" = "off"))]
    pub(super) access: Option<Access>,
    /// So many of those lines in a second; what is left out is counted in a line of its own.
    #[schemars(
        transform = more_than_zero,
        extend("default" = AccessLog::default().lines_per_second_max)
    )]
    pub(super) access_per_second_max: Option<Count>,
}

/// How calls are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Access {
    Off,
    Json,
    Text,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// A duration as it is written.
fn shown(duration: Duration) -> String {
    Span::from(duration).to_string()
}
