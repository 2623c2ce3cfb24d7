//! The configuration file as written.
//!
//! Reading goes on after a mistake: what cannot be read is noted, taken out and left to its
//! default, until the rest reads.

use std::path::PathBuf;

use serde::Deserialize;
use serde_ignored::Path as IgnoredPath;
use serde_json::Value;
use serde_path_to_error::{Path, Segment, Track};

use super::json;
use super::limits::LimitsFile;
use super::mistakes::Mistakes;
use super::moment::Moment;
use super::shapes::{Count, Section};
use super::suggest::{closest, field_names};
use super::units::Span;

/// A text with this many bytes may be a key in the wrong place, so no message repeats it.
const SECRET_BYTES_MIN: usize = 16;

/// A list. An item that could not be read is `None`, so that the others keep their places.
pub(super) type List<T> = Option<Vec<Option<T>>>;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct File {
    pub(super) listeners: List<Section<ListenerFile>>,
    pub(super) workers: Option<Count>,
    pub(super) keys: List<Section<KeyFile>>,
    pub(super) callers: Section<CallersFile>,
    pub(super) routing: Section<RoutingFile>,
    pub(super) heartbeat: Section<HeartbeatFile>,
    pub(super) keepalive: Section<KeepaliveFile>,
    pub(super) drain: Section<DrainFile>,
    pub(super) limits: Section<LimitsFile>,
    pub(super) log: Section<LogFile>,
}

/// One of `listeners`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListenerFile {
    pub(super) address: Option<String>,
    pub(super) serves: List<Role>,
    pub(super) tls: Option<Section<TlsFile>>,
}

/// `tls` of one of `listeners`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TlsFile {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) client_ca: Option<PathBuf>,
    pub(super) reload_interval: Option<Span>,
}

/// Whom a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    Callers,
    Tunnels,
}

/// One of `keys`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyFile {
    pub(super) id: Option<String>,
    pub(super) sha256: Option<String>,
    pub(super) key_env: Option<String>,
    pub(super) expires: Option<Moment>,
    pub(super) old_sha256: Option<String>,
    pub(super) old_expires: Option<Moment>,
    #[serde(alias = "services")]
    pub(super) register: List<String>,
    pub(super) call: List<String>,
    pub(super) shared: Option<bool>,
    pub(super) features: List<Feature>,
    pub(super) limits: Section<KeyLimitsFile>,
    pub(super) certificate_names: List<String>,
}

/// The section `limits` of a key.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "named as in `limits`, where not all are counts")]
pub(super) struct KeyLimitsFile {
    pub(super) tunnels_max: Option<Count>,
    pub(super) services_max: Option<Count>,
    pub(super) calls_max: Option<Count>,
}

/// What a key can grant to programs that do not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Feature {
    Stream,
}

/// The section `callers`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct CallersFile {
    pub(super) require_key: Option<bool>,
    pub(super) connection_age_max: Option<Span>,
    pub(super) connection_age_grace: Option<Span>,
}

/// The section `routing`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RoutingFile {
    pub(super) match_unqualified: Option<bool>,
    pub(super) startup_grace: Option<Span>,
    pub(super) name_retention: Option<Span>,
}

/// The section `heartbeat`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct HeartbeatFile {
    pub(super) interval: Option<Span>,
    pub(super) late_after: Option<Span>,
    pub(super) dead_after: Option<Span>,
}

/// The section `keepalive`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct KeepaliveFile {
    pub(super) interval: Option<Span>,
    pub(super) timeout: Option<Span>,
}

/// The section `drain`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct DrainFile {
    pub(super) grace: Option<Span>,
}

/// The section `log`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct LogFile {
    pub(super) level: Option<Level>,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Reads the text and notes what is wrong with it. `None` if there is nothing to go on with.
pub(super) fn read(text: &str, mistakes: &mut Mistakes) -> Option<File> {
    let mut value = json::read(text, mistakes)?;
    while !mistakes.is_full() {
        let (path, error) = match read_once(&value) {
            Ok((file, unknown)) => {
                for steps in &unknown {
                    note_unknown(steps, mistakes);
                }
                return Some(file);
            }
            Err(failure) => failure,
        };
        let Some((path, node)) = find(&mut value, &path) else {
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

/// The file and the paths of its unknown fields, or the first thing that cannot be read.
type Reading = Result<(File, Vec<Vec<Step>>), (Path, serde_json::Error)>;

fn read_once(value: &Value) -> Reading {
    let mut unknown = Vec::new();
    let mut track = Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(value, &mut track);
    let result: Result<Section<File>, _> = serde_ignored::deserialize(deserializer, |path| {
        unknown.push(steps(&path));
    });
    match result {
        Ok(file) => Ok((file.0, unknown)),
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
                written = json::field_path(&written, key);
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

/// One step of the path of an unknown field.
#[derive(Clone, Debug)]
enum Step {
    Field(String),
    Item(usize),
}

fn steps(path: &IgnoredPath<'_>) -> Vec<Step> {
    let (parent, step) = match path {
        IgnoredPath::Root => return Vec::new(),
        IgnoredPath::Seq { parent, index } => (parent, Some(Step::Item(*index))),
        IgnoredPath::Map { parent, key } => (parent, Some(Step::Field(key.clone()))),
        IgnoredPath::Some { parent }
        | IgnoredPath::NewtypeStruct { parent }
        | IgnoredPath::NewtypeVariant { parent } => (parent, None),
    };
    let mut steps = steps(parent);
    steps.extend(step);
    steps
}

fn note_unknown(steps: &[Step], mistakes: &mut Mistakes) {
    let path = steps.iter().fold(String::new(), |path, step| match step {
        Step::Field(name) => json::field_path(&path, name),
        Step::Item(index) => format!("{path}[{index}]"),
    });
    let known = match steps {
        [_] => field_names::<File>(),
        [Step::Field(list), Step::Item(_), Step::Field(section), _]
            if list == "keys" && section == "limits" =>
        {
            field_names::<KeyLimitsFile>()
        }
        [Step::Field(list), Step::Item(_), Step::Field(section), _]
            if list == "listeners" && section == "tls" =>
        {
            field_names::<TlsFile>()
        }
        [Step::Field(section), ..] => section_fields(section),
        [Step::Item(_), ..] | [] => &[],
    };
    let meant = match steps.last() {
        Some(Step::Field(name)) => closest(name, known),
        Some(Step::Item(_)) | None => None,
    };
    match meant {
        Some(meant) => mistakes.add(path, format_args!("unknown field; did you mean `{meant}`?")),
        None => mistakes.add(path, format_args!("unknown field; known are {}", known.join(", "))),
    }
}

fn section_fields(section: &str) -> &'static [&'static str] {
    match section {
        "listeners" => field_names::<ListenerFile>(),
        "keys" => field_names::<KeyFile>(),
        "callers" => field_names::<CallersFile>(),
        "routing" => field_names::<RoutingFile>(),
        "heartbeat" => field_names::<HeartbeatFile>(),
        "keepalive" => field_names::<KeepaliveFile>(),
        "drain" => field_names::<DrainFile>(),
        "limits" => field_names::<LimitsFile>(),
        "log" => field_names::<LogFile>(),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "listeners": [ { "tls": { "certificat": "x" } } ],
            "log": { "file": "x" }
        }"#;
        let (file, mistakes) = read_all(text);
        assert!(file.is_some());
        assert_eq!(mistakes[0], "keys[1].sha265: unknown field; did you mean `sha256`?");
        assert_eq!(mistakes[1], "limits.cals_max: unknown field; did you mean `calls_max`?");
        assert!(mistakes[2].starts_with("limits.colour: unknown field; known are calls_max, "));
        assert_eq!(mistakes[3], "listener: unknown field; did you mean `listeners`?");
        let nested = "listeners[0].tls.certificat: unknown field; did you mean `certificate`?";
        assert_eq!(mistakes[4], nested);
        assert_eq!(mistakes[5], "log.file: unknown field; known are level");
    }

    #[test]
    fn every_section_knows_its_fields() {
        for section in field_names::<File>().iter().filter(|name| **name != "workers") {
            assert!(!section_fields(section).is_empty(), "{section}");
        }
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
            format!(r#"{{"keys": [{{"services": "{key}", "features": ["{key}"]}}]}}"#),
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
        let file = read(text, &mut mistakes);
        (file, mistakes.into_list().iter().map(ToString::to_string).collect())
    }
}
