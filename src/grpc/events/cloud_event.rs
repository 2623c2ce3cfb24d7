//! What a `CloudEvent` is published as.
//!
//! Sections are those of the `CloudEvents` documents of version 1.0: "Core" is their spec.md, "HTTP" the
//! HTTP protocol binding, whose binary mode is what subscribers see, "Protobuf" the protobuf format.
//! Whether a URI is one, and a content type, is left to who reads it: a gateway passes them on.
#![cfg_attr(not(test), expect(dead_code, reason = "the service that publishes is to come"))]

use std::collections::HashMap;
use std::error::Error;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::SignedDuration;
use jiff::civil::DateTime;
use prost_types::Timestamp;

use crate::grpc::own_proto::cloud_events::CloudEvent;
use crate::grpc::own_proto::cloud_events::cloud_event::cloud_event_attribute_value::Attr;
use crate::grpc::own_proto::cloud_events::cloud_event::{CloudEventAttributeValue, Data};
use crate::grpc::own_proto::events::Event;
use crate::observe::log;

/// The only version there is: patches of the specification do not change this text, and it has no minor
/// versions (`CloudEvents`' GOVERNANCE.md, "Release Process and Versioning"). What another major version
/// means cannot be known.
const VERSION: &str = "1.0";

/// How long the name of an attribute may be. It should not have more than 20 characters (Core, "Naming
/// Conventions"), which is no must: this is three times that, and fits into an error.
const NAME_BYTES_MAX: usize = 64;

/// Names that are no attribute's: those of the fields, because an attribute appears once (Core, "Context
/// Attributes"), and the one that Core, "Naming Conventions" keeps for the data.
const RESERVED: [&str; 5] = ["id", "source", "specversion", "type", "data"];

/// Attributes that are not empty if they are there (Core, "OPTIONAL Attributes").
const NEVER_EMPTY: [&str; 3] = ["datacontenttype", "dataschema", "subject"];

/// The moments that a protobuf timestamp may have: the years 1 to 9999, in Unix seconds.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Why something is no `CloudEvent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BadCloudEvent {
    /// This attribute must not be empty.
    Empty(String),
    /// It is of another version; this one, fit to be shown.
    OtherVersion(String),
    /// This, fit to be shown, is no name of an attribute.
    BadName(String),
    /// No attribute has this name.
    Reserved(String),
    /// This attribute has no value.
    NoValue(String),
    /// A character that no text of a `CloudEvent` has.
    BadCharacter {
        /// The attribute with that text.
        name: String,
        /// The character.
        character: char,
    },
    /// The attribute `time` is no point in time.
    NoTime,
    /// The timestamp of this attribute is not in the years 1 to 9999.
    OutOfRange(String),
}

/// The event that a `CloudEvent` is delivered as, under this topic, or if that is empty under its type.
/// It has no publisher yet, and the timestamp 0 if the `CloudEvent` has no time.
///
/// # Errors
///
/// It is no `CloudEvent`.
pub(super) fn event(cloud_event: CloudEvent, topic: String) -> Result<Event, BadCloudEvent> {
    let CloudEvent { id, source, spec_version, r#type, mut attributes, data } = cloud_event;
    let fields =
        [("id", &id), ("source", &source), ("specversion", &spec_version), ("type", &r#type)];
    let mut metadata = HashMap::with_capacity(fields.len() + attributes.len() + 2);
    for (name, value) in fields {
        if value.is_empty() {
            return Err(BadCloudEvent::Empty(name.to_owned()));
        }
        metadata.insert(metadata_name(name), checked(name, value.clone())?);
    }
    if spec_version != VERSION {
        return Err(BadCloudEvent::OtherVersion(log::outside(&spec_version)));
    }
    let payload = payload(data, &mut attributes);
    let mut timestamp = 0;
    for (name, value) in attributes {
        check_name(&name)?;
        let Some(value) = value.attr else { return Err(BadCloudEvent::NoValue(name)) };
        if name == "time" {
            timestamp = unix_seconds(&value)?;
        }
        metadata.insert(metadata_name(&name), text(&name, value)?);
    }
    let topic = if topic.is_empty() { r#type } else { topic };
    Ok(Event { id, topic, publisher_id: String::new(), payload, timestamp, metadata })
}

/// The data as bytes. A protobuf message brings the attributes that say so, if they are not given
/// (Protobuf, section 3).
fn payload(
    data: Option<Data>,
    attributes: &mut HashMap<String, CloudEventAttributeValue>,
) -> Bytes {
    let message = match data {
        None => return Bytes::new(),
        Some(Data::BinaryData(bytes)) => return bytes,
        Some(Data::TextData(text)) => return text.into(),
        Some(Data::ProtoData(message)) => message,
    };
    let mut imply = |name: &str, value| {
        let implied = || CloudEventAttributeValue { attr: Some(value) };
        attributes.entry(name.to_owned()).or_insert_with(implied);
    };
    imply("datacontenttype", Attr::CeString("application/protobuf".to_owned()));
    // One that does not say what it is has no schema to name.
    if !message.type_url.is_empty() {
        imply("dataschema", Attr::CeUri(message.type_url));
    }
    message.value.into()
}

/// What an attribute is called in metadata (HTTP, sections 3.1.1 and 3.1.3.1).
fn metadata_name(name: &str) -> String {
    match name {
        "datacontenttype" => "content-type".to_owned(),
        _ => format!("ce-{name}"),
    }
}

/// Core, "Naming Conventions".
fn check_name(name: &str) -> Result<(), BadCloudEvent> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_allowed) {
        return Err(BadCloudEvent::BadName(log::outside(name)));
    }
    if RESERVED.contains(&name) {
        return Err(BadCloudEvent::Reserved(name.to_owned()));
    }
    Ok(())
}

/// The canonical string of a value (Core, "Type System"). It is not percent-encoded as HTTP headers
/// are: metadata may be any text.
fn text(name: &str, value: Attr) -> Result<String, BadCloudEvent> {
    match value {
        Attr::CeBoolean(value) => Ok(value.to_string()),
        Attr::CeInteger(value) => Ok(value.to_string()),
        Attr::CeBytes(value) => Ok(STANDARD.encode(value)),
        Attr::CeTimestamp(value) => {
            rfc3339(value).ok_or_else(|| BadCloudEvent::OutOfRange(name.to_owned()))
        }
        Attr::CeString(value) | Attr::CeUri(value) | Attr::CeUriRef(value) => {
            if value.is_empty() && NEVER_EMPTY.contains(&name) {
                return Err(BadCloudEvent::Empty(name.to_owned()));
            }
            checked(name, value)
        }
    }
}

/// A text without the characters that Core, "Type System" disallows in a String; no URI has any of
/// those either.
fn checked(name: &str, text: String) -> Result<String, BadCloudEvent> {
    let is_noncharacter = |character: char| {
        let number = u32::from(character);
        number & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&number)
    };
    match text.chars().find(|&character| character.is_control() || is_noncharacter(character)) {
        None => Ok(text),
        Some(character) => Err(BadCloudEvent::BadCharacter { name: name.to_owned(), character }),
    }
}

/// The text of a timestamp, in UTC, with as many digits of a second as it needs; none if it is no valid
/// one. A time of jiff's with a zone ends a day before the last moment that there may be.
fn rfc3339(timestamp: Timestamp) -> Option<String> {
    let is_valid =
        SECONDS.contains(&timestamp.seconds) && (0..1_000_000_000).contains(&timestamp.nanos);
    let since_epoch = SignedDuration::new(timestamp.seconds, timestamp.nanos);
    let epoch = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    let moment = is_valid.then(|| epoch.checked_add(since_epoch).ok())??;
    Some(format!("{moment}Z"))
}

/// What the attribute `time` says, which may come as a text too (Core, "Type System").
fn unix_seconds(time: &Attr) -> Result<i64, BadCloudEvent> {
    match time {
        Attr::CeTimestamp(time) => Ok(time.seconds),
        Attr::CeString(text) if is_rfc3339(text) => {
            let time: Timestamp = text.parse().map_err(|_| BadCloudEvent::NoTime)?;
            Ok(time.seconds)
        }
        Attr::CeString(_)
        | Attr::CeBoolean(_)
        | Attr::CeInteger(_)
        | Attr::CeBytes(_)
        | Attr::CeUri(_)
        | Attr::CeUriRef(_) => Err(BadCloudEvent::NoTime),
    }
}

/// Whether a text has the form of a `date-time` of RFC 3339, section 5.6: libraries read other forms
/// too.
fn is_rfc3339(text: &str) -> bool {
    const MOMENT: &str = "0000-00-00T00:00:00";
    let has_form = |text: &str, form: &str| {
        let fits = |(byte, form): (u8, u8)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte.eq_ignore_ascii_case(&form),
        };
        text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
    };
    let Some((moment, rest)) = text.split_at_checked(MOMENT.len()) else { return false };
    let zone = match rest.strip_prefix('.') {
        Some(fraction) if fraction.starts_with(|digit: char| digit.is_ascii_digit()) => {
            fraction.trim_start_matches(|digit: char| digit.is_ascii_digit())
        }
        _ => rest,
    };
    has_form(moment, MOMENT) && ["Z", "+00:00", "-00:00"].iter().any(|form| has_form(zone, form))
}

impl fmt::Display for BadCloudEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(name) => write!(f, "attribute {name} must not be empty"),
            Self::OtherVersion(version) => {
                write!(f, "attribute specversion must be \"{VERSION}\", not \"{version}\"")
            }
            Self::BadName(name) => write!(
                f,
                "\"{name}\" is no name of an attribute: 1 to {NAME_BYTES_MAX} of a-z and 0-9"
            ),
            Self::Reserved(name) => write!(f, "\"{name}\" is no name of a further attribute"),
            Self::NoValue(name) => write!(f, "attribute {name} has no value"),
            Self::BadCharacter { name, character } => {
                let number = u32::from(*character);
                write!(f, "attribute {name} must not have the character U+{number:04X}")
            }
            Self::NoTime => {
                f.write_str("attribute time must be a timestamp or a text of RFC 3339's form")
            }
            Self::OutOfRange(name) => {
                write!(f, "attribute {name} must be a timestamp in the years 1 to 9999")
            }
        }
    }
}

impl Error for BadCloudEvent {}

#[cfg(test)]
mod tests;
