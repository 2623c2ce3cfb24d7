//! The JSON Schema of the configuration, generated from the types that read it. Where a field is
//! declared, its comment is its description; nothing else describes it.

use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use super::file::File;

/// What a field of the configuration is made of.
pub(super) enum Kind<'s> {
    /// An object with these fields.
    Object(&'s serde_json::Map<String, Value>),
    /// A list of objects; each is described like this.
    Objects(&'s Value),
    /// Anything that fits in one environment variable.
    Leaf,
}

static WHOLE: LazyLock<Value> = LazyLock::new(|| {
    let inline = |settings: &mut SchemaSettings| settings.inline_subschemas = true;
    let settings = SchemaSettings::draft2020_12().with(inline);
    let settings = settings.with_transform(RecursiveTransform(plain));
    let schema = settings.into_generator().into_root_schema_for::<File>();
    // Serialized, and not taken apart, its keywords come in the customary order.
    serde_json::to_value(schema).expect("a schema is JSON")
});

/// The schema of the whole file, draft 2020-12. It has no references: each field is described in
/// its place.
pub fn whole() -> &'static Value {
    &WHOLE
}

/// What is allowed besides the fields that are there: nothing. `null` counts as absent and is not
/// worth writing, so the schema does not show it, nor as a default.
fn plain(schema: &mut Schema) {
    let has_fields = schema.get("properties").is_some();
    if has_fields && schema.get("additionalProperties").is_none() {
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            schema.insert("type".to_owned(), kind);
        }
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

/// What a schema describes.
pub(super) fn kind(schema: &Value) -> Kind<'_> {
    if let Some(Value::Object(fields)) = schema.get("properties") {
        return Kind::Object(fields);
    }
    match schema.get("items") {
        Some(items) if items.get("properties").is_some() => Kind::Objects(items),
        Some(_) | None => Kind::Leaf,
    }
}

/// Whether the value must not be shown.
pub(super) fn is_secret(schema: &Value) -> bool {
    schema.get("writeOnly") == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, explain, parse, reference};

    #[test]
    fn the_schema_that_is_checked_in_is_the_one_of_the_types() {
        let schema = format!("{:#}\n", whole());
        assert_is_checked_in("docs/config.schema.json", &schema, "--schema");
    }

    #[test]
    fn the_page_that_is_checked_in_is_the_one_of_the_types() {
        assert_is_checked_in("docs/configuration.md", &reference::page(), "--reference");
    }

    #[test]
    fn every_field_has_a_description_and_a_type() {
        each_field(whole(), "", &mut |path, field| {
            let description = field["description"].as_str().unwrap_or_default();
            assert!(description.ends_with('.'), "{path} needs a comment of whole sentences");
            assert!(field["type"].is_string(), "{path} has not one type: {field}");
        });
    }

    /// A field that may be left out says what happens then: by its default, by being required, or in
    /// its comment.
    #[test]
    fn every_field_has_a_default_or_says_what_happens_without_it() {
        each_object(whole(), &mut |object| {
            let Kind::Object(fields) = kind(object) else { return };
            let required = object["required"].as_array().cloned().unwrap_or_default();
            for (name, field) in fields.iter().filter(|(_, f)| !matches!(kind(f), Kind::Object(_)))
            {
                let told = field["description"].as_str().unwrap_or_default().contains("Left out");
                let is_required = required.iter().any(|required| required == name);
                let ways = [told, is_required, field.get("default").is_some()];
                let count = ways.iter().filter(|way| **way).count();
                assert_eq!(count, 1, "{name}: one of a default, `required`, \"Left out, ...\"");
            }
        });
    }

    #[test]
    fn no_object_takes_fields_that_it_does_not_know() {
        each_object(whole(), &mut |object| {
            assert_eq!(object["additionalProperties"], Value::Bool(false), "{object}");
        });
    }

    #[test]
    fn a_digest_is_a_secret() {
        each_field(whole(), "", &mut |path, field| {
            assert!(!path.contains("sha256") || is_secret(field), "{path} needs writeOnly");
        });
    }

    #[test]
    fn the_defaults_of_the_schema_are_those_of_the_gateway() {
        let environment = Environment::default();
        let defaults = explain("{}", &environment).unwrap();
        let written = parse(&defaults.effective().to_string(), &environment).unwrap();
        assert_eq!(format!("{written:?}"), format!("{:?}", defaults.config));
        let listener = r#"{"listeners": [{"address": "127.0.0.1:50051"}]}"#;
        let listener = explain(listener, &environment).unwrap();
        assert_eq!(listener.effective(), defaults.effective());
    }

    #[test]
    fn what_the_schema_allows_is_what_the_gateway_takes() {
        for path in ["/workers", "/limits/calls_max", "/limits/metadata_entries_max"] {
            let field = &whole().pointer(&path.replace('/', "/properties/")).unwrap();
            let is_taken = |number: u64| {
                let nested = |inner: Value, name: &str| serde_json::json!({ name: inner });
                let file = path.rsplit('/').filter(|name| !name.is_empty());
                let file = file.fold(Value::from(number), nested);
                parse(&file.to_string(), &Environment::default()).is_ok()
            };
            let (least, most) = (field["minimum"].as_u64(), field["maximum"].as_u64());
            let (least, most) = (least.unwrap(), most.unwrap());
            assert!(is_taken(least) && !is_taken(least - 1), "{path}");
            assert!(is_taken(most) && !is_taken(most + 1), "{path}");
        }
    }

    fn assert_is_checked_in(file: &str, generated: &str, option: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            checked_in == generated,
            "{file} is not what the types say; write it anew: cargo run -- config {option} > {file}"
        );
    }

    fn each_field(schema: &Value, path: &str, see: &mut dyn FnMut(&str, &Value)) {
        match kind(schema) {
            Kind::Object(fields) => {
                for (name, field) in fields {
                    let path = crate::config::steps::field_path(path, name);
                    see(&path, field);
                    each_field(field, &path, see);
                }
            }
            Kind::Objects(items) => each_field(items, path, see),
            Kind::Leaf => {}
        }
    }

    fn each_object(schema: &Value, see: &mut dyn FnMut(&Value)) {
        match kind(schema) {
            Kind::Object(fields) => {
                see(schema);
                fields.values().for_each(|field| each_object(field, see));
            }
            Kind::Objects(items) => each_object(items, see),
            Kind::Leaf => {}
        }
    }
}
