//! A configuration with its story: what holds in the end, and what the file and the environment
//! have to do with it.

use std::fmt;

use serde_json::{Map, Value};

use super::Config;
use super::schema::{self, Kind};
use super::steps::{self, Step, with};
use super::variables::Variables;

/// Stands in the place of a secret.
const STARS: &str = "***";

/// A configuration, and where it came from.
#[derive(Debug)]
pub struct Explained {
    /// The configuration as used.
    pub config: Config,
    /// The file, the variables laid over it.
    pub(super) written: Value,
    pub(super) variables: Variables,
}

/// A field that was set. Prints as `limits.calls_max = 5`; a secret as stars.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The field's path.
    path: String,
    /// The value as JSON.
    value: String,
    /// The environment variable that set it, otherwise the file did.
    pub variable: Option<String>,
}

impl Explained {
    /// Everything that holds, as a configuration file would say it. It reads back as the same
    /// configuration, once secrets are filled in.
    pub fn effective(&self) -> Value {
        let mut fields = self.written.as_object().cloned().unwrap_or_default();
        // What the schema cannot know: these depend on the machine and on the listeners.
        let callers = fields.entry("callers").or_insert(Value::Null);
        fill(callers, "require_key", self.config.require_caller_key.into());
        let mut whole = Value::Object(fields);
        fill(&mut whole, "workers", self.config.workers.get().into());
        let mut effective = filled(schema::whole(), &whole, true);
        let listeners = effective["listeners"].as_array_mut();
        for (told, used) in listeners.into_iter().flatten().zip(&self.config.listeners) {
            told["health"] = used.health.into();
            told["reflection"] = used.reflection.into();
            told["events"] = used.events.into();
        }
        effective
    }

    /// Every field that the file or a variable sets, in the order of the schema.
    pub fn sources(&self) -> Vec<Source> {
        let mut sources = Vec::new();
        self.collect(schema::whole(), &self.written, &[], &mut sources);
        sources
    }

    fn collect(&self, schema: &Value, value: &Value, steps: &[Step], sources: &mut Vec<Source>) {
        match (schema::kind(schema), value) {
            (_, Value::Null) => {}
            (Kind::Object(fields), Value::Object(values)) => {
                for (name, field) in fields {
                    let value = values.get(name).unwrap_or(&Value::Null);
                    self.collect(field, value, &with(steps, Step::Field(name.clone())), sources);
                }
            }
            (Kind::Objects(items), Value::Array(values)) => {
                for (index, value) in values.iter().enumerate() {
                    self.collect(items, value, &with(steps, Step::Item(index)), sources);
                }
            }
            (_, value) => {
                let path = steps::path(steps);
                let variable = self.variables.get(&path).cloned();
                let value = shown(schema, value).to_string();
                sources.push(Source { path, value, variable });
            }
        }
    }
}

/// Sets a field that is absent. An object that is absent is made.
fn fill(object: &mut Value, name: &str, value: Value) {
    if object.is_null() {
        *object = Value::Object(Map::new());
    }
    if let Value::Object(fields) = object {
        let field = fields.entry(name).or_insert(Value::Null);
        if field.is_null() {
            *field = value;
        }
    }
}

/// The value with the defaults of what is absent. The sections of the file are always there; an
/// object further down may be absent because that means something.
fn filled(schema: &Value, value: &Value, is_file: bool) -> Value {
    match (schema::kind(schema), value) {
        (Kind::Object(fields), Value::Object(values)) => {
            let none = Value::Object(Map::new());
            let fields = fields.iter().map(|(name, field)| {
                let value = values.get(name).unwrap_or(&Value::Null);
                let is_section = is_file && matches!(schema::kind(field), Kind::Object(_));
                let value = if is_section && value.is_null() { &none } else { value };
                (name.clone(), filled(field, value, false))
            });
            Value::Object(fields.filter(|(_, value)| !value.is_null()).collect())
        }
        (Kind::Objects(items), Value::Array(values)) => {
            values.iter().map(|value| filled(items, value, false)).collect()
        }
        (_, Value::Null) => match schema.get("default") {
            Some(default) if !default.is_null() => filled(schema, default, false),
            Some(_) | None => Value::Null,
        },
        (_, value) => shown(schema, value),
    }
}

/// The value, or stars in the place of each secret.
fn shown(schema: &Value, value: &Value) -> Value {
    if !schema::is_secret(schema) {
        return value.clone();
    }
    match value.as_array() {
        Some(items) => items.iter().map(|_| STARS).collect(),
        None => Value::from(STARS),
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.path, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Environment;
    use crate::config::{explain, parse};

    const KEY: &str = "plain-key-with-more-than-32-bytes-0001";
    const DIGEST: &str = "3f0a377ba0a4a460ecb616f6507ce0d8cfa3e704025d4fda3ed0c5ca05468728";

    #[test]
    fn what_is_printed_reads_back_as_the_same_configuration() {
        let environment = Environment::from_iter([
            ("EDGE_KEY", KEY),
            ("ADIT_LIMITS_CALLS_MAX", "5"),
            ("ADIT_LISTENERS_1_ADDRESS", "0.0.0.0:0"),
        ]);
        let text = r#"{ "listeners": [{ "address": "127.0.0.1:0", "serves": ["callers"] }, {},
                                      { "address": "127.0.0.1:0", "serves": ["tunnels"] }],
                        "keys": [{ "id": "edge", "key_env": "EDGE_KEY" }],
                        "heartbeat": null, "drain": { "grace": "1m" } }"#;
        let explained = explain(text, &environment).unwrap();
        let printed = explained.effective();
        assert_eq!(printed["limits"]["calls_max"], 5);
        assert_eq!(printed["heartbeat"]["late_after"], "1m");
        assert_eq!(printed["listeners"][0]["reflection"], true);
        assert_eq!(printed["listeners"][2]["health"], false);
        assert_eq!(printed["keys"][0]["register"], Value::from(vec!["*"]));
        let without = Environment::from_iter([("EDGE_KEY", KEY)]);
        let again = parse(&printed.to_string(), &without).unwrap();
        assert_eq!(format!("{again:?}"), format!("{:?}", explained.config));
    }

    #[test]
    fn each_value_is_told_with_its_source_and_the_environment_wins() {
        let environment = Environment::from_iter([("ADIT_DRAIN_GRACE", "2s")]);
        let text = format!(
            r#"{{ "drain": {{ "grace": "1m" }}, "log": {{ "level": "warn" }},
                  "keys": [{{ "id": "a", "sha256": "{DIGEST}" }}] }}"#
        );
        let explained = explain(&text, &environment).unwrap();
        assert_eq!(explained.config.drain_grace.as_secs(), 2);
        let told: Vec<_> = explained
            .sources()
            .into_iter()
            .map(|source| (source.to_string(), source.variable))
            .collect();
        let by_file = |text: &str| (text.to_owned(), None);
        assert_eq!(
            told,
            [
                by_file("keys[0].id = \"a\""),
                by_file("keys[0].sha256 = \"***\""),
                ("drain.grace = \"2s\"".to_owned(), Some("ADIT_DRAIN_GRACE".to_owned())),
                by_file("log.level = \"warn\""),
            ]
        );
    }

    #[test]
    fn nothing_secret_is_printed() {
        let environment =
            Environment::from_iter([("ADIT_API_KEY", KEY), ("ADIT_KEYS_0_SHA256", DIGEST)]);
        let explained = explain(r#"{ "keys": [{ "id": "a" }] }"#, &environment).unwrap();
        let printed = format!("{} {:?}", explained.effective(), explained.sources());
        assert!(printed.contains(STARS));
        assert!(!printed.contains(DIGEST) && !printed.contains(KEY), "{printed}");
    }
}
