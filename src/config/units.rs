//! Durations and sizes the way people write them: `30s`, `4MiB`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::Value;

/// The longest duration: longer ones are slips, and adding them to a clock could overflow it.
const SPAN_MILLIS_MAX: u64 = 365 * DAY;

const DAY: u64 = 24 * 60 * 60 * 1000;

/// Milliseconds in each unit, the largest first.
const SPAN_UNITS: &[Unit] =
    &[("d", DAY), ("h", 60 * 60 * 1000), ("m", 60 * 1000), ("s", 1000), ("ms", 1)];

/// Bytes in each unit, the largest first.
const SIZE_UNITS: &[Unit] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

type Unit = (&'static str, u64);

/// A duration, as `500ms`, `30s`, `5m`, `2h` or `1d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

/// A number of bytes, as `512B`, `64KiB`, `4MiB` or `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(usize);

/// Why a text is no duration or no size. Each says what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// It is not a whole number and a unit of time.
    NotASpan,
    /// It is longer than a year.
    SpanTooLong,
    /// It is not a whole number and a unit of size.
    NotASize,
    /// It is more bytes than there are addresses.
    SizeTooLarge,
}

impl Span {
    /// The duration it stands for.
    pub fn duration(self) -> Duration {
        self.0
    }
}

/// The part of a millisecond is dropped: nothing here is written or measured finer.
impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl Size {
    /// The number of bytes it stands for.
    pub fn bytes(self) -> usize {
        self.0
    }
}

impl From<usize> for Size {
    fn from(bytes: usize) -> Self {
        Self(bytes)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, SPAN_UNITS).ok_or(UnitError::NotASpan)?;
        let millis = product(number, unit).filter(|millis| *millis <= SPAN_MILLIS_MAX);
        millis.map(|millis| Self(Duration::from_millis(millis))).ok_or(UnitError::SpanTooLong)
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, SIZE_UNITS).ok_or(UnitError::NotASize)?;
        let bytes = product(number, unit).and_then(|bytes| usize::try_from(bytes).ok());
        bytes.map(Self).ok_or(UnitError::SizeTooLarge)
    }
}

/// Takes the digits from the front; what is left must be a unit to the letter.
fn split<'a>(text: &'a str, units: &[Unit]) -> Option<(&'a str, u64)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    let (_, unit) = units.iter().find(|(name, _)| *name == rest)?;
    (!number.is_empty()).then_some((number, *unit))
}

/// `None` if it overflows.
fn product(number: &str, unit: u64) -> Option<u64> {
    number.parse::<u64>().ok()?.checked_mul(unit)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in(f, self.0.as_millis(), SPAN_UNITS, "s")
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in(f, self.0 as u128, SIZE_UNITS, "B")
    }
}

/// In the largest unit of which it is a whole number.
fn write_in(f: &mut fmt::Formatter<'_>, amount: u128, units: &[Unit], zero: &str) -> fmt::Result {
    let whole = units.iter().find(|(_, unit)| amount.is_multiple_of(u128::from(*unit)));
    match whole {
        Some((name, unit)) if amount > 0 => write!(f, "{}{name}", amount / u128::from(*unit)),
        Some(_) | None => write!(f, "0{zero}"),
    }
}

/// What is read from a text with a unit.
trait Quantity: FromStr<Err = UnitError> {
    /// What went wrong when there was only a number.
    const MALFORMED: UnitError;
    const EXPECTED: &'static str;
}

impl Quantity for Span {
    const MALFORMED: UnitError = UnitError::NotASpan;
    const EXPECTED: &'static str = "a duration, like \"30s\"";
}

impl Quantity for Size {
    const MALFORMED: UnitError = UnitError::NotASize;
    const EXPECTED: &'static str = "a size, like \"4MiB\"";
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(QuantityVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(QuantityVisitor(PhantomData))
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = pattern(SPAN_UNITS);
        json_schema!({ "type": "string", "title": "duration", "pattern": pattern })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = pattern(SIZE_UNITS);
        json_schema!({ "type": "string", "title": "size", "pattern": pattern })
    }
}

/// What a number with one of these units looks like.
fn pattern(units: &[Unit]) -> String {
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    format!("^[0-9]+({})$", names.join("|"))
}

/// Refuses zero: nothing could be held, or no time would pass. For fields of any unit.
pub(super) fn more_than_zero(schema: &mut Schema) {
    if let Some(Value::String(pattern)) = schema.get_mut("pattern") {
        *pattern = pattern.replace("^[0-9]+", "^0*[1-9][0-9]*");
    } else {
        schema.insert("minimum".to_owned(), Value::from(1));
    }
}

struct QuantityVisitor<Q>(PhantomData<Q>);

impl<Q: Quantity> Visitor<'_> for QuantityVisitor<Q> {
    type Value = Q;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Q::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Q, E> {
        text.parse().map_err(|error| E::custom(format_args!("{text:?} {error}")))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Q, E> {
        Err(E::custom(format_args!("{number} has no unit and {}", Q::MALFORMED)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Q, E> {
        Err(E::custom(format_args!("{number} {}", Q::MALFORMED)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Q, E> {
        Err(E::custom(format_args!("{number} {}", Q::MALFORMED)))
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotASpan => {
                "is not a duration: write a whole number and a unit without a space, \
                 like \"500ms\", \"30s\", \"5m\", \"2h\" or \"1d\""
            }
            Self::SpanTooLong => "is too long: write \"365d\" at most",
            Self::NotASize => {
                "is not a size: write a whole number and a unit without a space, \
                 like \"512B\", \"64KiB\", \"4MiB\" or \"1GiB\""
            }
            Self::SizeTooLarge => "is too large a size",
        })
    }
}

impl std::error::Error for UnitError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        let millis = |text: &str| text.parse::<Span>().unwrap().duration().as_millis();
        assert_eq!(millis("500ms"), 500);
        assert_eq!(millis("30s"), 30_000);
        assert_eq!(millis("5m"), 300_000);
        assert_eq!(millis("2h"), 7_200_000);
        assert_eq!(millis("1d"), 86_400_000);
        assert_eq!(millis("0s"), 0);
    }

    #[test]
    fn a_size_is_a_whole_number_and_a_binary_unit() {
        let bytes = |text: &str| text.parse::<Size>().unwrap().bytes();
        assert_eq!(bytes("512B"), 512);
        assert_eq!(bytes("64KiB"), 65_536);
        assert_eq!(bytes("4MiB"), 4_194_304);
        assert_eq!(bytes("1GiB"), 1_073_741_824);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "5", "s", "5 m", " 5m", "5m ", "-5s", "+5s", "1e9", "1.5s", "1h30m", "5M"]
        {
            assert_eq!(text.parse::<Span>(), Err(UnitError::NotASpan), "{text:?}");
        }
        for text in ["", "5", "MiB", "4 MiB", "-4MiB", "1e9", "4MB", "4mib", "4M", "0x4B", "٤MiB"]
        {
            assert_eq!(text.parse::<Size>(), Err(UnitError::NotASize), "{text:?}");
        }
    }

    #[test]
    fn overflow_is_refused_and_does_not_wrap() {
        for text in ["366d", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(text.parse::<Span>(), Err(UnitError::SpanTooLong), "{text}");
        }
        for text in ["17179869184GiB", "99999999999999999999B"] {
            assert_eq!(text.parse::<Size>(), Err(UnitError::SizeTooLarge), "{text}");
        }
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        for text in ["0s", "1ms", "1500ms", "90s", "5m", "25h", "365d"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["0B", "1023B", "1KiB", "1025KiB", "3MiB", "7GiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("120s".parse::<Span>().unwrap().to_string(), "2m");
    }

    #[test]
    fn a_bare_number_is_told_what_to_write() {
        let error = serde_json::from_str::<Span>("30").unwrap_err().to_string();
        assert!(error.contains("30 has no unit") && error.contains("\"30s\""), "{error}");
        let error = serde_json::from_str::<Size>("1e9").unwrap_err().to_string();
        assert!(error.contains("is not a size") && error.contains("\"4MiB\""), "{error}");
    }
}
