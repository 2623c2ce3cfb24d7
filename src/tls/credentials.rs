//! What a listener shows and asks for now: read again when its files change.
//!
//! The files are looked at from time to time, which sees what is written in place, moved into place,
//! or reached by a link that is set anew, and needs nothing from the file system. Whoever writes them
//! cannot change two at once, so a pair that does not fit is expected for a moment: what was good
//! before stays in use, and the files are tried until they are good again.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_rustls::rustls::ServerConfig;

use super::files::{self, Loaded, Settings, Unusable, Warning};

/// The credentials of one listener. Clones are the same.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    settings: Settings,
    warnings: Vec<Warning>,
    /// Held for no longer than it takes to copy it: whoever accepts waits for it.
    server: Mutex<Arc<ServerConfig>>,
    /// Held while the files are read, so that this happens once at a time.
    seen: Mutex<Seen>,
}

/// What was found when the files were last read.
struct Seen {
    stamps: [Option<Stamp>; 3],
    /// Why they could not be used, if so.
    refusal: Option<String>,
}

/// What is another whenever a file is: where it lies, how long it is, when it last changed in
/// any way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed_at: (i64, i64),
}

/// What came of looking at the files.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    /// They are as they were.
    Same,
    /// New handshakes use what is in them now.
    Renewed(Vec<Warning>),
    /// They cannot be used, for a reason that was not told yet.
    Refused(String),
    /// They still cannot be used.
    StillRefused,
}

impl Credentials {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// Every file that cannot be used.
    pub fn load(settings: Settings) -> Result<Self, Vec<Unusable>> {
        let stamps = stamps(&settings);
        let Loaded { server, warnings } = files::load(&settings)?;
        let seen = Mutex::new(Seen { stamps, refusal: None });
        Ok(Self(Arc::new(Inner { settings, warnings, server: Mutex::new(server), seen })))
    }

    /// What somebody should have looked at when the files were read for the first time.
    pub fn warnings(&self) -> &[Warning] {
        &self.0.warnings
    }

    /// Where they come from.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Whether clients must show a certificate.
    pub fn asks_clients(&self) -> bool {
        self.0.settings.client_ca.is_some()
    }

    /// What a new handshake is done with.
    pub fn server(&self) -> Arc<ServerConfig> {
        lock(&self.0.server).clone()
    }

    /// Reads the files again if they have changed or were not good, and says in the log what came of
    /// it. May wait for the disk.
    pub fn look(&self) {
        self.tell(self.looked());
    }

    /// Looks at the files from time to time, until it is dropped.
    pub async fn follow(self) {
        loop {
            tokio::time::sleep(self.0.settings.reload_interval).await;
            let credentials = self.clone();
            // The files may be on a slow disk, and the sockets are accepted on this thread.
            let looked = tokio::task::spawn_blocking(move || credentials.look());
            if let Err(error) = looked.await {
                log::error!("certificate not looked at: {self:?} cause={error}");
            }
        }
    }

    fn looked(&self) -> Look {
        let Inner { settings, server, seen, .. } = &*self.0;
        let mut seen = lock(seen);
        // Before they are read: what changes meanwhile is then seen the next time.
        let stamps = stamps(settings);
        if stamps == seen.stamps && seen.refusal.is_none() {
            return Look::Same;
        }
        seen.stamps = stamps;
        match files::load(settings) {
            Ok(loaded) => {
                seen.refusal = None;
                *lock(server) = loaded.server;
                Look::Renewed(loaded.warnings)
            }
            Err(unusable) => {
                let reasons: Vec<String> = unusable.iter().map(ToString::to_string).collect();
                let refusal = reasons.join("; ");
                if seen.refusal.as_ref() == Some(&refusal) {
                    return Look::StillRefused;
                }
                seen.refusal = Some(refusal.clone());
                Look::Refused(refusal)
            }
        }
    }

    fn tell(&self, look: Look) {
        match look {
            Look::Same | Look::StillRefused => {}
            Look::Renewed(warnings) => {
                log::info!("certificate renewed: {self:?}");
                for warning in warnings {
                    log::warn!("{warning}");
                }
            }
            Look::Refused(cause) => {
                log::warn!(
                    "certificate not renewed, the earlier one stays: {self:?} cause={cause}"
                );
            }
        }
    }
}

/// What is behind these locks is replaced as a whole, so a panic leaves it usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stamps(settings: &Settings) -> [Option<Stamp>; 3] {
    let Settings { certificate, key, client_ca, .. } = settings;
    [Some(certificate), Some(key), client_ca.as_ref()].map(|path| stamp(path?))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let of = fs::metadata(path).ok()?;
    let changed_at = (of.ctime(), of.ctime_nsec());
    Some(Stamp { device: of.dev(), inode: of.ino(), bytes: of.len(), changed_at })
}

/// Those from the same files are the same.
impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.0.settings == other.0.settings
    }
}

impl Eq for Credentials {}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file={}", self.0.settings.certificate.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Folder, Pair, self_signed};

    #[test]
    fn files_that_did_not_change_are_not_read_again() {
        let (_folder, credentials) = loaded();
        let before = credentials.server();
        assert_eq!(credentials.looked(), Look::Same);
        assert!(Arc::ptr_eq(&before, &credentials.server()));
    }

    #[test]
    fn a_new_pair_is_used_and_half_of_one_is_refused_once_and_waited_for() {
        let (folder, credentials) = loaded();
        let before = credentials.server();
        let Pair { certificate, key } = self_signed("other");

        folder.write("tls.crt", &certificate[..100]);
        assert!(matches!(credentials.looked(), Look::Refused(why) if why.contains("broken")));
        assert_eq!(credentials.looked(), Look::StillRefused);
        folder.write("tls.crt", &certificate);
        assert!(matches!(credentials.looked(), Look::Refused(why) if why.contains("match")));
        assert_eq!(credentials.looked(), Look::StillRefused);
        assert!(Arc::ptr_eq(&before, &credentials.server()), "the earlier pair stays");

        folder.write("tls.key", &key);
        assert_eq!(credentials.looked(), Look::Renewed(Vec::new()));
        assert!(!Arc::ptr_eq(&before, &credentials.server()));
        assert_eq!(credentials.looked(), Look::Same);
    }

    #[test]
    fn a_file_that_goes_is_missed_once_and_welcome_back_with_what_it_had() {
        let (folder, credentials) = loaded();
        let text = fs::read_to_string(folder.path("tls.key")).unwrap();
        fs::remove_file(folder.path("tls.key")).unwrap();
        assert!(matches!(credentials.looked(), Look::Refused(_)));
        assert_eq!(credentials.looked(), Look::StillRefused);
        folder.write("tls.key", &text);
        assert!(matches!(credentials.looked(), Look::Renewed(_)));
    }

    /// The way of volumes that an orchestrator mounts: a link to a folder is set anew.
    #[test]
    fn a_link_that_leads_elsewhere_is_a_change() {
        use std::os::unix::fs::symlink;

        let folder = Folder::new();
        for (name, pair) in [("one", self_signed("one")), ("two", self_signed("two"))] {
            fs::create_dir(folder.path(name)).unwrap();
            folder.write(&format!("{name}/tls.crt"), &pair.certificate);
            folder.write(&format!("{name}/tls.key"), &pair.key);
        }
        symlink("one", folder.path("now")).unwrap();
        symlink("now/tls.crt", folder.path("tls.crt")).unwrap();
        symlink("now/tls.key", folder.path("tls.key")).unwrap();
        let credentials = Credentials::load(folder.settings_without_files()).unwrap();
        assert_eq!(credentials.looked(), Look::Same);
        symlink("two", folder.path("next")).unwrap();
        fs::rename(folder.path("next"), folder.path("now")).unwrap();
        assert!(matches!(credentials.looked(), Look::Renewed(_)));
    }

    #[test]
    fn other_client_cas_are_a_change_too() {
        let folder = Folder::new();
        let mut settings = folder.settings(&self_signed("localhost"));
        folder.write("ca.pem", &self_signed("ca").certificate);
        settings.client_ca = Some(folder.path("ca.pem"));
        let credentials = Credentials::load(settings).unwrap();
        assert!(credentials.asks_clients());
        folder.write("ca.pem", &self_signed("another ca").certificate);
        assert_eq!(credentials.looked(), Look::Renewed(Vec::new()));
    }

    fn loaded() -> (Folder, Credentials) {
        let folder = Folder::new();
        let credentials = Credentials::load(folder.settings(&self_signed("localhost"))).unwrap();
        (folder, credentials)
    }
}
