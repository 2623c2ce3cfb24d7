//! The configuration as used: made from the file as written and the environment, or refused with
//! everything that is wrong with them.

mod draft;
mod environment;
mod events;
mod explained;
mod file;
mod json;
mod keys;
mod limits;
mod listeners;
mod metrics;
mod mistakes;
mod moment;
mod patterns;
mod reading;
pub mod reference;
mod renamed;
pub mod schema;
mod services;
mod shapes;
mod steps;
mod suggest;
#[cfg(test)]
mod tests;
mod text;
mod tls;
pub mod units;
mod variables;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;
use serde_json::Value;

pub use environment::Environment;
pub use explained::{Explained, Source};
pub use keys::{ID_RULE, KEY_VARIABLE, KEY_VARIABLE_ID, is_id};
pub use mistakes::Mistake;

use crate::admin::Settings as MetricsSettings;
use crate::auth::Keyring;
use crate::grpc::affinity::Affinities;
use crate::grpc::age::ConnectionAge;
use crate::grpc::keepalive::Keepalive;
use crate::observe::log::access::AccessLog;
use crate::tls::credentials::Credentials;
use crate::tunnel::directory::Routing;
use crate::tunnel::limits::Limits;
use crate::tunnel::liveness::Patience;
use crate::tunnel::topic::history::Keep;
use draft::Draft;
use mistakes::Mistakes;

/// Mistakes that one line of the log has room for.
const TOLD_IN_A_LINE_MAX: usize = 5;

/// gRPC's registered port is 50051.
const PORT: u16 = 50051;

/// Everything the gateway can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens. At least one serves callers and at least one serves tunnels.
    pub listeners: Vec<Listener>,
    /// Threads that carry tunnels and calls.
    pub workers: NonZeroUsize,
    /// Who may open tunnels, and call if callers need a key.
    pub keys: Keyring,
    /// Callers must present a key too.
    pub require_caller_key: bool,
    /// Calls are named by `x-request-id`.
    pub request_ids: bool,
    /// How old the connections of callers get.
    pub connection_age: ConnectionAge,
    /// How calls find their tunnels.
    pub routing: Routing,
    /// Which calls go to the same tunnel.
    pub affinities: Affinities,
    /// How long a tunnel may be silent.
    pub heartbeat: Patience,
    /// HTTP/2 pings.
    pub keepalive: Keepalive,
    /// How long calls in flight may go on after the gateway was told to stop.
    pub drain_grace: Duration,
    /// Events that come twice are delivered once.
    pub deduplicate_events: bool,
    /// Events that are kept for who comes back, if any are.
    pub keep_events: Option<Keep>,
    /// How much of everything it holds.
    pub limits: Limits,
    /// Where it can be watched.
    pub metrics: MetricsSettings,
    /// How much it logs.
    pub log_level: LevelFilter,
    /// How it logs calls.
    pub access_log: AccessLog,
    /// What is no mistake and yet probably a slip, to be told once.
    pub warnings: Vec<Mistake>,
    /// All of it as a file would say it, secrets as stars.
    pub shown: Value,
}

/// One address that the gateway listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "switches that do not depend on each other")]
pub struct Listener {
    /// The address. Port 0 is any free port.
    pub address: SocketAddr,
    /// Callers may call here.
    pub callers: bool,
    /// Services may open tunnels here.
    pub tunnels: bool,
    /// Callers may ask here how services fare.
    pub health: bool,
    /// Callers may ask here which services there are and what they look like.
    pub reflection: bool,
    /// Callers may publish and subscribe here.
    pub events: bool,
    /// What it shows and asks for, if it speaks TLS.
    pub tls: Option<Credentials>,
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file could not be read.
    Read {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file or the environment is wrong. Has every mistake, at least one.
    Mistakes(Vec<Mistake>),
}

/// Reads the configuration from a file.
///
/// # Errors
///
/// Fails if the file cannot be read, and with every mistake there is in it and in the environment.
pub fn load(path: &Path, environment: &Environment) -> Result<Explained, ConfigError> {
    load_beside(path, environment, &[])
}

/// The same while these certificates are in use: their files are not read again.
///
/// # Errors
///
/// As [`load`].
pub fn load_beside(
    path: &Path,
    environment: &Environment,
    known: &[Credentials],
) -> Result<Explained, ConfigError> {
    let text = text::read(path);
    let text = text.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let mut mistakes = Mistakes::default();
    match mistakes.note("", text) {
        Some(text) => explain_beside(&text, environment, known),
        None => Err(ConfigError::Mistakes(mistakes.into_list())),
    }
}

/// Reads the configuration from a text. `{}` is the configuration of defaults.
///
/// # Errors
///
/// Fails with every mistake there is in the text and in the environment.
pub fn parse(text: &str, environment: &Environment) -> Result<Config, ConfigError> {
    explain(text, environment).map(|explained| explained.config)
}

/// Reads the configuration from a text, and remembers what each value comes from: the environment
/// goes before the file, the file before the defaults.
///
/// # Errors
///
/// As [`parse`].
pub fn explain(text: &str, environment: &Environment) -> Result<Explained, ConfigError> {
    explain_beside(text, environment, &[])
}

fn explain_beside(
    text: &str,
    environment: &Environment,
    known: &[Credentials],
) -> Result<Explained, ConfigError> {
    let mut mistakes = Mistakes::default();
    let Some(mut written) = json::read(text, &mut mistakes) else {
        return Err(ConfigError::Mistakes(mistakes.into_list()));
    };
    renamed::rename(schema::whole(), &mut written, &[], &mut mistakes);
    let variables = variables::lay_over(&mut written, environment, &mut mistakes);
    let warnings = variables::unknown(&written, environment, &variables);
    match reading::read(&mut written, &mut mistakes) {
        Some(file) => {
            let config = Draft { file, environment, mistakes, warnings, known }.try_into()?;
            let mut explained = Explained { config, written, variables };
            explained.config.shown = explained.effective();
            Ok(explained)
        }
        None => Err(ConfigError::Mistakes(mistakes.into_list())),
    }
}

impl Config {
    /// Whether no key is configured, so that the gateway must make one for this run. Only said of
    /// a gateway whose keys are asked for on loopback alone.
    pub fn needs_key_for_run(&self) -> bool {
        self.keys.is_empty()
    }

    /// This configuration with what `next` changes in it, as far as that goes without a restart; and
    /// the names of the parts that need one.
    ///
    /// # Errors
    ///
    /// If the two do not go together: a key may ask for what only a new listener would have.
    pub fn changed_to(&self, next: Self) -> Result<(Self, Vec<&'static str>), ConfigError> {
        let restart = self.needs_restart(&next);
        let Self { keys, limits, log_level, access_log, routing, affinities, .. } = next;
        let Self { drain_grace, warnings, mut shown, .. } = next;
        for part in &restart {
            put_back(&mut shown, &self.shown, part);
        }
        let mut changed = Self {
            keys,
            routing,
            affinities,
            drain_grace,
            limits,
            log_level,
            access_log,
            warnings,
            shown,
            ..self.clone()
        };
        let mut mistakes = Mistakes::default();
        draft::check_across(&changed, &mut mistakes);
        mistakes.none_or(()).map_err(ConfigError::Mistakes)?;
        // What is counted under the old keys goes on under the new ones, with their limits.
        changed.keys = changed.keys.in_place_of(&self.keys);
        Ok((changed, restart))
    }

    /// Each limit with its name, as a number: things, bytes or seconds, as the name says.
    pub fn limits_in_numbers(&self) -> Vec<(&'static str, f64)> {
        limits::numbers(&self.limits)
    }

    fn needs_restart(&self, next: &Self) -> Vec<&'static str> {
        let parts = [
            ("listeners", self.listeners == next.listeners),
            ("workers", self.workers == next.workers),
            ("callers.require_key", self.require_caller_key == next.require_caller_key),
            ("callers.request_id", self.request_ids == next.request_ids),
            ("callers.connection_age", self.connection_age == next.connection_age),
            ("heartbeat", self.heartbeat == next.heartbeat),
            ("keepalive", self.keepalive == next.keepalive),
            ("events.deduplicate", self.deduplicate_events == next.deduplicate_events),
            ("events.keep", self.keep_events == next.keep_events),
            ("metrics", self.metrics == next.metrics),
        ];
        parts.into_iter().filter(|(_, same)| !same).map(|(part, _)| part).collect()
    }
}

/// Shows a part that needs a restart as it still is: a section, or the fields of one whose names begin
/// so.
fn put_back(shown: &mut Value, before: &Value, part: &str) {
    let Some((section, field)) = part.split_once('.') else {
        shown[part] = before[part].clone();
        return;
    };
    for (name, value) in before[section].as_object().into_iter().flatten() {
        if name.starts_with(field) {
            shown[section][name] = value.clone();
        }
    }
}

impl Listener {
    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}

impl Default for Listener {
    fn default() -> Self {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);
        Self {
            address,
            callers: true,
            tunnels: true,
            health: true,
            reflection: true,
            events: true,
            tls: None,
        }
    }
}

impl ConfigError {
    /// What is wrong, in one line: the first mistakes, and how many more there are.
    pub fn in_a_line(&self) -> String {
        match self {
            Self::Mistakes(mistakes) => {
                let told: Vec<String> =
                    mistakes.iter().take(TOLD_IN_A_LINE_MAX).map(ToString::to_string).collect();
                match mistakes.len().saturating_sub(TOLD_IN_A_LINE_MAX) {
                    0 => told.join("; "),
                    more => format!("{}; {more} more, see `adit check`", told.join("; ")),
                }
            }
            Self::Read { .. } => self.to_string(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Mistakes(mistakes) => {
                let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Mistakes(_) => None,
        }
    }
}
