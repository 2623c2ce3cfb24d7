//! Reads the configuration again when its file changes or SIGHUP asks.
//!
//! The file is looked at, not watched: that works on every file system and through the symbolic
//! links that orchestrators swap.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};

use crate::auth::KeyGrant;
use crate::auth::key::{ApiKey, KeyError};
use crate::config::{self, Config, ConfigError, Environment};
use crate::observe::tally::{Count, count};
use crate::tls::credentials::Credentials;

/// How often the file is looked at. A change counts when it has stayed the same for one more look,
/// so that a file is not read while it is being written: a removed key is gone within five seconds.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Configurations that wait for the gateway: it takes each at once.
const WAITING_MAX: usize = 1;

/// The id of a key that was made because none is configured.
const RUN_KEY_ID: &str = "run";

/// Configurations that take the place of the one in force.
pub type Reloads = mpsc::Receiver<Box<Config>>;

/// Where the configuration comes from.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    /// The version that was read last.
    read: Option<Stamp>,
    /// Made for this run when no key was configured.
    run_key: Option<ApiKey>,
    /// What the listeners show since the first reading. Their files are looked at by themselves: one
    /// that is being renewed keeps nothing else from changing.
    known: Option<Vec<Credentials>>,
}

/// What tells one version of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    file: u64,
}

/// Counts and logs that a configuration was not put in force.
pub fn refused(error: &ConfigError) {
    count(Count::ConfigRefused);
    log::error!("configuration refused, the old one stays: cause={}", error.in_a_line());
}

impl Source {
    /// A file.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), read: None, run_key: None, known: None }
    }

    /// Reads it. Without any key nobody could open a tunnel: the key of the run is added then.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, and with every mistake in it.
    pub fn read(&mut self) -> Result<Config, ConfigError> {
        // Before it is read: what changes meanwhile is then seen the next time.
        self.read = stamp(&self.path);
        let known = self.known.as_deref().unwrap_or_default();
        let environment = Environment::of_process();
        let mut config = config::load_beside(&self.path, &environment, known)?.config;
        let shown =
            || config.listeners.iter().filter_map(|listener| listener.tls.clone()).collect();
        self.known.get_or_insert_with(shown);
        self.add_run_key(&mut config);
        Ok(config)
    }

    /// Makes a key for a configuration that has none, now and when it is read again.
    ///
    /// # Errors
    ///
    /// If the operating system has no random bytes to give.
    pub fn make_run_key(&mut self, config: &mut Config) -> Result<ApiKey, KeyError> {
        let key = ApiKey::generate()?;
        self.run_key = Some(key.clone());
        self.add_run_key(config);
        Ok(key)
    }

    fn add_run_key(&self, config: &mut Config) {
        if let Some(key) = self.run_key.as_ref().filter(|_| config.needs_key_for_run()) {
            let grant = Arc::new(KeyGrant::unlimited(RUN_KEY_ID));
            // The ring is empty, and a made key is no sample.
            let _ = config.keys.add(key.digest(), &grant, None);
        }
    }

    /// Starts to look at the file, and to wait for SIGHUP.
    ///
    /// # Errors
    ///
    /// If the operating system takes no handler for the signal.
    pub fn watch(self) -> io::Result<Reloads> {
        let hang_up = signal(SignalKind::hangup())?;
        let (changed, reloads) = mpsc::channel(WAITING_MAX);
        tokio::task::spawn_local(async move {
            if let Err(error) = self.look(hang_up, changed).await {
                log::error!("configuration not looked at any more: cause={error}");
            }
        });
        Ok(reloads)
    }

    /// The file may be on a slow disk, and sockets are accepted on this thread: it is looked at and
    /// read on others.
    async fn look(
        mut self,
        mut hang_up: Signal,
        changed: mpsc::Sender<Box<Config>>,
    ) -> Result<(), JoinError> {
        let mut before = self.read.clone();
        // What was wrong the last time, and may be mended in a file that this one names.
        let mut wrong: Option<String> = None;
        loop {
            let asked = tokio::select! {
                _ = hang_up.recv() => true,
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
            };
            let path = self.path.clone();
            let now = spawn_blocking(move || stamp(&path)).await?;
            let is_new = now != self.read;
            let settled = now.is_some() && now == before && (is_new || wrong.is_some());
            before.clone_from(&now);
            if !asked && !settled {
                continue;
            }
            let (source, config) = spawn_blocking(move || {
                let config = self.read_again();
                (self, config)
            })
            .await?;
            self = source;
            match config {
                Ok(config) => {
                    wrong = None;
                    if changed.send(Box::new(config)).await.is_err() {
                        return Ok(());
                    }
                }
                Err(error) => {
                    let before = wrong.replace(error.in_a_line());
                    if asked || is_new || before != wrong {
                        refused(&error);
                    }
                }
            }
        }
    }

    /// Reads the file, if it is one: a pipe may be read once, at the start. Whatever is wrong with it,
    /// certificates are looked at.
    fn read_again(&mut self) -> Result<Config, ConfigError> {
        let config = match std::fs::metadata(&self.path) {
            Ok(metadata) if metadata.is_file() => self.read(),
            Ok(_) => Err(self.unread(io::Error::other("it is not a file"))),
            Err(source) => Err(self.unread(source)),
        };
        if config.is_err() {
            self.known.iter().flatten().for_each(Credentials::look);
        }
        config
    }

    fn unread(&self, source: io::Error) -> ConfigError {
        ConfigError::Read { path: self.path.clone(), source }
    }
}

/// The version of the file that is there now; nothing while there is none.
fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok().filter(Metadata::is_file)?;
    Some(Stamp {
        modified: metadata.modified().ok(),
        bytes: metadata.len(),
        file: file_number(&metadata),
    })
}

fn file_number(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}
