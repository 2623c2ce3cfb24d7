//! The keys of the file and of the environment, put on one ring.
//!
//! No message repeats a value: a key may be in the wrong place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::environment::Environment;
use super::file::{Feature, KeyFile, List};
use super::mistakes::Mistakes;
use super::moment::Moment;
use super::shapes::{Count, Section};
use super::tls;
use crate::auth::key::{ApiKey, KeyDigest};
use crate::auth::topics::TopicScope;
use crate::auth::{KeyGrant, KeyRefused, Keyring, Scope};
use crate::tunnel::allowance::Allowance;
use crate::tunnel::quota::KeyQuota;

/// A key in this environment variable is one more, for all names.
pub const KEY_VARIABLE: &str = "ADIT_API_KEY";

/// The id of the key in [`KEY_VARIABLE`].
pub const KEY_VARIABLE_ID: &str = "env";

/// What an id is made of.
pub const ID_RULE: &str = "must be 1 to 64 letters, digits, `-`, `_` and `.`";

/// Ids appear in every log line about a tunnel, so they are short and plain.
const ID_BYTES_MAX: usize = 64;

/// Joins the keys as written to the ring as used.
pub(super) fn used(
    written: List<Section<KeyFile>>,
    environment: &Environment,
    mistakes: &mut Mistakes,
) -> Keyring {
    let mut ring = Keyring::new();
    let mut ids = BTreeMap::new();
    add_from_environment(environment, &mut ring, &mut ids, mistakes);
    for (index, key) in written.into_iter().flatten().enumerate() {
        let Some(Section(key)) = key else { continue };
        let path = format!("keys[{index}]");
        // A key whose id is unusable still has its other fields checked, under its path for an id.
        let id = id(&path, key.id.as_deref(), &mut ids, mistakes).unwrap_or_else(|| path.clone());
        let grant = Arc::new(grant(&path, &id, &key, mistakes));
        let expires = key.expires.map(Moment::time);
        let secret = Secret {
            path: &path,
            digest: ("sha256", key.sha256.as_deref()),
            variable: ("key_env", key.key_env.as_deref()),
        };
        if let Some((path, digest)) = digest_of(&secret, environment, mistakes) {
            add(&path, digest, &grant, expires, &mut ring, mistakes);
        }
        add_old(&path, &key, &grant, &mut ring, mistakes);
    }
    ring
}

fn add_from_environment(
    environment: &Environment,
    ring: &mut Keyring,
    ids: &mut BTreeMap<String, String>,
    mistakes: &mut Mistakes,
) {
    let Some(text) = environment.value(KEY_VARIABLE) else { return };
    ids.insert(KEY_VARIABLE_ID.to_owned(), KEY_VARIABLE.to_owned());
    if let Some(key) = mistakes.note(KEY_VARIABLE, ApiKey::from_plain(text)) {
        let grant = Arc::new(KeyGrant::unlimited(KEY_VARIABLE_ID));
        add(KEY_VARIABLE, key.digest(), &grant, None, ring, mistakes);
    }
}

/// The key that this one takes the place of: it is good as well, until its own date.
fn add_old(
    path: &str,
    key: &KeyFile,
    grant: &Arc<KeyGrant>,
    ring: &mut Keyring,
    mistakes: &mut Mistakes,
) {
    let path_of_digest = format!("{path}.old_sha256");
    let Some(hex) = &key.old_sha256 else {
        if key.old_expires.is_some() && !mistakes.touch(&path_of_digest) {
            mistakes.add(format!("{path}.old_expires"), "there is no old_sha256 to expire");
        }
        return;
    };
    if let Some(digest) = mistakes.note(&path_of_digest, hex.parse()) {
        let expires = key.old_expires.or(key.expires).map(Moment::time);
        add(&path_of_digest, digest, grant, expires, ring, mistakes);
    }
}

fn add(
    path: &str,
    digest: KeyDigest,
    grant: &Arc<KeyGrant>,
    expires: Option<SystemTime>,
    ring: &mut Keyring,
    mistakes: &mut Mistakes,
) {
    match ring.add(digest, grant, expires) {
        // The ids have been checked by themselves.
        Ok(()) | Err(KeyRefused::DuplicateId) => {}
        Err(refused) => mistakes.add(path, refused),
    }
}

fn grant(path: &str, id: &str, key: &KeyFile, mistakes: &mut Mistakes) -> KeyGrant {
    let limits = &key.limits.0;
    let mut limit = |name: &str, written: Option<Count>| {
        if written == Some(Count(0)) {
            mistakes.add(format!("{path}.limits.{name}"), "must be more than zero");
        }
        written.map_or(usize::MAX, |Count(max)| max)
    };
    let quota = KeyQuota {
        key: id.to_owned(),
        tunnels_max: limit("tunnels_max", limits.tunnels_max),
        services_max: limit("services_max", limits.services_max),
    };
    let calls = Allowance::new(limit("calls_max", limits.calls_max));
    KeyGrant {
        register: scope(&format!("{path}.register"), key.register.as_deref(), mistakes),
        call: scope(&format!("{path}.call"), key.call.as_deref(), mistakes),
        publish: topics(&format!("{path}.publish"), key.publish.as_deref(), mistakes),
        subscribe: topics(&format!("{path}.subscribe"), key.subscribe.as_deref(), mistakes),
        shared: key.shared.unwrap_or(false),
        stream: stream(path, key.features.as_deref(), mistakes),
        certificate_names: tls::certificate_names(path, key.certificate_names.as_deref(), mistakes),
        quota,
        calls,
    }
}

/// Whether a key can be called so.
pub fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(plain)
}

/// The id, if it can be used. `ids` says which are taken, and by whom.
fn id(
    path: &str,
    written: Option<&str>,
    ids: &mut BTreeMap<String, String>,
    mistakes: &mut Mistakes,
) -> Option<String> {
    let path_of_id = format!("{path}.id");
    let Some(id) = written else {
        if !mistakes.touch(&path_of_id) {
            mistakes.add(path_of_id, "is required: the log calls the key by it");
        }
        return None;
    };
    if !is_id(id) {
        mistakes.add(path_of_id, ID_RULE);
        return None;
    }
    if let Some(other) = ids.get(id) {
        mistakes.add(path_of_id, format_args!("is the id of {other} too"));
        return None;
    }
    ids.insert(id.to_owned(), path.to_owned());
    Some(id.to_owned())
}

/// A secret as it is written: its digest, or the name of the variable that has it.
pub(super) struct Secret<'w> {
    /// The object that it is written in.
    pub(super) path: &'w str,
    /// The field for the digest.
    pub(super) digest: (&'static str, Option<&'w str>),
    /// The field for the variable.
    pub(super) variable: (&'static str, Option<&'w str>),
}

/// The digest, and the path of the field that it came from.
pub(super) fn digest_of(
    secret: &Secret<'_>,
    environment: &Environment,
    mistakes: &mut Mistakes,
) -> Option<(String, KeyDigest)> {
    let Secret { path, digest: (digest, hex), variable: (name, variable) } = *secret;
    let (path_of_digest, path_of_variable) = (format!("{path}.{digest}"), format!("{path}.{name}"));
    match (hex, variable) {
        (Some(_), Some(_)) => {
            mistakes.add(path, format_args!("has {digest} and {name}; one of them is enough"));
            None
        }
        (None, None) => {
            if !mistakes.touch(&path_of_digest) && !mistakes.touch(&path_of_variable) {
                let text = format_args!("needs {digest} or {name}; `adit key new` makes a key");
                mistakes.add(path, text);
            }
            None
        }
        (Some(hex), None) => {
            let digest = mistakes.note(&path_of_digest, hex.parse())?;
            Some((path_of_digest, digest))
        }
        (None, Some(variable)) => {
            let digest = digest_of_variable(&path_of_variable, variable, environment, mistakes)?;
            Some((path_of_variable, digest))
        }
    }
}

fn digest_of_variable(
    path: &str,
    variable: &str,
    environment: &Environment,
    mistakes: &mut Mistakes,
) -> Option<KeyDigest> {
    // A key in place of a name is a likely slip, and mostly has a `-` that no name has.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if variable.is_empty() || !variable.bytes().all(plain) {
        mistakes.add(path, "must be the name of an environment variable, not a key");
        return None;
    }
    let Some(text) = environment.value(variable) else {
        mistakes.add(path, "names an environment variable that is not set");
        return None;
    };
    mistakes.note(path, ApiKey::from_plain(text)).map(|key| key.digest())
}

/// The patterns: all names unless the file says which, and none if it says that there are none.
fn scope(path: &str, written: Option<&[Option<String>]>, mistakes: &mut Mistakes) -> Scope {
    written.map_or_else(Scope::all, |written| Scope::of(mistakes.note_each(path, written)))
}

/// The same of topics.
fn topics(path: &str, written: Option<&[Option<String>]>, mistakes: &mut Mistakes) -> TopicScope {
    let of = |written| TopicScope::of(mistakes.note_each(path, written));
    written.map_or_else(TopicScope::all, of)
}

/// Whether the key grants `stream`, the only feature there is.
fn stream(path: &str, written: Option<&[Option<Feature>]>, mistakes: &mut Mistakes) -> bool {
    let features = written.unwrap_or_default().iter().flatten();
    let count = features.filter(|feature| matches!(feature, Feature::Stream)).count();
    if count > 1 {
        mistakes.add(format!("{path}.features"), "names the same twice");
    }
    count > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::key::SAMPLE_KEY;

    const PLAIN: &str = "plain-key-with-more-than-32-bytes-0001";
    const OTHER: &str = "plain-key-with-more-than-32-bytes-0002";

    #[test]
    fn a_key_comes_from_its_digest_from_its_variable_or_from_the_environment() {
        let written = format!(
            r#"[ {{"id": "bots", "sha256": "{}", "register": ["demo.*"], "features": ["stream"]}},
                 {{"id": "edge", "key_env": "EDGE_KEY"}} ]"#,
            KeyDigest::of(PLAIN.as_bytes())
        );
        let third = "plain-key-with-more-than-32-bytes-0003";
        let (ring, mistakes) = read(&written, &[("EDGE_KEY", OTHER), ("ADIT_API_KEY", third)]);
        assert_eq!(mistakes, Vec::<String>::new());

        let bots = grant_of(&ring, PLAIN);
        assert!(bots.id() == "bots" && bots.stream);
        assert!(bots.register.allows("demo.Echo") && !bots.register.allows("chat.Room"));
        let edge = grant_of(&ring, OTHER);
        assert!(edge.id() == "edge" && !edge.stream && edge.register.allows("chat.Room"));
        let env = grant_of(&ring, third);
        assert!(env.id() == "env" && env.register.allows("chat.Room"));
        assert_eq!((&edge.publish, &edge.subscribe), (&TopicScope::all(), &TopicScope::all()));
    }

    #[test]
    fn a_key_says_what_it_may_do_how_much_and_until_when() {
        let written = format!(
            r#"[ {{"id": "bots", "key_env": "K1", "expires": "2027-03-31", "old_sha256": "{}",
                  "old_expires": "2026-01-01T00:00:00Z", "register": [], "call": ["demo.*"],
                  "publish": [], "subscribe": ["orders.#"],
                  "shared": true,
                  "limits": {{"tunnels_max": 2, "services_max": 3, "calls_max": 4}}}} ]"#,
            KeyDigest::of(OTHER.as_bytes())
        );
        let (ring, mistakes) = read(&written, &[("K1", PLAIN)]);
        assert_eq!(mistakes, Vec::<String>::new());
        let bots = grant_of(&ring, PLAIN);
        assert!(!bots.register.allows("demo.Echo") && bots.call.allows("demo.Echo") && bots.shared);
        let topic = |text: &str| text.parse().unwrap();
        assert_eq!(bots.publish, TopicScope::of(vec![]));
        assert!(bots.subscribe.covers(&topic("orders.*")) && !bots.subscribe.covers(&topic("#")));
        assert_eq!((bots.quota.tunnels_max, bots.quota.services_max), (2, 3));
        assert_eq!(bots.calls.limit(), 4);
        assert!(Arc::ptr_eq(&bots, &grant_of(&ring, OTHER)));
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().into();
        assert!(ring.check(OTHER.as_bytes(), at("2026-01-01T00:00:00Z")).is_err());
        assert!(ring.check(PLAIN.as_bytes(), at("2027-03-31T23:59:59Z")).is_ok());
        assert!(ring.check(PLAIN.as_bytes(), at("2027-04-01T00:00:00Z")).is_err());
    }

    #[test]
    fn dates_limits_and_old_keys_are_checked() {
        let written = r#"[ {"id": "a", "key_env": "K1", "old_expires": "2027-01-01",
                            "limits": {"calls_max": 0}},
                           {"id": "b", "key_env": "K2", "old_sha256": "x"} ]"#;
        assert_eq!(
            read(written, &[("K1", PLAIN), ("K2", OTHER)]).1,
            [
                "keys[0].limits.calls_max: must be more than zero",
                "keys[0].old_expires: there is no old_sha256 to expire",
                "keys[1].old_sha256: must be the 64 hex digits of the key's SHA-256, \
                 as `adit key new` prints them",
            ]
        );
    }

    #[test]
    fn a_key_comes_from_exactly_one_place() {
        let written = r#"[ {"id": "a"}, {"id": "b", "sha256": "", "key_env": ""} ]"#;
        assert_eq!(
            read(written, &[]).1,
            [
                "keys[0]: needs sha256 or key_env; `adit key new` makes a key",
                "keys[1]: has sha256 and key_env; one of them is enough",
            ]
        );
    }

    #[test]
    fn an_id_is_plain_and_taken_once() {
        let written = r#"[ {"key_env": "K1"}, {"id": "a b", "key_env": "K2"},
                           {"id": "env", "key_env": "K1"} ]"#;
        let variables =
            [("K1", PLAIN), ("K2", OTHER), ("ADIT_API_KEY", "k".repeat(32).leak() as &str)];
        assert_eq!(
            read(written, &variables).1,
            [
                "keys[0].id: is required: the log calls the key by it",
                "keys[1].id: must be 1 to 64 letters, digits, `-`, `_` and `.`",
                "keys[2].id: is the id of ADIT_API_KEY too",
                "keys[2].key_env: is the same key as `keys[0]`",
            ]
        );
    }

    #[test]
    fn the_sample_key_is_refused_in_every_form() {
        let written = r#"[ {"id": "a", "key_env": "K1"},
            {"id": "b", "sha256":
             "9A43323ad21790b3150725444718ee87c5ea2320b39de66d1ca387f5eec89775"} ]"#;
        let (ring, mistakes) = read(written, &[("K1", SAMPLE_KEY), ("ADIT_API_KEY", SAMPLE_KEY)]);
        assert!(ring.is_empty());
        let paths = ["ADIT_API_KEY: ", "keys[0].key_env: ", "keys[1].sha256: "];
        for (mistake, path) in mistakes.iter().zip(paths) {
            assert!(mistake.starts_with(path) && mistake.contains("sample key"), "{mistake}");
        }
        assert_eq!(mistakes.len(), paths.len());
    }

    #[test]
    fn a_key_variable_must_be_set_to_a_long_visible_key() {
        let written = r#"[ {"id": "a", "key_env": "NONE"}, {"id": "b", "key_env": "SHORT"},
                           {"id": "c", "key_env": "LINE"}, {"id": "d", "key_env": "A=B\u0000"} ]"#;
        let line = format!("{PLAIN}\n");
        let (_, mistakes) =
            read(written, &[("SHORT", "short"), ("LINE", &line), ("ADIT_API_KEY", "")]);
        assert!(mistakes[0].starts_with("ADIT_API_KEY: the key has 0 bytes"));
        assert!(mistakes[1].starts_with("keys[0].key_env: names an environment variable that is"));
        assert!(mistakes[2].starts_with("keys[1].key_env: the key has 5 bytes"));
        assert!(mistakes[3].starts_with("keys[2].key_env: the key has a space, a line end"));
        assert!(mistakes[4].starts_with("keys[3].key_env: must be the name of an environment"));
        assert_eq!(mistakes.len(), 5);
        assert!(!mistakes.concat().contains(PLAIN));
    }

    #[test]
    fn names_and_features_are_checked_one_by_one() {
        let written = r#"[ {"id": "a", "key_env": "K1", "register": ["demo.*", "de*mo", ""]},
            {"id": "b", "key_env": "K2", "call": ["/"], "features": ["stream", "stream"]} ]"#;
        let (_, mistakes) = read(written, &[("K1", PLAIN), ("K2", OTHER)]);
        let paths = ["keys[0].register[1]", "keys[0].register[2]", "keys[1].call[0]"];
        for (mistake, path) in mistakes.iter().zip(paths) {
            assert!(mistake.starts_with(path), "{mistake}");
        }
        assert_eq!(mistakes[3], "keys[1].features: names the same twice");
    }

    fn grant_of(ring: &Keyring, key: &str) -> Arc<KeyGrant> {
        ring.check(key.as_bytes(), SystemTime::UNIX_EPOCH).unwrap().grant
    }

    fn read(written: &str, variables: &[(&str, &str)]) -> (Keyring, Vec<String>) {
        let environment = variables.iter().copied().collect();
        let mut mistakes = Mistakes::default();
        let ring = used(serde_json::from_str(written).unwrap(), &environment, &mut mistakes);
        (ring, mistakes.into_list().iter().map(ToString::to_string).collect())
    }
}
