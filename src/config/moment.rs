//! Points in time as people write them.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};

/// A point in time: the end of a day in UTC, `2027-03-31`, or to the second, `2027-03-31T12:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(Timestamp);

impl Moment {
    /// The same for the clock.
    pub(super) fn time(self) -> SystemTime {
        self.0.into()
    }

    fn parse(text: &str) -> Option<Self> {
        // A text with a time of day is no date, although its first part is one.
        if text.contains(['T', 't', ' ']) {
            return text.parse().ok().map(Self);
        }
        let day: Date = text.parse().ok()?;
        // After the last day there is, nothing expires.
        let next = day.checked_add(1.day()).and_then(|next| next.to_zoned(TimeZone::UTC));
        Some(Self(next.map_or(Timestamp::MAX, |next| next.timestamp())))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format_args!(
                "{text:?} is no date: write a day, like \"2027-03-31\", at whose end in UTC it is \
                 over, or a time, like \"2027-03-31T12:00:00Z\""
            ))
        })
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> Cow<'static, str> {
        "moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T.+)?$";
        json_schema!({ "type": "string", "title": "day or time", "pattern": pattern })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_lasts_to_its_end_and_a_time_is_exact() {
        let written = |text: &str| Moment::parse(text).unwrap().to_string();
        assert_eq!(written("2027-03-31"), "2027-04-01T00:00:00Z");
        assert_eq!(written("2027-12-31"), "2028-01-01T00:00:00Z");
        assert_eq!(written("9999-12-31"), Timestamp::MAX.to_string());
        assert_eq!(written("2027-03-31T12:00:00Z"), "2027-03-31T12:00:00Z");
        assert_eq!(written("2027-03-31T12:00:00+02:00"), "2027-03-31T10:00:00Z");
    }

    #[test]
    fn anything_else_is_refused_with_what_is_expected() {
        for text in ["", "tomorrow", "31.3.2027", "2027-02-30", "2027-03-31T12:00:00", "1e308"] {
            let error = serde_json::from_value::<Moment>(text.into()).unwrap_err().to_string();
            assert!(error.contains("is no date: write a day"), "{text}: {error}");
        }
        assert!(serde_json::from_str::<Moment>("1800000000").is_err());
    }
}
