//! Joins the file as written to the configuration as used, and checks what holds across sections.

use std::num::NonZeroUsize;
use std::time::Duration;

use log::LevelFilter;
use serde_json::Value;

use super::file::{
    Access, CallersFile, File, HeartbeatFile, KeepaliveFile, Level, LogFile, RoutingFile,
};
use super::file::{DRAIN_GRACE, WORKERS_MAX};
use super::mistakes::{Mistake, Mistakes};
use super::shapes::Count;
use super::units::Span;
use super::{Config, ConfigError, Environment, Listener};
use super::{KEY_VARIABLE, events, keys, listeners, metrics, patterns, services, tls};
use crate::grpc::age::ConnectionAge;
use crate::grpc::keepalive::Keepalive;
use crate::observe::log::access::{AccessLog, Form};
use crate::tls::credentials::Credentials;
use crate::tunnel::directory::Routing;
use crate::tunnel::liveness::Patience;

/// A file that could be read, and what was found wrong while reading.
pub(super) struct Draft<'e> {
    pub(super) file: File,
    pub(super) environment: &'e Environment,
    pub(super) mistakes: Mistakes,
    pub(super) warnings: Vec<Mistake>,
    /// Certificates that are in use: files that are named alike are not read again.
    pub(super) known: &'e [Credentials],
}

impl TryFrom<Draft<'_>> for Config {
    type Error = ConfigError;

    fn try_from(draft: Draft<'_>) -> Result<Self, ConfigError> {
        let Draft { file, environment, known, mut mistakes, warnings } = draft;
        let asks_for_key = file.callers.0.require_key;
        let listeners = listeners::used(file.listeners, asks_for_key, known, &mut mistakes);
        let require_caller_key = asks_for_key.unwrap_or_else(|| {
            listeners.iter().any(|listener| listener.callers && !listener.is_loopback())
        });
        let limits = file.limits.0.used(&mut mistakes);
        patterns::check(file.keys.as_deref(), &limits, &mut mistakes);
        let routing = routing(&file.routing.0);
        let config = Self {
            listeners,
            workers: workers(file.workers, &mut mistakes),
            keys: keys::used(file.keys, environment, &mut mistakes)
                .matching_unqualified(routing.match_unqualified),
            require_caller_key,
            request_ids: file.callers.0.request_id.unwrap_or(true),
            connection_age: connection_age(&file.callers.0),
            routing,
            affinities: services::used(file.routing.0.services, &mut mistakes),
            heartbeat: heartbeat(&file.heartbeat.0, &mut mistakes),
            keepalive: keepalive(&file.keepalive.0, &mut mistakes),
            drain_grace: file.drain.0.grace.map_or(DRAIN_GRACE, Span::duration),
            deduplicate_events: file.events.0.deduplicate.unwrap_or(false),
            keep_events: events::kept(&file.events.0, &mut mistakes),
            limits,
            metrics: metrics::used(&file.metrics.0, environment, &mut mistakes),
            log_level: level(file.log.0.level),
            access_log: access_log(&file.log.0, &mut mistakes),
            warnings,
            shown: Value::Null,
        };
        check_across(&config, &mut mistakes);
        mistakes.none_or(config).map_err(ConfigError::Mistakes)
    }
}

/// What must hold between fields of different sections.
pub(super) fn check_across(config: &Config, mistakes: &mut Mistakes) {
    check_someone_gets_in(config, mistakes);
    metrics::check_address_is_free(config, mistakes);
    tls::check_names_are_asked_for(config, mistakes);
}

fn workers(written: Option<Count>, mistakes: &mut Mistakes) -> NonZeroUsize {
    let Some(Count(written)) = written else {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        return NonZeroUsize::new(WORKERS_MAX).map_or(cores, |max| cores.min(max));
    };
    let workers = NonZeroUsize::new(written).filter(|workers| workers.get() <= WORKERS_MAX);
    workers.unwrap_or_else(|| {
        let text = format_args!("must be 1 to {WORKERS_MAX}; leave it out for one per core");
        mistakes.add("workers", text);
        NonZeroUsize::MIN
    })
}

/// Zero is a choice here: no age at which connections end, or no grace.
fn connection_age(written: &CallersFile) -> ConnectionAge {
    let default = ConnectionAge::default();
    ConnectionAge {
        max: written.connection_age_max.map_or(default.max, Span::duration),
        grace: written.connection_age_grace.map_or(default.grace, Span::duration),
    }
}

fn routing(written: &RoutingFile) -> Routing {
    let default = Routing::default();
    Routing {
        match_unqualified: written.match_unqualified.unwrap_or(default.match_unqualified),
        startup_grace: written.startup_grace.map_or(default.startup_grace, Span::duration),
        name_retention: written.name_retention.map_or(default.name_retention, Span::duration),
        wait_for_tunnel: written.wait_for_tunnel.map_or(default.wait_for_tunnel, Span::duration),
    }
}

fn heartbeat(written: &HeartbeatFile, mistakes: &mut Mistakes) -> Patience {
    let default = Patience::default();
    let heartbeat = Patience {
        interval: written.interval.map_or(default.interval, Span::duration),
        late_after: written.late_after.map_or(default.late_after, Span::duration),
        dead_after: written.dead_after.map_or(default.dead_after, Span::duration),
    };
    more_than_zero("heartbeat.interval", heartbeat.interval, mistakes);
    let interval = ("heartbeat.interval", heartbeat.interval);
    let late_after = ("heartbeat.late_after", heartbeat.late_after);
    let dead_after = ("heartbeat.dead_after", heartbeat.dead_after);
    longer(late_after, interval, mistakes);
    longer(dead_after, late_after, mistakes);
    heartbeat
}

fn keepalive(written: &KeepaliveFile, mistakes: &mut Mistakes) -> Keepalive {
    let default = Keepalive::default();
    let keepalive = Keepalive {
        interval: written.interval.map_or(default.interval, Span::duration),
        timeout: written.timeout.map_or(default.timeout, Span::duration),
    };
    more_than_zero("keepalive.interval", keepalive.interval, mistakes);
    more_than_zero("keepalive.timeout", keepalive.timeout, mistakes);
    keepalive
}

fn more_than_zero(path: &str, duration: Duration, mistakes: &mut Mistakes) {
    if duration.is_zero() {
        mistakes.add(path, "must be more than zero");
    }
}

/// Notes a mistake unless the one is longer than the other.
fn longer(one: (&str, Duration), other: (&str, Duration), mistakes: &mut Mistakes) {
    if one.1 > other.1 || mistakes.touch(one.0) || mistakes.touch(other.0) {
        return;
    }
    let (span, span_of_other) = (Span::from(one.1), Span::from(other.1));
    let text = format_args!("{span} must be longer than {} ({span_of_other})", other.0);
    mistakes.add(one.0, text);
}

fn level(written: Option<Level>) -> LevelFilter {
    match written {
        Some(Level::Error) => LevelFilter::Error,
        Some(Level::Warn) => LevelFilter::Warn,
        Some(Level::Info) | None => LevelFilter::Info,
        Some(Level::Debug) => LevelFilter::Debug,
        Some(Level::Trace) => LevelFilter::Trace,
    }
}

fn access_log(written: &LogFile, mistakes: &mut Mistakes) -> AccessLog {
    let default = AccessLog::default();
    let max = written.access_per_second_max.map_or(default.lines_per_second_max, |max| max.0);
    if max == 0 {
        mistakes.add("log.access_per_second_max", "must be more than zero");
    }
    let form = match written.access {
        Some(Access::Off) | None => Form::Off,
        Some(Access::Json) => Form::Json,
        Some(Access::Text) => Form::Text,
    };
    AccessLog { form, lines_per_second_max: max }
}

/// A gateway that others can reach must have keys of its own: one made for the run would be known
/// to nobody, and a gateway without any must not be open.
fn check_someone_gets_in(config: &Config, mistakes: &mut Mistakes) {
    let is_mistaken = [KEY_VARIABLE, "keys", "listeners", "callers.require_key"]
        .iter()
        .any(|path| mistakes.touch(path));
    if !config.keys.is_empty() || is_mistaken {
        return;
    }
    let mut listeners = config.listeners.iter();
    let asks_for_key = |listener: &&Listener| {
        !listener.is_loopback()
            && (listener.tunnels || listener.callers && config.require_caller_key)
    };
    if let Some(listener) = listeners.find(asks_for_key) {
        let address = listener.address;
        let text = format_args!(
            "there is no key, and {address} is open to other machines; run `adit key new`"
        );
        mistakes.add("keys", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::grpc::affinity::Affinities;
    use crate::tunnel::limits::Limits;
    use crate::tunnel::topic::history::Keep;

    const KEY: &str = "plain-key-with-more-than-32-bytes-0001";

    #[test]
    fn an_empty_file_is_the_documented_defaults() {
        let config = parse("{}", &Environment::default()).unwrap();
        assert_eq!(config.listeners, [Listener::default()]);
        assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:50051");
        assert!(config.needs_key_for_run() && !config.require_caller_key);
        assert_eq!(config.routing, Routing::default());
        assert_eq!(config.affinities, Affinities::default());
        assert_eq!(config.heartbeat, Patience::default());
        assert_eq!(config.keepalive, Keepalive::default());
        assert_eq!(config.connection_age, ConnectionAge::default());
        assert_eq!(config.drain_grace, Duration::from_secs(30));
        assert!(!config.deduplicate_events && config.keep_events.is_none());
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.log_level, LevelFilter::Info);
        assert_eq!(config.access_log, AccessLog::default());
        assert!(config.request_ids);
    }

    #[test]
    fn every_section_is_used() {
        let text = r#"{
        "listeners": [
            { "address": "0.0.0.0:443", "serves": ["callers"] },
            { "address": "10.0.0.1:50051", "serves": ["tunnels"] }
        ],
        "workers": 2,
        "keys": [ { "id": "edge", "key_env": "EDGE_KEY", "register": ["*"] } ],
        "callers": { "require_key": false, "request_id": false, "connection_age_max": "0s", "connection_age_grace": "9s" },
        "routing": {
            "match_unqualified": false, "startup_grace": "1s", "name_retention": "2m",
            "wait_for_tunnel": "9s",
            "services": [ { "name": "chat.Room", "affinity": { "metadata": "x-room" } } ]
        },
        "heartbeat": { "interval": "3s", "late_after": "4s", "dead_after": "5s" },
        "keepalive": { "interval": "6s", "timeout": "7s" },
        "drain": { "grace": "0s" },
        "events": { "deduplicate": true, "keep_events": 9 },
        "limits": { "calls_max": 8 },
        "log": { "level": "trace", "access": "json", "access_per_second_max": 5 }
    }"#;
        let config = parse(text, &Environment::from_iter([("EDGE_KEY", KEY)])).unwrap();
        let seconds = Duration::from_secs;
        assert_eq!(config.listeners.len(), 2);
        assert_eq!(config.workers.get(), 2);
        assert!(!config.needs_key_for_run() && !config.require_caller_key);
        let routing = Routing {
            match_unqualified: false,
            startup_grace: seconds(1),
            name_retention: seconds(120),
            wait_for_tunnel: seconds(9),
        };
        assert_eq!(config.routing, routing);
        assert_eq!(config.affinities.exact_names().collect::<Vec<_>>(), ["chat.Room"]);
        let heartbeat =
            Patience { interval: seconds(3), late_after: seconds(4), dead_after: seconds(5) };
        assert_eq!(config.heartbeat, heartbeat);
        assert_eq!(config.keepalive, Keepalive { interval: seconds(6), timeout: seconds(7) });
        let age = ConnectionAge { max: Duration::ZERO, grace: seconds(9) };
        assert_eq!(config.connection_age, age);
        assert_eq!(config.drain_grace, Duration::ZERO);
        assert!(config.deduplicate_events);
        assert_eq!(config.keep_events, Some(Keep { events_max: 9, ..events::KEEP }));
        assert_eq!(config.limits, Limits { calls_max: 8, ..Limits::default() });
        assert_eq!(config.log_level, LevelFilter::Trace);
        let access_log = AccessLog { form: Form::Json, lines_per_second_max: 5 };
        assert_eq!(config.access_log, access_log);
        assert!(!config.request_ids);
    }

    #[test]
    fn mistakes_of_every_kind_are_reported_at_once() {
        let text = r#"{
        "listeners": [ { "address": "nowhere" } ],
        "workers": 257,
        "keys": [ { "id": "a", "sha256": "12" } ],
        "heartbeat": { "interval": "5 m", "dead_after": "50s" },
        "keepalive": { "timeout": "0s" },
        "limits": { "calls_max": 0, "calls_mux": 1, "register_timeout": 5 },
        "log": { "level": "off", "access_per_second_max": 0 }
    }"#;
        let mistakes = mistakes(text);
        let starts = [
            "heartbeat.interval: \"5 m\" is not a duration",
            "limits.register_timeout: 5 has no unit",
            "log.level: unknown variant `off`",
            "limits.calls_mux: unknown field; did you mean `calls_max`?",
            "listeners[0].address: must be",
            "limits.calls_max: must be more than zero",
            "workers: must be 1 to 256",
            "keys[0].sha256: must be the 64 hex digits",
            "heartbeat.dead_after: 50s must be longer than heartbeat.late_after (1m)",
            "keepalive.timeout: must be more than zero",
            "log.access_per_second_max: must be more than zero",
        ];
        assert_eq!(mistakes.len(), starts.len(), "{mistakes:#?}");
        for (mistake, start) in mistakes.iter().zip(starts) {
            assert!(mistake.starts_with(start), "{mistake} does not start with {start}");
        }
    }

    #[test]
    fn heartbeat_times_must_grow() {
        let of = |times: &str| mistakes(&format!(r#"{{"heartbeat": {{{times}}}}}"#));
        assert_eq!(
            of(r#""interval": "60s""#),
            ["heartbeat.late_after: 1m must be longer than heartbeat.interval (1m)"]
        );
        assert_eq!(
            of(r#""dead_after": "60s""#),
            ["heartbeat.dead_after: 1m must be longer than heartbeat.late_after (1m)"]
        );
        assert_eq!(of(r#""interval": "0s""#), ["heartbeat.interval: must be more than zero"]);
    }

    #[test]
    fn callers_need_a_key_where_other_machines_can_call() {
        let required = |listeners: &str| {
            let text = format!(r#"{{"listeners": [{listeners}]}}"#);
            parse(&text, &one_key()).unwrap().require_caller_key
        };
        let tunnels = r#"{"address": "0.0.0.0:1", "serves": ["tunnels"]}"#;
        assert!(!required(&format!(r#"{tunnels}, {{"address": "127.0.0.1:2"}}"#)));
        assert!(!required(r#"{"address": "[::1]:2"}"#));
        assert!(required(&format!(r#"{tunnels}, {{"address": "10.0.0.1:2"}}"#)));
        assert!(required(r#"{"address": "127.0.0.1:2"}, {"address": "[::]:3"}"#));
    }

    #[test]
    fn without_a_key_only_loopback_is_opened() {
        let refused = |text: &str| {
            let found = parse(text, &Environment::default()).err().map(|error| error.to_string());
            found.is_some_and(|text| text.starts_with("keys: ") && text.contains("adit key new"))
        };
        assert!(refused(r#"{"listeners": [{"address": "0.0.0.0:1"}]}"#));
        assert!(refused(
            r#"{"listeners": [{"address": "127.0.0.1:1"},
                          {"address": "[::]:2", "serves": ["tunnels"]}]}"#
        ));
        let callers_outside = |callers: &str| {
            format!(
                r#"{{"listeners": [{{"address": "127.0.0.1:1"}},
                               {{"address": "0.0.0.0:2", "serves": ["callers"]}}] {callers} }}"#
            )
        };
        assert!(refused(&callers_outside("")), "nobody could know the key they would need");
        let open = callers_outside(r#", "callers": {"require_key": false}"#);
        assert!(parse(&open, &Environment::default()).unwrap().needs_key_for_run());
        assert!(parse(r#"{"listeners": [{"address": "0.0.0.0:1"}]}"#, &one_key()).is_ok());
    }

    #[test]
    fn a_mistaken_key_is_not_called_a_missing_one() {
        let text =
            r#"{"listeners": [{"address": "0.0.0.0:1"}], "keys": [{"id": "a", "sha256": 1}]}"#;
        let mistakes = mistakes(text);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", parse("{}", &one_key()).unwrap());
        assert!(shown.contains(r#"Keyring(["env"])"#) && !shown.contains(KEY), "{shown}");
    }

    fn mistakes(text: &str) -> Vec<String> {
        let error = parse(text, &Environment::default()).unwrap_err();
        error.to_string().lines().map(str::to_owned).collect()
    }

    fn one_key() -> Environment {
        Environment::from_iter([(KEY_VARIABLE, KEY)])
    }
}
