//! The shapes of JSON values in the file, each saying in plain words what it expects.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};

/// An object. A derived struct alone would also take a list of its fields in order, which nobody
/// means to write. `null` is an empty object, as it is an absent field elsewhere.
#[derive(Debug, Default)]
pub(super) struct Section<T>(pub(super) T);

/// A number of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count(pub(super) usize);

impl From<usize> for Count {
    fn from(count: usize) -> Self {
        Self(count)
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SectionVisitor(PhantomData)).map(Self)
    }
}

/// A section is described as what is in it.
impl<T: JsonSchema> JsonSchema for Section<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

struct SectionVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for SectionVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object in { }")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0 })
    }
}

struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number without quotes, unit or exponent, like 64")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Count, E> {
        let count = usize::try_from(number);
        count.map(Count).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::Deserialize;

    use super::*;
    use crate::config::units::Span;

    #[derive(Debug, Default, Deserialize)]
    struct Pause {
        length: Option<Span>,
    }

    #[test]
    fn a_section_is_an_object_and_no_list() {
        let section: Section<Pause> = serde_json::from_str(r#"{"length": "5s"}"#).unwrap();
        assert_eq!(section.0.length, Some(Span::from(Duration::from_secs(5))));
        let error = serde_json::from_str::<Section<Pause>>(r#"["5s"]"#).unwrap_err();
        assert!(error.to_string().contains("expected an object in { }"), "{error}");
    }

    #[test]
    fn a_count_is_a_whole_number() {
        assert_eq!(serde_json::from_str::<Count>("64").unwrap(), Count(64));
        for text in ["-1", "1e9", "1.0", "\"64\"", "99999999999999999999", "null", "true"] {
            let error = serde_json::from_str::<Count>(text).unwrap_err().to_string();
            assert!(error.contains("expected a whole number"), "{error}");
        }
    }
}
