//! The configuration as used: made from the file as written and the environment, or refused with
//! everything that is wrong with them.

mod draft;
mod file;
mod json;
mod keys;
mod limits;
mod listeners;
mod mistakes;
mod moment;
mod shapes;
mod suggest;
mod tls;
pub mod units;

use std::fmt;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;

pub use keys::{KEY_VARIABLE, KEY_VARIABLE_ID};
pub use mistakes::Mistake;

use crate::auth::Keyring;
use crate::grpc::age::ConnectionAge;
use crate::grpc::keepalive::Keepalive;
use crate::tls::credentials::Credentials;
use crate::tunnel::directory::Routing;
use crate::tunnel::limits::Limits;
use crate::tunnel::liveness::Patience;
use draft::Draft;
use mistakes::Mistakes;

/// Where environment variables come from, so that tests need not touch the process's own.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// A file with more bytes is not a configuration: this has room for thousands of keys.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

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
    /// How old the connections of callers get.
    pub connection_age: ConnectionAge,
    /// How calls find their tunnels.
    pub routing: Routing,
    /// How long a tunnel may be silent.
    pub heartbeat: Patience,
    /// HTTP/2 pings.
    pub keepalive: Keepalive,
    /// How long calls in flight may go on after the gateway was told to stop.
    pub drain_grace: Duration,
    /// How much of everything it holds.
    pub limits: Limits,
    /// How much it logs.
    pub log_level: LevelFilter,
}

/// One address that the gateway listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address. Port 0 is any free port.
    pub address: SocketAddr,
    /// Callers may call here.
    pub callers: bool,
    /// Services may open tunnels here.
    pub tunnels: bool,
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
/// Fails if the file cannot be read, and with every mistake there is in it.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Config, ConfigError> {
    let text = read_text(path);
    let text = text.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, environment)
}

/// Reads the configuration from a text. `{}` is the configuration of defaults.
///
/// # Errors
///
/// Fails with every mistake there is in the text and in the environment.
pub fn parse(text: &str, environment: Environment<'_>) -> Result<Config, ConfigError> {
    let mut mistakes = Mistakes::default();
    match file::read(text, &mut mistakes) {
        Some(file) => Draft { file, environment, mistakes }.try_into(),
        None => Err(ConfigError::Mistakes(mistakes.into_list())),
    }
}

/// The process's own environment. A value that is not Unicode comes with replacement characters:
/// as a key it is then refused, where it must not be taken for absent.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// At most one byte more than allowed is read, so that a device in the file's place does no harm.
fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

impl Config {
    /// Whether no key is configured, so that the gateway must make one for this run. Only said of
    /// a gateway whose keys are asked for on loopback alone.
    pub fn needs_key_for_run(&self) -> bool {
        self.keys.is_empty()
    }

    /// The parts in which `next` differs and which only a restart changes.
    pub fn needs_restart(&self, next: &Self) -> Vec<&'static str> {
        let parts = [
            ("listeners", self.listeners == next.listeners),
            ("workers", self.workers == next.workers),
            ("callers.require_key", self.require_caller_key == next.require_caller_key),
            ("callers.connection_age", self.connection_age == next.connection_age),
            ("heartbeat", self.heartbeat == next.heartbeat),
            ("keepalive", self.keepalive == next.keepalive),
        ];
        parts.into_iter().filter(|(_, same)| !same).map(|(part, _)| part).collect()
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
        Self { address, callers: true, tunnels: true, tls: None }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load(Path::new("/nowhere/adit.json"), &|_| None).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /nowhere/adit.json: "), "{error}");
    }

    #[test]
    fn a_file_without_an_end_is_not_read_to_it() {
        let error = load(Path::new("/dev/zero"), &|_| None).unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }), "{error}");
    }
}
