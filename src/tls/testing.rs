//! Certificates made for a test, and a folder that ends with it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};

use super::files::Settings;

/// A certificate and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certificate that signs itself.
pub(crate) fn self_signed(name: &str) -> Pair {
    signed(&CertificateParams::new([name.to_owned()]).unwrap())
}

/// The same without a name, changed at will.
pub(crate) fn self_signed_with(change: impl FnOnce(&mut CertificateParams)) -> Pair {
    let mut certificate = CertificateParams::default();
    change(&mut certificate);
    signed(&certificate)
}

fn signed(certificate: &CertificateParams) -> Pair {
    let key = KeyPair::generate().unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// A folder for the files of one listener.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
    }

    /// Writes the pair, the key for its owner only.
    pub(crate) fn settings(&self, pair: &Pair) -> Settings {
        self.write("tls.crt", &pair.certificate);
        self.write("tls.key", &pair.key);
        fs::set_permissions(self.path("tls.key"), fs::Permissions::from_mode(0o600)).unwrap();
        self.settings_without_files()
    }

    pub(crate) fn settings_without_files(&self) -> Settings {
        Settings {
            certificate: self.path("tls.crt"),
            key: self.path("tls.key"),
            client_ca: None,
            reload_interval: Duration::from_secs(5),
        }
    }
}
