//! Reads the configuration again when its file changes or SIGHUP asks.
//!
//! The file is looked at, not watched: that works on every file system and through the symbolic
//! links that orchestrators swap.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::auth::KeyGrant;
use crate::auth::key::ApiKey;
use crate::config::{self, Config, ConfigError, Environment};
use crate::observe::tally::{Count, count};

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
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    /// Made for this run when no key was configured.
    run_key: Option<ApiKey>,
}

/// What tells one version of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    file: u64,
}

impl Source {
    /// A file.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), run_key: None }
    }

    /// Reads it. Without any key nobody could open a tunnel: the key of the run is added then.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, and with every mistake in it.
    pub fn read(&self) -> Result<Config, ConfigError> {
        let mut config = config::load(&self.path, &Environment::of_process())?.config;
        if let Some(key) = self.run_key.as_ref().filter(|_| config.needs_key_for_run()) {
            let grant = Arc::new(KeyGrant::unlimited(RUN_KEY_ID));
            // The ring is empty, and a made key is no sample.
            let _ = config.keys.add(key.digest(), &grant, None);
        }
        Ok(config)
    }

    /// Gives a key to a configuration that has none, now and when it is read again.
    #[must_use]
    pub fn with_run_key(self, key: ApiKey) -> Self {
        Self { run_key: Some(key), ..self }
    }

    /// The key made for this run.
    pub fn run_key(&self) -> Option<&ApiKey> {
        self.run_key.as_ref()
    }

    /// Starts to look at the file, and to wait for SIGHUP.
    ///
    /// # Errors
    ///
    /// If the operating system takes no handler for the signal.
    pub fn watch(self) -> std::io::Result<Reloads> {
        let hang_up = signal(SignalKind::hangup())?;
        let (changed, reloads) = mpsc::channel(WAITING_MAX);
        tokio::task::spawn_local(self.look(hang_up, changed));
        Ok(reloads)
    }

    async fn look(self, mut hang_up: Signal, changed: mpsc::Sender<Box<Config>>) {
        let mut read = self.stamp();
        let mut before = read.clone();
        // What was wrong with the file, and may be mended in a file that it names.
        let mut mistakes: Option<String> = None;
        loop {
            let asked = tokio::select! {
                _ = hang_up.recv() => true,
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
            };
            let now = self.stamp();
            let settled = now.is_some() && now == before && (now != read || mistakes.is_some());
            before = now;
            if asked || settled {
                let is_new = asked || read != before;
                read.clone_from(&before);
                match self.read() {
                    Ok(config) => {
                        mistakes = None;
                        if changed.send(Box::new(config)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        let told = mistakes.replace(error.to_string());
                        if is_new || told != mistakes {
                            self.refuse(&error);
                        }
                    }
                }
            }
        }
    }

    fn refuse(&self, error: &ConfigError) {
        count(Count::ConfigRefused);
        let (file, cause) = (self.path.display(), error.to_string().replace('\n', "; "));
        log::error!("configuration refused, the old one stays: file={file} cause={cause}");
    }

    /// The version of the file that is there now; nothing while there is none.
    fn stamp(&self) -> Option<Stamp> {
        std::fs::metadata(&self.path).ok().map(|metadata| Stamp {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            file: file_number(&metadata),
        })
    }
}

fn file_number(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}
