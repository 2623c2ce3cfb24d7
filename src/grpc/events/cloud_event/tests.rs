//! `CloudEvents` that are published, and texts that are none.

use super::*;

#[test]
fn the_least_cloud_event_becomes_an_event_under_its_type() {
    let expected = Event {
        id: "7".to_owned(),
        topic: "orders.paid".to_owned(),
        publisher_id: String::new(),
        payload: Bytes::new(),
        timestamp: 0,
        metadata: pairs(&LEAST),
    };
    assert_eq!(event(least(), String::new()), Ok(expected));
}

#[test]
fn a_given_topic_wins_and_the_type_stays_in_the_metadata() {
    let event = event(least(), "orders.eu".to_owned()).unwrap();
    assert_eq!(event.topic, "orders.eu");
    assert_eq!(event.metadata, pairs(&LEAST));
}

#[test]
fn each_type_of_attribute_has_its_canonical_text() {
    for (value, text) in [
        (Attr::CeBoolean(true), "true"),
        (Attr::CeBoolean(false), "false"),
        (Attr::CeInteger(i32::MIN), "-2147483648"),
        (Attr::CeInteger(0), "0"),
        (string("Grüße, \"%41\" 😀"), "Grüße, \"%41\" 😀"),
        (string(""), ""),
        (Attr::CeBytes(Bytes::from_static(b"\xfb\xff\xfe\x00")), "+//+AA=="),
        (Attr::CeUri("urn:x:1".to_owned()), "urn:x:1"),
        (Attr::CeUriRef("../a?b#c".to_owned()), "../a?b#c"),
        (timestamp(0, 0), "1970-01-01T00:00:00Z"),
        (timestamp(1_522_900_584, 500_000_000), "2018-04-05T03:56:24.5Z"),
        (timestamp(-1, 1), "1969-12-31T23:59:59.000000001Z"),
        (timestamp(*SECONDS.start(), 0), "0001-01-01T00:00:00Z"),
        (timestamp(*SECONDS.end(), 999_999_999), "9999-12-31T23:59:59.999999999Z"),
    ] {
        let expected = pairs(&[LEAST.as_slice(), &[("ce-extension1", text)]].concat());
        assert_eq!(with("extension1", value).unwrap().metadata, expected);
    }
}

#[test]
fn the_content_type_has_no_prefix() {
    let event = with("datacontenttype", string("text/xml")).unwrap();
    assert_eq!(event.metadata, pairs(&[&LEAST[..], &[("content-type", "text/xml")]].concat()));
    let event = with("contenttype", string("mine")).unwrap();
    assert_eq!(event.metadata, pairs(&[&LEAST[..], &[("ce-contenttype", "mine")]].concat()));
}

#[test]
fn the_time_is_the_timestamp_too() {
    let event = with("time", timestamp(1_522_900_584, 999_999_999)).unwrap();
    assert_eq!(event.timestamp, 1_522_900_584);
    assert_eq!(event.metadata["ce-time"], "2018-04-05T03:56:24.999999999Z");
    assert_eq!(with("time", timestamp(-1, 1)).unwrap().timestamp, -1);
    // Another attribute is not.
    assert_eq!(with("expirytime", timestamp(5, 0)).unwrap().timestamp, 0);
}

#[test]
fn a_time_may_be_a_text_which_stays_as_it_is() {
    for (text, seconds) in [
        ("2018-04-05T03:56:24Z", 1_522_900_584),
        ("2018-04-05t03:56:24z", 1_522_900_584),
        ("2018-04-05T05:56:24+02:00", 1_522_900_584),
        ("2018-04-04T23:26:24.1234567890123-04:30", 1_522_900_584),
        ("2016-12-31T23:59:60Z", 1_483_228_799),
        ("9999-12-31T23:59:59Z", *SECONDS.end()),
    ] {
        let event = with("time", string(text)).unwrap();
        assert_eq!((event.timestamp, &*event.metadata["ce-time"]), (seconds, text));
    }
}

#[test]
fn a_time_that_is_none_is_refused() {
    for text in [
        "",
        "now",
        "1522900584",
        "2018-04-05",
        "2018-04-05T03:56:24",
        "2018-04-05T03:56Z",
        "2018-04-05 03:56:24Z",
        "2018-04-05T03:56:24.Z",
        "2018-04-05T03:56:24,5Z",
        "2018-04-05T03:56:24 Z",
        "2018-04-05T03:56:24+0200",
        "2018-04-05T03:56:24+02",
        "2018-04-05T03:56:24+24:00",
        "2018-04-05T03:56:24Z[UTC]",
        "2018-04-05T24:00:00Z",
        "2018-04-05T03:56:61Z",
        "2018-02-29T00:00:00Z",
        "2018-00-01T00:00:00Z",
        "+12018-04-05T03:56:24Z",
        "2018-04-05T03:56:2é",
        "2018-04-05T03:56:24é",
    ] {
        assert_eq!(with("time", string(text)), Err(BadCloudEvent::NoTime), "{text}");
    }
    for value in [
        Attr::CeBoolean(true),
        Attr::CeInteger(1_522_900_584),
        Attr::CeBytes(Bytes::from_static(b"2018-04-05T03:56:24Z")),
        Attr::CeUri("2018-04-05T03:56:24Z".to_owned()),
        Attr::CeUriRef("2018-04-05T03:56:24Z".to_owned()),
    ] {
        assert_eq!(with("time", value), Err(BadCloudEvent::NoTime));
    }
}

#[test]
fn a_timestamp_out_of_range_is_refused() {
    for (seconds, nanos) in [
        (*SECONDS.start() - 1, 0),
        (*SECONDS.end() + 1, 0),
        (i64::MIN, 0),
        (i64::MAX, 0),
        (0, -1),
        (0, 1_000_000_000),
        (0, i32::MIN),
    ] {
        for name in ["time", "expirytime"] {
            let refused = Err(BadCloudEvent::OutOfRange(name.to_owned()));
            assert_eq!(with(name, timestamp(seconds, nanos)), refused, "{seconds} {nanos}");
        }
    }
}

#[test]
fn data_is_the_payload_as_it_is() {
    for (data, payload) in [
        (Data::BinaryData(Bytes::from_static(b"\x00\xff")), &b"\x00\xff"[..]),
        (Data::TextData("Grüße\n\u{0}".to_owned()), "Grüße\n\u{0}".as_bytes()),
        (Data::TextData(String::new()), b""),
    ] {
        let event = event(CloudEvent { data: Some(data), ..least() }, String::new()).unwrap();
        assert_eq!((&event.payload[..], event.metadata), (payload, pairs(&LEAST)));
    }
}

#[test]
fn a_protobuf_message_says_what_it_is() {
    let data = |type_url: &str| {
        let (type_url, value) = (type_url.to_owned(), vec![8, 1]);
        Some(Data::ProtoData(prost_types::Any { type_url, value }))
    };
    let delivered = |data, attributes| {
        let event = event(CloudEvent { data, attributes, ..least() }, String::new()).unwrap();
        assert_eq!(event.payload, [8, 1][..]);
        event.metadata
    };
    let mut expected = pairs(&LEAST);
    expected.insert("content-type".to_owned(), "application/protobuf".to_owned());
    assert_eq!(delivered(data(""), HashMap::new()), expected);
    expected.insert("ce-dataschema".to_owned(), "example.com/demo.Order".to_owned());
    assert_eq!(delivered(data("example.com/demo.Order"), HashMap::new()), expected);
    // What the publisher says wins.
    let given = [("datacontenttype", "application/x"), ("dataschema", "urn:mine")];
    let given = given.map(|(name, text)| attribute(name, Some(string(text)))).into();
    expected.insert("content-type".to_owned(), "application/x".to_owned());
    expected.insert("ce-dataschema".to_owned(), "urn:mine".to_owned());
    assert_eq!(delivered(data("example.com/demo.Order"), given), expected);
    let bad = event(CloudEvent { data: data("a\nb"), ..least() }, String::new());
    let name = "dataschema".to_owned();
    assert_eq!(bad, Err(BadCloudEvent::BadCharacter { name, character: '\n' }));
}

#[test]
fn what_every_cloud_event_has_is_not_empty() {
    for (name, empty) in [
        ("id", CloudEvent { id: String::new(), ..least() }),
        ("source", CloudEvent { source: String::new(), ..least() }),
        ("specversion", CloudEvent { spec_version: String::new(), ..least() }),
        ("type", CloudEvent { r#type: String::new(), ..least() }),
    ] {
        assert_eq!(event(empty, "a".to_owned()), Err(BadCloudEvent::Empty(name.to_owned())));
    }
    for name in NEVER_EMPTY {
        assert_eq!(with(name, string("")), Err(BadCloudEvent::Empty(name.to_owned())));
    }
}

#[test]
fn another_version_is_refused() {
    for version in ["0.3", "1", "1.0.2", "1.1", "2.0", " 1.0"] {
        let other = CloudEvent { spec_version: version.to_owned(), ..least() };
        let refused = Err(BadCloudEvent::OtherVersion(version.to_owned()));
        assert_eq!(event(other, String::new()), refused);
    }
}

#[test]
fn the_name_of_an_attribute_is_lower_case_letters_and_digits() {
    let longest = "x".repeat(NAME_BYTES_MAX);
    for name in ["a", "7", "traceparent", &longest] {
        assert_eq!(with(name, string("v")).unwrap().metadata[&format!("ce-{name}")], "v");
    }
    let too_long = "x".repeat(NAME_BYTES_MAX + 1);
    for name in ["", "Subject", "my-name", "my_name", "a b", "ä", "a\n", &too_long] {
        let refused = with(name, string("v"));
        assert!(matches!(refused, Err(BadCloudEvent::BadName(_))), "{name}: {refused:?}");
    }
    for name in RESERVED {
        assert_eq!(with(name, string("v")), Err(BadCloudEvent::Reserved(name.to_owned())));
    }
}

#[test]
fn an_attribute_has_a_value() {
    for name in ["subject", "time"] {
        let attributes = [attribute(name, None)].into();
        let refused = event(CloudEvent { attributes, ..least() }, String::new());
        assert_eq!(refused, Err(BadCloudEvent::NoValue(name.to_owned())));
    }
}

#[test]
fn a_text_has_no_control_characters_and_no_noncharacters() {
    let bad = ['\0', '\n', '\u{1f}', '\u{7f}', '\u{9f}', '\u{fdd0}', '\u{ffff}', '\u{10fffe}'];
    for character in bad {
        let refused =
            |name: &str| Err(BadCloudEvent::BadCharacter { name: name.to_owned(), character });
        let text = format!("a{character}");
        for value in [Attr::CeString, Attr::CeUri, Attr::CeUriRef] {
            assert_eq!(with("subject", value(text.clone())), refused("subject"));
        }
        let source = CloudEvent { source: text.clone(), ..least() };
        assert_eq!(event(source, String::new()), refused("source"));
        let id = CloudEvent { id: text, ..least() };
        assert_eq!(event(id, String::new()), refused("id"));
    }
    for good in [' ', '~', '\u{a0}', '\u{fdcf}', '\u{fdf0}', '\u{fffd}', '\u{10fffd}'] {
        assert!(with("subject", string(&format!("{good}"))).is_ok(), "{good:?}");
    }
}

#[test]
fn an_error_names_the_attribute_and_is_short_and_safe_to_show() {
    let endless = "\r\n😀".repeat(100_000);
    for (refused, told) in [
        (with("", string("")), "\"\" is no name of an attribute: 1 to 64 of a-z and 0-9"),
        (with("id", string("")), "\"id\" is no name of a further attribute"),
        (with("subject", string("")), "attribute subject must not be empty"),
        (
            with("subject", string("a\u{85}")),
            "attribute subject must not have the character U+0085",
        ),
        (
            with("time", string(&endless)),
            "attribute time must be a timestamp or a text of RFC 3339's form",
        ),
        (
            with("seen", timestamp(0, -1)),
            "attribute seen must be a timestamp in the years 1 to 9999",
        ),
    ] {
        assert_eq!(refused.unwrap_err().to_string(), told);
    }
    let version = CloudEvent { spec_version: "x".repeat(100_000), ..least() };
    for refused in [with(&endless, string("v")), event(version, String::new())] {
        let told = refused.unwrap_err().to_string();
        assert!(told.chars().count() < 400 && !told.contains(char::is_control), "{told}");
    }
}

/// The metadata of [`least`].
const LEAST: [(&str, &str); 4] =
    [("ce-id", "7"), ("ce-source", "/shop"), ("ce-specversion", "1.0"), ("ce-type", "orders.paid")];

fn least() -> CloudEvent {
    CloudEvent {
        id: "7".to_owned(),
        source: "/shop".to_owned(),
        spec_version: "1.0".to_owned(),
        r#type: "orders.paid".to_owned(),
        ..CloudEvent::default()
    }
}

fn with(name: &str, value: Attr) -> Result<Event, BadCloudEvent> {
    let attributes = [attribute(name, Some(value))].into();
    event(CloudEvent { attributes, ..least() }, String::new())
}

fn attribute(name: &str, attr: Option<Attr>) -> (String, CloudEventAttributeValue) {
    (name.to_owned(), CloudEventAttributeValue { attr })
}

fn string(text: &str) -> Attr {
    Attr::CeString(text.to_owned())
}

fn timestamp(seconds: i64, nanos: i32) -> Attr {
    Attr::CeTimestamp(Timestamp { seconds, nanos })
}

fn pairs(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
