//! TLS of a listener: its files, and the names in clients' certificates that keys ask for.

use super::Config;
use super::file::{RELOAD_INTERVAL, TlsFile};
use super::mistakes::Mistakes;
use super::units::Span;
use crate::auth::certificate::CertificatePattern;
use crate::tls::credentials::Credentials;
use crate::tls::files::{Settings, Unusable};

/// Reads the files that are named, unless they are those of `known` certificates; what is wrong with
/// them is a mistake of the field.
pub(super) fn used(
    path: &str,
    written: &TlsFile,
    known: &[Credentials],
    mistakes: &mut Mistakes,
) -> Option<Credentials> {
    let required = [("certificate", &written.certificate), ("key", &written.key)];
    for (field, _) in required.into_iter().filter(|(_, file)| file.is_none()) {
        let path = format!("{path}.{field}");
        if !mistakes.touch(&path) {
            mistakes.add(path, "is required: the path of a file in PEM");
        }
    }
    let reload_interval = written.reload_interval.map_or(RELOAD_INTERVAL, Span::duration);
    if reload_interval.is_zero() {
        mistakes.add(format!("{path}.reload_interval"), "must be more than zero");
    }
    let settings = Settings {
        certificate: written.certificate.as_ref()?.into(),
        key: written.key.as_ref()?.into(),
        client_ca: written.client_ca.as_ref().map(Into::into),
        reload_interval,
    };
    if let Some(same) = known.iter().find(|known| known.settings() == &settings) {
        return Some(same.clone());
    }
    let unusable = match Credentials::load(settings) {
        Ok(credentials) => return Some(credentials),
        Err(unusable) => unusable,
    };
    // Without the path, in whose place a key may have been written.
    for Unusable { which, problem, .. } in unusable {
        mistakes.add(format!("{path}.{}", which.field()), problem);
    }
    None
}

/// The patterns of a key: none asks for no certificate.
pub(super) fn certificate_names(
    path: &str,
    written: Option<&[Option<String>]>,
    mistakes: &mut Mistakes,
) -> Vec<CertificatePattern> {
    let path = format!("{path}.certificate_names");
    if written.is_some_and(<[_]>::is_empty) {
        mistakes.add(path.as_str(), "names nothing; leave it out to ask for no certificate");
    }
    mistakes.note_each(&path, written.unwrap_or_default())
}

/// A key that asks for a certificate is of no use where nobody is asked for one.
pub(super) fn check_names_are_asked_for(config: &Config, mistakes: &mut Mistakes) {
    let asks = |tls: &Credentials| tls.asks_clients();
    let asked = config.listeners.iter().filter_map(|listener| listener.tls.as_ref()).any(asks);
    if asked || mistakes.touch("listeners") {
        return;
    }
    for grant in config.keys.grants().filter(|grant| !grant.certificate_names.is_empty()) {
        let text = format_args!(
            "`{}` has certificate_names, and no listener asks for certificates with tls.client_ca",
            grant.id()
        );
        mistakes.add("keys", text);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, parse};
    use crate::tls::testing::{Folder, self_signed};

    const KEYS: &str = r#""keys": [{ "id": "a", "key_env": "KEY",
        "certificate_names": ["*.example.com"] }]"#;

    #[test]
    fn a_listener_has_the_tls_that_its_files_give_it() {
        let folder = Folder::new();
        folder.settings(&self_signed("localhost"));
        folder.write("ca.pem", &self_signed("ca").certificate);
        let (certificate, key) = (quoted(&folder, "tls.crt"), quoted(&folder, "tls.key"));
        let ca = quoted(&folder, "ca.pem");
        let config = read(
            &format!(
                r#"{{ "certificate": {certificate}, "key": {key}, "client_ca": {ca},
                      "reload_interval": "1s" }}"#
            ),
            KEYS,
        );
        assert!(config.unwrap().listeners[0].tls.as_ref().unwrap().asks_clients());

        let tls = format!(r#"{{ "certificate": {certificate}, "key": {key} }}"#);
        assert!(read(&tls, r#""keys": []"#).is_ok());
        assert_eq!(
            read(&tls, KEYS).unwrap_err(),
            ["keys: `a` has certificate_names, and no listener asks for certificates with \
              tls.client_ca"]
        );
    }

    #[test]
    fn each_file_that_cannot_be_used_is_a_mistake_of_its_field() {
        let folder = Folder::new();
        folder.settings(&self_signed("localhost"));
        let tls = format!(
            r#"{{ "certificate": {}, "key": "nowhere.key", "client_ca": {} }}"#,
            quoted(&folder, "tls.key"),
            quoted(&folder, "")
        );
        let mistakes = read(&tls, r#""keys": []"#).unwrap_err();
        let starts = [
            ("listeners[0].tls.certificate: ", "has no certificate in it"),
            ("listeners[0].tls.key: the file cannot be read: ", "No such file"),
            ("listeners[0].tls.client_ca: ", "is not a file"),
        ];
        assert_eq!(mistakes.len(), starts.len(), "{mistakes:#?}");
        for (mistake, (start, part)) in mistakes.iter().zip(starts) {
            assert!(mistake.starts_with(start) && mistake.contains(part), "{mistake}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_in_itself_is_told_too() {
        let keys = r#""keys": [{ "id": "a", "key_env": "KEY", "certificate_names": [] },
            { "id": "b", "key_env": "KEY_B", "certificate_names": ["a.com", "a*", 1] }]"#;
        let mistakes = read(r#"{ "reload_interval": "0s" }"#, keys).unwrap_err();
        let starts = [
            "keys[1].certificate_names[2]: invalid type: integer `1`",
            "listeners[0].tls.certificate: is required",
            "listeners[0].tls.key: is required",
            "listeners[0].tls.reload_interval: must be more than zero",
            "keys[0].certificate_names: names nothing",
            "keys[1].certificate_names[1]: a `*` stands before a DNS name or after a URI",
        ];
        assert_eq!(mistakes.len(), starts.len(), "{mistakes:#?}");
        for (mistake, start) in mistakes.iter().zip(starts) {
            assert!(mistake.starts_with(start), "{mistake} does not start with {start}");
        }
    }

    fn quoted(folder: &Folder, file: &str) -> String {
        format!("{:?}", folder.path(file))
    }

    fn read(tls: &str, keys: &str) -> Result<Config, Vec<String>> {
        let text =
            format!(r#"{{ "listeners": [{{ "address": "127.0.0.1:0", "tls": {tls} }}], {keys} }}"#);
        let key = |name: &str| format!("plain-key-with-more-than-32-bytes-{name}");
        let variables = ["KEY", "KEY_B"].map(|name| (name.to_owned(), key(name)));
        parse(&text, &variables.into_iter().collect())
            .map_err(|error| error.to_string().lines().map(str::to_owned).collect())
    }
}
