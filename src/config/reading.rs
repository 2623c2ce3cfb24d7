//! Reads the configuration file into its types.
//!
//! Reading goes on after a mistake: what cannot be read is noted, taken out and left to its
//! default, until the rest reads.

use serde::Deserialize as _;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment, Track};

use super::file::File;
use super::mistakes::Mistakes;
use super::schema::{self, Kind};
use super::shapes::Section;
use super::steps::{self, Step, field_path, with};
use super::suggest::closest;

/// A text with this many bytes may be a key in the wrong place, so no message repeats it.
const SECRET_BYTES_MIN: usize = 16;

/// Reads the file and notes what is wrong with it, which is then taken out of the value. `None` if
/// there is nothing to go on with.
pub(super) fn read(value: &mut Value, mistakes: &mut Mistakes) -> Option<File> {
    while !mistakes.is_full() {
        let (path, error) = match read_once(value) {
            Ok(file) => {
                note_unknown(schema::whole(), value, &[], mistakes);
                return Some(file);
            }
            Err(failure) => failure,
        };
        let Some((path, node)) = find(value, &path) else {
            mistakes.add("", error);
            return None;
        };
        mistakes.add(path.as_str(), without_secret(&error, node));
        if path.is_empty() {
            return None;
        }
        // A list's items must stay where they are; a field that is null counts as absent.
        *node = Value::Null;
    }
    None
}

/// The file, or the first thing that cannot be read.
fn read_once(value: &Value) -> Result<File, (Path, serde_json::Error)> {
    let mut track = Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(value, &mut track);
    match Section::deserialize(deserializer) {
        Ok(Section(file)) => Ok(file),
        Err(error) => Err((track.path(), error)),
    }
}

/// Follows a path and returns it as written, with the value it leads to.
fn find<'v>(root: &'v mut Value, path: &Path) -> Option<(String, &'v mut Value)> {
    let mut node = root;
    let mut written = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                node = node.get_mut(index)?;
                written = format!("{written}[{index}]");
            }
            Segment::Map { key } => {
                node = node.get_mut(key)?;
                written = field_path(&written, key);
            }
            // Inside a text that stands for one of several words.
            Segment::Enum { .. } | Segment::Unknown => break,
        }
    }
    Some((written, node))
}

/// What is wrong with the value at hand, without the value if it could be a key.
fn without_secret(error: &serde_json::Error, node: &Value) -> String {
    let message = error.to_string();
    match node.as_str() {
        Some(text) if text.len() >= SECRET_BYTES_MIN => {
            let quoted = format!("{text:?}");
            let escaped = quoted.trim_matches('"');
            message.replace(escaped, "***").replace(text, "***")
        }
        Some(_) | None => message,
    }
}

/// Notes every field that the schema does not have.
fn note_unknown(schema: &Value, value: &Value, steps: &[Step], mistakes: &mut Mistakes) {
    match (schema::kind(schema), value) {
        (Kind::Object(fields), Value::Object(values)) => {
            for (name, value) in values {
                let steps = with(steps, Step::Field(name.clone()));
                match fields.get(name) {
                    Some(field) => note_unknown(field, value, &steps, mistakes),
                    None => mistakes.add(steps::path(&steps), unknown(name, fields)),
                }
            }
        }
        (Kind::Objects(items), Value::Array(values)) => {
            for (index, value) in values.iter().enumerate() {
                note_unknown(items, value, &with(steps, Step::Item(index)), mistakes);
            }
        }
        (Kind::Object(_) | Kind::Objects(_) | Kind::Leaf, _) => {}
    }
}

fn unknown(name: &str, fields: &Map<String, Value>) -> String {
    let known: Vec<&str> = fields.keys().map(String::as_str).collect();
    match closest(name, &known) {
        Some(meant) => format!("unknown field; did you mean `{meant}`?"),
        None => format!("unknown field; known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::json;

    #[test]
    fn everything_of_the_wrong_type_is_reported_at_its_own_path() {
        let text = r#"{
            "workers": "two",
            "listeners": [ { "address": 1 }, "x", { "serves": ["callers", "metrics", 3] } ],
            "keys": [ [], { "sha256": 5, "features": "stream" } ],
            "heartbeat": [ "30s", "60s", "120s" ],
            "drain": { "grace": 30 },
            "log": { "level": "loud" }
        }"#;
        let (file, mistakes) = read_all(text);
        assert!(file.is_some());
        let expected = [
            "listeners[0].address: invalid type: integer `1`, expected a string",
            "listeners[1]: invalid type: string \"x\", expected an object in { }",
            "listeners[2].serves[1]: unknown variant `metrics`, expected `callers` or `tunnels`",
            "listeners[2].serves[2]: ",
            "workers: invalid type: string \"two\", expected a whole number",
            "keys[0]: invalid type: sequence, expected an object in { }",
            "keys[1].sha256: invalid type: integer `5`, expected a string",
            "keys[1].features: invalid type: string \"stream\", expected a sequence",
            "heartbeat: invalid type: sequence, expected an object in { }",
            "drain.grace: 30 has no unit and is not a duration: write a whole number and a unit",
            "log.level: unknown variant `loud`, expected one of `error`, `warn`, `info`",
        ];
        for wanted in expected {
            assert!(mistakes.iter().any(|m| m.starts_with(wanted)), "{wanted} in {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    }

    #[test]
    fn an_unknown_field_is_reported_with_what_was_probably_meant() {
        let text = r#"{
            "listener": [],
            "keys": [ {}, { "sha265": "" } ],
            "limits": { "cals_max": 1, "colour": 2 },
            "log": { "file": "x" }
        }"#;
        let (file, mistakes) = read_all(text);
        assert!(file.is_some());
        assert_eq!(mistakes[1], "keys[1].sha265: unknown field; did you mean `sha256`?");
        assert_eq!(mistakes[2], "limits.cals_max: unknown field; did you mean `calls_max`?");
        assert!(mistakes[3].starts_with("limits.colour: unknown field; known are calls_max, "));
        assert_eq!(mistakes[0], "listener: unknown field; did you mean `listeners`?");
        assert_eq!(
            mistakes[4],
            "log.file: unknown field; known are level, access, access_per_second_max"
        );
    }

    #[test]
    fn a_file_that_is_no_object_is_refused() {
        for text in ["[]", "3", "\"x\""] {
            let (file, mistakes) = read_all(text);
            assert!(file.is_none() && mistakes.len() == 1, "{text}: {mistakes:?}");
            assert!(mistakes[0].ends_with("expected an object in { }"), "{mistakes:?}");
        }
    }

    #[test]
    fn null_counts_as_absent() {
        let (file, mistakes) = read_all(r#"{"workers": null, "heartbeat": null, "keys": null}"#);
        assert!(file.is_some_and(|file| file.keys.is_none()));
        assert_eq!(mistakes, Vec::<String>::new());
    }

    #[test]
    fn a_key_in_the_wrong_place_is_not_repeated() {
        let key = "adit_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
        for text in [
            format!(r#"{{"keys": "{key}"}}"#),
            format!(r#"{{"keys": ["{key}"]}}"#),
            format!(r#"{{"keys": [{{"register": "{key}", "features": ["{key}"]}}]}}"#),
            format!(r#"{{"callers": {{"require_key": "{key}"}}, "workers": "{key}"}}"#),
            format!(r#"{{"drain": {{"grace": "{key}"}}, "log": {{"level": "{key}\""}}}}"#),
        ] {
            let (_, mistakes) = read_all(&text);
            assert!(!mistakes.is_empty());
            assert!(!mistakes.concat().contains(key), "{mistakes:?}");
        }
    }

    #[test]
    fn a_file_of_nothing_but_mistakes_ends() {
        let text = format!(r#"{{"keys": [{}1]}}"#, "1,".repeat(50_000));
        let (file, mistakes) = read_all(&text);
        assert!(file.is_none());
        assert_eq!(mistakes.len(), 101);
    }

    fn read_all(text: &str) -> (Option<File>, Vec<String>) {
        let mut mistakes = Mistakes::default();
        let file = json::read(text, &mut mistakes);
        let file = file.and_then(|mut value| read(&mut value, &mut mistakes));
        (file, mistakes.into_list().iter().map(ToString::to_string).collect())
    }
}
