//! Reads JSON text into a value and finds what a plain reader passes over in silence: a field
//! written twice, of which the first would be lost, and a `null` in a list.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Number, Value};

use super::mistakes::Mistakes;
use super::steps::field_path;

/// How many values a file may have, lists and objects included: enough for thousands of keys, and little
/// enough that no file takes much memory or time.
const VALUES_MAX: usize = 100_000;

/// Reads the text. `None` if it is not JSON.
pub(super) fn read(text: &str, mistakes: &mut Mistakes) -> Option<Value> {
    // Some editors put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let found = RefCell::new(std::mem::take(mistakes));
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let node = Node { place: &Place::Root, mistakes: &found, values: &Cell::new(0) };
    let result = node
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| match error.classify() {
            Category::Data => error.to_string(),
            Category::Io | Category::Syntax | Category::Eof => format!("is not JSON: {error}"),
        });
    *mistakes = found.into_inner();
    mistakes.note("", result)
}

/// Where a value stands. It is spelt out only for mistakes: in a large file that takes too long.
enum Place<'p> {
    Root,
    Field(&'p Place<'p>, &'p str),
    Item(&'p Place<'p>, usize),
}

impl Place<'_> {
    fn path(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(parent, name) => field_path(&parent.path(), name),
            Self::Item(parent, index) => format!("{}[{index}]", parent.path()),
        }
    }
}

/// A value about to be read, where it stands, and how many came before it.
#[derive(Clone, Copy)]
struct Node<'m> {
    place: &'m Place<'m>,
    mistakes: &'m RefCell<Mistakes>,
    values: &'m Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > VALUES_MAX {
            let text = format_args!("has more than {VALUES_MAX} values, as no configuration has");
            return Err(Error::custom(text));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let place = &Place::Field(self.place, &name);
            if fields.contains_key(&name) {
                self.mistakes.borrow_mut().add(place.path(), "is written twice");
            }
            let value = map.next_value_seed(Node { place, ..self })?;
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let place = &Place::Item(self.place, items.len());
            let Some(item) = list.next_element_seed(Node { place, ..self })? else {
                return Ok(Value::Array(items));
            };
            if item.is_null() {
                let text = "is null: take it out of the list";
                self.mistakes.borrow_mut().add(place.path(), text);
            }
            items.push(item);
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_json_reads_as_it_does_elsewhere() {
        let text = r#"{"a": [1, -2, 3.5, true, "x", {}], "b": null, "c": {"d": []}}"#;
        assert_eq!(read_all(text), (serde_json::from_str(text).ok(), vec![]));
        assert_eq!(read_all("\u{feff}{}").0, Some(Value::Object(Map::new())));
    }

    #[test]
    fn a_field_written_twice_and_a_null_in_a_list_are_mistakes() {
        let (_, mistakes) = read_all(r#"{"keys": [{"id": 1, "id": 2}, null], "keys": []}"#);
        assert_eq!(
            mistakes,
            [
                "keys[0].id: is written twice",
                "keys[1]: is null: take it out of the list",
                "keys: is written twice",
            ]
        );
    }

    #[test]
    fn a_syntax_error_has_a_line_and_a_column() {
        let (value, mistakes) = read_all("{\n  \"workers\": 2,\n}");
        assert_eq!(value, None);
        assert_eq!(mistakes, ["is not JSON: trailing comma at line 3 column 1"]);
        assert_eq!(read_all("{} {}").0, None);
        assert_eq!(read_all("").0, None);
        assert_eq!(read_all(&"[".repeat(100_000)).0, None);
    }

    #[test]
    fn a_file_of_too_many_values_is_not_read_to_its_end() {
        let list = |items: usize| format!("[{}1]", "1,".repeat(items - 1));
        assert!(read_all(&list(VALUES_MAX - 1)).0.is_some());
        let (value, mistakes) = read_all(&list(VALUES_MAX));
        assert_eq!(value, None);
        assert!(mistakes[0].starts_with("has more than 100000 values"), "{mistakes:?}");
    }

    fn read_all(text: &str) -> (Option<Value>, Vec<String>) {
        let mut mistakes = Mistakes::default();
        let value = read(text, &mut mistakes);
        (value, mistakes.into_list().iter().map(ToString::to_string).collect())
    }
}
