//! Certificates made for a test, and the files of a listener.

use std::fs;
use std::path::PathBuf;

use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};

/// Who signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) certificate: String,
}

/// A certificate and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        // Authorities of one name would be taken for one.
        let name = uuid::Uuid::new_v4().to_string();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate for a DNS name.
    pub(crate) fn signs(&self, name: &str) -> Pair {
        self.signs_with(|params| {
            params.subject_alt_names.push(SanType::DnsName(ia5(name)));
        })
    }

    /// A certificate for a URI.
    pub(crate) fn signs_uri(&self, uri: &str) -> Pair {
        self.signs_with(|params| params.subject_alt_names.push(SanType::URI(ia5(uri))))
    }

    /// A certificate for `localhost` that nobody should take any more.
    pub(crate) fn signs_expired(&self) -> Pair {
        self.signs_with(|params| {
            params.subject_alt_names.push(SanType::DnsName(ia5("localhost")));
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        })
    }

    fn signs_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::default();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn ia5(text: &str) -> Ia5String {
    text.try_into().unwrap()
}

/// The files of a listener, gone with the test.
pub(crate) struct Files(tempfile::TempDir);

impl Files {
    pub(crate) fn of(pair: &Pair) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.replace(pair);
        files
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Writes another pair, one file after the other.
    pub(crate) fn replace(&self, pair: &Pair) {
        self.replace_certificate(&pair.certificate);
        fs::write(self.path("tls.key"), &pair.key).unwrap();
    }

    pub(crate) fn replace_certificate(&self, text: &str) {
        fs::write(self.path("tls.crt"), text).unwrap();
    }

    pub(crate) fn replace_client_ca(&self, authority: &Authority) {
        fs::write(self.path("ca.crt"), &authority.certificate).unwrap();
    }

    /// A listener with these files that looks at them all the time.
    pub(crate) fn listener(&self) -> Value {
        json!({ "address": "127.0.0.1:0", "tls": {
            "certificate": self.path("tls.crt"), "key": self.path("tls.key"),
            "reload_interval": "10ms",
        } })
    }

    /// The same, and it asks for certificates of this authority.
    pub(crate) fn listener_for(&self, clients: &Authority) -> Value {
        self.replace_client_ca(clients);
        let mut listener = self.listener();
        listener["tls"]["client_ca"] = json!(self.path("ca.crt"));
        listener
    }
}
