//! Finds the field that a mistyped name was meant to be.

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

/// More slips than this make another word.
const SLIPS_MAX: usize = 3;

/// The names of a struct's fields in the file.
pub(super) fn field_names<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    // It ends in an error at once, because there is nothing to read; the names are what it is for.
    let _ = T::deserialize(FieldNames(&mut names));
    names
}

/// The name that is closest to what was written, if it is close.
pub(super) fn closest<'n>(written: &str, names: &[&'n str]) -> Option<&'n str> {
    let slips_max = SLIPS_MAX.min(written.len() / 2);
    // No longer name can be that close, and comparing it would take time for nothing.
    let near = names.iter().filter(|name| name.len().abs_diff(written.len()) <= slips_max);
    let (slips, name) = near.map(|name| (slips(written, name), *name)).min()?;
    (slips <= slips_max).then_some(name)
}

/// How many letters must be put in, taken out or replaced to get from one word to the other.
fn slips(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, wanted) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *wanted);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

/// Has nothing to read, and remembers which fields were asked for.
struct FieldNames<'n>(&'n mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("nothing to read"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("nothing to read"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["interval", "late_after", "dead_after", "id"];

    #[test]
    fn a_slip_finds_its_name() {
        assert_eq!(closest("intervall", NAMES), Some("interval"));
        assert_eq!(closest("late-after", NAMES), Some("late_after"));
        assert_eq!(closest("deadAfter", NAMES), Some("dead_after"));
    }

    #[test]
    fn another_word_finds_none() {
        for word in ["timeout", "", "x", &"interval".repeat(1000)] {
            assert_eq!(closest(word, NAMES), None, "{word}");
        }
    }

    #[test]
    fn slips_are_counted_as_edits() {
        assert_eq!(slips("kitten", "sitting"), 3);
        assert_eq!(slips("", "abc"), 3);
        assert_eq!(slips("abc", "abc"), 0);
    }
}
