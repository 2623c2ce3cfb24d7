//! A listener's certificate, key and client CA: read from their files and fitted together.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use webpki::{EndEntityCert, KeyUsage};

/// The only protocol that is spoken after a handshake (RFC 9113 section 3.2).
pub const PROTOCOL: &[u8] = b"h2";

/// A file with more bytes holds something else: this has room for a bundle of all public CAs.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Others than the owner of the key's file.
const MODE_OF_OTHERS: u32 = 0o077;

/// The files of a listener. Relative paths are relative to the working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The listener's certificate in PEM, then those between it and the CA.
    pub certificate: PathBuf,
    /// The certificate's private key in PEM, not encrypted.
    pub key: PathBuf,
    /// The CAs in PEM, one of which must have signed the certificate that a client must show. With
    /// none, clients are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// How often to look whether a file has changed. More than zero.
    pub reload_interval: Duration,
}

/// What the files hold.
#[derive(Debug)]
pub struct Loaded {
    /// What handshakes are done with.
    pub server: Arc<ServerConfig>,
    /// What somebody should look at soon.
    pub warnings: Vec<Warning>,
}

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The certificate.
    Certificate,
    /// Its key.
    Key,
    /// Who signs clients' certificates.
    ClientCa,
}

/// A file that cannot be used.
#[derive(Debug)]
pub struct Unusable {
    /// Which one of the three.
    pub which: Which,
    /// Where it should be.
    pub path: PathBuf,
    /// Why.
    pub problem: Problem,
}

/// Why a file cannot be used. None of them quotes what is in the file.
#[derive(Debug)]
pub enum Problem {
    /// It cannot be read.
    Read(io::Error),
    /// It is a folder, a device or the like.
    NotAFile,
    /// It has more bytes than certificates need.
    TooLarge,
    /// It is not PEM throughout.
    BadPem,
    /// There is no certificate in it.
    NoCertificate,
    /// A certificate in it cannot be read.
    BadCertificate,
    /// There is no key in it.
    NoKey,
    /// The key is of a kind that cannot be used, or broken.
    BadKey,
    /// The key is of another certificate.
    OtherKey,
}

/// What does not keep a file from being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Clients will refuse the certificate: it has expired.
    Expired(PathBuf),
    /// Clients will refuse the certificate: its time has not come.
    NotYetValid(PathBuf),
    /// Others than the owner can read or write the key.
    OpenKey {
        /// The key's file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// Reads the files and fits them together.
///
/// # Errors
///
/// Every file that cannot be used.
pub fn load(settings: &Settings) -> Result<Loaded, Vec<Unusable>> {
    let certificates = certificates(Which::Certificate, &settings.certificate);
    let key = key(&settings.key);
    let client_ca = settings.client_ca.as_deref().map(client_ca).transpose();
    let (certificates, key, client_ca) = match (certificates, key, client_ca) {
        (Ok(certificates), Ok(key), Ok(client_ca)) => (certificates, key, client_ca),
        (certificates, key, client_ca) => {
            let errors = [certificates.err(), key.err(), client_ca.err()];
            return Err(errors.into_iter().flatten().collect());
        }
    };
    let warnings = [date_warning(settings, &certificates), mode_warning(&settings.key)];
    let certified = CertifiedKey::from_der(certificates, key, &ring::default_provider());
    let certified = certified.map_err(|error| vec![unfit(settings, &error)])?;
    let warnings = warnings.into_iter().flatten().collect();
    Ok(Loaded { server: Arc::new(server(certified, client_ca)), warnings })
}

fn server(certified: CertifiedKey, clients: Option<Arc<dyn ClientCertVerifier>>) -> ServerConfig {
    let asks_clients = clients.is_some();
    let clients = clients.unwrap_or_else(WebPkiClientVerifier::no_client_auth);
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    server.alpn_protocols = vec![PROTOCOL.to_vec()];
    if asks_clients {
        // A resumed session is not verified again, and would outlive its certificate.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
    }
    server
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(which: Which, path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let unusable = |problem| Unusable { which, path: path.to_owned(), problem };
    let text = read(path).map_err(unusable)?;
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|_| unusable(Problem::BadPem))?;
    if certificates.is_empty() {
        return Err(unusable(Problem::NoCertificate));
    }
    let read = certificates.iter().try_for_each(|one| EndEntityCert::try_from(one).map(drop));
    read.map_err(|_| unusable(Problem::BadCertificate))?;
    Ok(certificates)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Unusable> {
    let unusable = |problem| Unusable { which: Which::Key, path: path.to_owned(), problem };
    let text = read(path).map_err(unusable)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let is_missing = matches!(error, pem::Error::NoItemsFound);
        unusable(if is_missing { Problem::NoKey } else { Problem::BadPem })
    })
}

fn client_ca(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, Unusable> {
    let which = Which::ClientCa;
    let bad = || Unusable { which, path: path.to_owned(), problem: Problem::BadCertificate };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(which, path)? {
        roots.add(certificate).map_err(|_| bad())?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    verifier.build().map_err(|_| bad())
}

/// Whose fault it is that certificate and key cannot be used together.
fn unfit(settings: &Settings, error: &rustls::Error) -> Unusable {
    let (which, path, problem) = if matches!(error, rustls::Error::InvalidCertificate(_)) {
        (Which::Certificate, &settings.certificate, Problem::BadCertificate)
    } else if matches!(error, rustls::Error::InconsistentKeys(_)) {
        (Which::Key, &settings.key, Problem::OtherKey)
    } else {
        (Which::Key, &settings.key, Problem::BadKey)
    };
    Unusable { which, path: path.clone(), problem }
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    // Looked at before it is opened: opening a pipe would wait for somebody to write into it.
    if !fs::metadata(path).map_err(Problem::Read)?.is_file() {
        return Err(Problem::NotAFile);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Problem::Read)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Problem::Read)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Problem::TooLarge);
    }
    Ok(bytes)
}

/// Dates are the first thing that is looked at in a certificate, so it needs no CA to be found out.
fn date_warning(settings: &Settings, certificates: &[CertificateDer<'static>]) -> Option<Warning> {
    let certificate = EndEntityCert::try_from(certificates.first()?).ok()?;
    let usage = KeyUsage::server_auth();
    let verified = certificate.verify_for_usage(&[], &[], &[], UnixTime::now(), usage, None, None);
    let (error, path) = (verified.err()?, || settings.certificate.clone());
    if matches!(error, webpki::Error::CertExpired { .. }) {
        Some(Warning::Expired(path()))
    } else if matches!(error, webpki::Error::CertNotValidYet { .. }) {
        Some(Warning::NotYetValid(path()))
    } else {
        None
    }
}

fn mode_warning(path: &Path) -> Option<Warning> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & MODE_OF_OTHERS != 0).then(|| Warning::OpenKey { path: path.to_owned(), mode })
}

impl Which {
    /// Its field in the configuration.
    pub fn field(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::ClientCa => "client_ca",
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(source) => write!(f, "the file cannot be read: {source}"),
            Self::NotAFile => f.write_str("is not a file"),
            Self::TooLarge => write!(f, "the file has more than {FILE_BYTES_MAX} bytes"),
            Self::BadPem => f.write_str("the file is not PEM, or broken"),
            Self::NoCertificate => f.write_str(
                "the file has no certificate in it: no line `-----BEGIN CERTIFICATE-----`",
            ),
            Self::BadCertificate => {
                f.write_str("the file has a certificate in it that cannot be read")
            }
            Self::NoKey => f.write_str(
                "the file has no private key in it that can be used; one with a passphrase cannot",
            ),
            Self::BadKey => {
                f.write_str("the key in the file is broken, or neither RSA, ECDSA nor Ed25519")
            }
            Self::OtherKey => f.write_str("the key in the file does not match the certificate"),
        }
    }
}

impl std::error::Error for Unusable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Problem::Read(source) = &self.problem { Some(source) } else { None }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(path) => write!(f, "certificate expired: file={}", path.display()),
            Self::NotYetValid(path) => {
                write!(f, "certificate not valid yet: file={}", path.display())
            }
            Self::OpenKey { path, mode } => {
                write!(f, "key open to others: file={} mode={mode:o}", path.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Folder, self_signed, self_signed_with};

    #[test]
    fn a_certificate_and_its_key_are_taken_for_h2_alone() {
        let folder = Folder::new();
        let settings = folder.settings(&self_signed("localhost"));
        let loaded = load(&settings).unwrap();
        assert_eq!(loaded.server.alpn_protocols, [b"h2"]);
        assert_eq!(loaded.warnings, []);
    }

    #[test]
    fn every_file_that_is_not_there_is_named_at_once() {
        let folder = Folder::new();
        let settings =
            Settings { client_ca: Some(folder.path("ca.pem")), ..folder.settings_without_files() };
        let told = refusal(&settings);
        assert_eq!(told.len(), 3, "{told:?}");
        for (told, file) in told.iter().zip(["tls.crt", "tls.key", "ca.pem"]) {
            assert!(told.contains("cannot be read: ") && told.contains(file), "{told}");
        }
    }

    #[test]
    fn what_is_in_a_file_must_be_what_it_is_for() {
        let folder = Folder::new();
        let pair = self_signed("localhost");
        let settings = folder.settings(&pair);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cases = [
            ("tls.crt", pair.key.as_str(), "has no certificate in it"),
            ("tls.crt", "", "has no certificate in it"),
            ("tls.crt", broken, "has a certificate in it that cannot be read"),
            ("tls.crt", &pair.certificate[..200], "is not PEM, or broken"),
            ("tls.key", &pair.certificate, "has no private key in it"),
            ("tls.key", &pair.key[..60], "is not PEM, or broken"),
            ("tls.key", &self_signed("localhost").key, "does not match the certificate"),
            ("ca.pem", &pair.key, "has no certificate in it"),
        ];
        for (file, text, wanted) in cases {
            folder.settings(&pair);
            folder.write(file, text);
            let client_ca = (file == "ca.pem").then(|| folder.path(file));
            let told = refusal(&Settings { client_ca, ..settings.clone() });
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains(wanted) && told[0].contains(file), "{told:?} not {wanted}");
            assert!(!told[0].contains("MIGHAgEAMBMGByqGSM49"), "{told:?} shows the key");
        }
    }

    #[test]
    fn folders_and_devices_are_no_files() {
        let folder = Folder::new();
        let settings = folder.settings(&self_signed("localhost"));
        for path in ["/", "/dev/zero"] {
            let told = refusal(&Settings { certificate: path.into(), ..settings.clone() });
            assert_eq!(told, [format!("{path}: is not a file")]);
        }
    }

    #[test]
    fn an_expired_certificate_and_an_open_key_are_warned_of() {
        let folder = Folder::new();
        let years = |from, to| {
            self_signed_with(|certificate| {
                certificate.not_before = rcgen::date_time_ymd(from, 1, 1);
                certificate.not_after = rcgen::date_time_ymd(to, 1, 1);
            })
        };
        let warnings = |settings: &Settings| load(settings).unwrap().warnings;

        let settings = folder.settings(&years(2000, 2001));
        assert_eq!(warnings(&settings), [Warning::Expired(folder.path("tls.crt"))]);
        let settings = folder.settings(&years(2400, 2401));
        assert_eq!(warnings(&settings), [Warning::NotYetValid(folder.path("tls.crt"))]);

        let settings = folder.settings(&self_signed("localhost"));
        fs::set_permissions(&settings.key, fs::Permissions::from_mode(0o640)).unwrap();
        let path = folder.path("tls.key");
        assert_eq!(warnings(&settings), [Warning::OpenKey { path, mode: 0o640 }]);
    }

    fn refusal(settings: &Settings) -> Vec<String> {
        load(settings).unwrap_err().iter().map(ToString::to_string).collect()
    }
}
