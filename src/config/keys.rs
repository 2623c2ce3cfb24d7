//! The keys of the file and of the environment, put on one ring.
//!
//! No message repeats a value: a key may be in the wrong place.

use std::collections::BTreeMap;

use super::environment::Environment;
use super::file::{Feature, KeyFile, List};
use super::mistakes::Mistakes;
use super::shapes::Section;
use crate::auth::key::{ApiKey, KeyDigest};
use crate::auth::pattern::NamePattern;
use crate::auth::{KeyGrant, KeyRefused, Keyring};

/// A key in this environment variable is one more, for all names.
pub const KEY_VARIABLE: &str = "ADIT_API_KEY";

/// The id of the key in [`KEY_VARIABLE`].
pub const KEY_VARIABLE_ID: &str = "env";

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
        let services = services(&path, key.services.as_deref(), mistakes);
        let stream = stream(&path, key.features.as_deref(), mistakes);
        if let Some((path, digest)) = digest(&path, &key, environment, mistakes) {
            add(&path, digest, KeyGrant { id, services, stream }, &mut ring, mistakes);
        }
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
    let id = KEY_VARIABLE_ID.to_owned();
    ids.insert(id.clone(), KEY_VARIABLE.to_owned());
    if let Some(key) = mistakes.note(KEY_VARIABLE, ApiKey::from_plain(text)) {
        let grant = KeyGrant { id, services: vec![NamePattern::Any], stream: false };
        add(KEY_VARIABLE, key.digest(), grant, ring, mistakes);
    }
}

fn add(
    path: &str,
    digest: KeyDigest,
    grant: KeyGrant,
    ring: &mut Keyring,
    mistakes: &mut Mistakes,
) {
    match ring.add(digest, grant) {
        // The ids have been checked by themselves.
        Ok(()) | Err(KeyRefused::DuplicateId) => {}
        Err(refused) => mistakes.add(path, refused),
    }
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
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(plain) {
        let text = "must be 1 to 64 letters, digits, `-`, `_` and `.`";
        mistakes.add(path_of_id, text);
        return None;
    }
    if let Some(other) = ids.get(id) {
        mistakes.add(path_of_id, format_args!("is the id of {other} too"));
        return None;
    }
    ids.insert(id.to_owned(), path.to_owned());
    Some(id.to_owned())
}

/// The digest, and the path of the field that it came from.
fn digest(
    path: &str,
    key: &KeyFile,
    environment: &Environment,
    mistakes: &mut Mistakes,
) -> Option<(String, KeyDigest)> {
    let path_of_digest = format!("{path}.sha256");
    let path_of_variable = format!("{path}.key_env");
    match (&key.sha256, &key.key_env) {
        (Some(_), Some(_)) => {
            mistakes.add(path, "has sha256 and key_env; one of them is enough");
            None
        }
        (None, None) => {
            if !mistakes.touch(&path_of_digest) && !mistakes.touch(&path_of_variable) {
                mistakes.add(path, "needs sha256 or key_env; `adit key new` makes a key");
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

/// The patterns: all names unless the file says which.
fn services(
    path: &str,
    written: Option<&[Option<String>]>,
    mistakes: &mut Mistakes,
) -> Vec<NamePattern> {
    let Some(written) = written else {
        return vec![NamePattern::Any];
    };
    if written.is_empty() {
        let text = "names no service; leave it out for all, or take the key out";
        mistakes.add(format!("{path}.services"), text);
    }
    let written = written.iter().enumerate();
    let written = written.filter_map(|(index, text)| Some((index, text.as_ref()?)));
    written
        .filter_map(|(index, text)| {
            mistakes.note(&format!("{path}.services[{index}]"), text.parse())
        })
        .collect()
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
            r#"[ {{"id": "bots", "sha256": "{}", "services": ["demo.*"], "features": ["stream"]}},
                 {{"id": "edge", "key_env": "EDGE_KEY"}} ]"#,
            KeyDigest::of(PLAIN.as_bytes())
        );
        let third = "plain-key-with-more-than-32-bytes-0003";
        let (ring, mistakes) = read(&written, &[("EDGE_KEY", OTHER), ("ADIT_API_KEY", third)]);
        assert_eq!(mistakes, Vec::<String>::new());

        let bots = ring.check(PLAIN.as_bytes()).unwrap();
        assert!(bots.id == "bots" && bots.stream);
        assert!(bots.allows("demo.Echo") && !bots.allows("chat.Room"));
        let edge = ring.check(OTHER.as_bytes()).unwrap();
        assert!(edge.id == "edge" && !edge.stream && edge.allows("chat.Room"));
        let env = ring.check(third.as_bytes()).unwrap();
        assert!(env.id == "env" && env.allows("chat.Room"));
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
    fn services_and_features_are_checked_one_by_one() {
        let written = r#"[ {"id": "a", "key_env": "K1", "services": ["demo.*", "de*mo", ""]},
            {"id": "b", "key_env": "K2", "services": [], "features": ["stream", "stream"]} ]"#;
        let (_, mistakes) = read(written, &[("K1", PLAIN), ("K2", OTHER)]);
        let paths = ["keys[0].services[1]", "keys[0].services[2]", "keys[1].services: "];
        for (mistake, path) in mistakes.iter().zip(paths) {
            assert!(mistake.starts_with(path), "{mistake}");
        }
        assert_eq!(mistakes[3], "keys[1].features: names the same twice");
    }

    fn read(written: &str, variables: &[(&str, &str)]) -> (Keyring, Vec<String>) {
        let environment = variables.iter().copied().collect();
        let mut mistakes = Mistakes::default();
        let ring = used(serde_json::from_str(written).unwrap(), &environment, &mut mistakes);
        (ring, mistakes.into_list().iter().map(ToString::to_string).collect())
    }
}
