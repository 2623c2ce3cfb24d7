//! The page for people: every field in a table, made from the schema.

use serde_json::Value;

use super::schema::{self, Kind};
use super::steps::field_path;

const HEAD: &str = "# All fields of the configuration

Made from the types that read the file, by `adit config --reference`. [README.md](../README.md) tells how to use it.
Each field has an environment variable: `limits.calls_max` is `ADIT_LIMITS_CALLS_MAX`, `listeners[0].address` is
`ADIT_LISTENERS_0_ADDRESS`. A variable for a list of words has commas between them.
";

/// The page, in Markdown.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    write_object("", schema::whole(), &mut page);
    page
}

/// The fields of an object that are no objects themselves, then those that are.
fn write_object(path: &str, object: &Value, page: &mut String) {
    let Kind::Object(fields) = schema::kind(object) else { return };
    let leaves = fields.iter().filter(|(_, field)| matches!(schema::kind(field), Kind::Leaf));
    let rows: String = leaves.map(|(name, field)| row(name, field, object)).collect();
    if !rows.is_empty() {
        page.push_str("\n| field | default | allowed | what it does |\n|---|---|---|---|\n");
        page.push_str(&rows);
    }
    for (name, field) in fields {
        let path = field_path(path, name);
        match schema::kind(field) {
            Kind::Object(_) => {
                page.extend(["\n## `", &path, "`\n\n", description(field), "\n"]);
                write_object(&path, field, page);
            }
            Kind::Objects(item) => {
                let path = format!("{path}[N]");
                page.extend(["\n## `", &path, "`\n\n", &sentence(field), "\n"]);
                write_object(&path, item, page);
            }
            Kind::Leaf => {}
        }
    }
}

fn row(name: &str, field: &Value, object: &Value) -> String {
    let required = object.get("required").and_then(Value::as_array);
    let is_required = required.is_some_and(|names| names.iter().any(|required| required == name));
    let default = if is_required { "required".to_owned() } else { shown(field.get("default")) };
    format!("| `{name}` | {default} | {} | {} |\n", allowed(field), description(field))
}

fn description(field: &Value) -> &str {
    field.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// What a list of objects is for, and what it is when it is left out.
fn sentence(field: &Value) -> String {
    format!("{} Left out: {}.", description(field), shown(field.get("default")))
}

fn shown(value: Option<&Value>) -> String {
    value.map(|value| format!("`{value}`")).unwrap_or_default()
}

/// What can be written, in a few words.
fn allowed(field: &Value) -> String {
    if let Some(Value::Array(words)) = field.get("enum") {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    }
    let number = |name| field.get(name).and_then(Value::as_u64);
    match field.get("type").and_then(Value::as_str) {
        Some("boolean") => "`true`, `false`".to_owned(),
        Some("integer") => match (number("minimum"), number("maximum")) {
            (least, Some(most)) => format!("{} to {most}", least.unwrap_or(0)),
            (least, None) => format!("{} or more", least.unwrap_or(0)),
        },
        Some("array") => format!("list: {}", field.get("items").map(allowed).unwrap_or_default()),
        Some(kind) => field.get("title").and_then(Value::as_str).unwrap_or(kind).to_owned(),
        None => String::new(),
    }
}
