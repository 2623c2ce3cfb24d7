//! The configuration as a whole: files and environments as people get them wrong, and random ones.

use std::path::Path;

use proptest::prelude::*;

use super::variables::{ITEM, names};
use super::{ConfigError, Environment, explain, load, parse};
use crate::auth::key::SAMPLE_KEY;

const KEY: &str = "plain-key-with-more-than-32-bytes-0001";
const OPEN: &str = r#"{"listeners": [{"address": "0.0.0.0:1"}]}"#;

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = load(Path::new("/nowhere/adit.json"), &Environment::default()).unwrap_err();
    assert!(error.to_string().starts_with("cannot read /nowhere/adit.json: "), "{error}");
}

#[test]
fn what_is_no_text_is_refused_with_the_reason() {
    let error = load(Path::new("/dev/zero"), &Environment::default()).unwrap_err();
    assert_eq!(error.to_string(), "is longer than 4 MiB, which no configuration is");
}

#[test]
fn without_a_key_only_loopback_opens_and_bad_keys_are_refused() {
    assert!(parse("{}", &Environment::default()).unwrap().needs_key_for_run());
    assert!(mistakes(OPEN, &[])[0].starts_with("keys: there is no key"));
    for key in [SAMPLE_KEY, "shorter-than-32-bytes"] {
        let told = mistakes(OPEN, &[("ADIT_API_KEY", key)]);
        assert!(told.len() == 1 && told[0].starts_with("ADIT_API_KEY: "), "{told:?}");
        assert!(!told[0].contains(key));
    }
}

#[test]
fn a_number_a_duration_or_a_size_that_cannot_be_meant_is_refused_with_the_rule() {
    let count = ["0", "-1", "1e9", "1.0", "99999999999999999999", "10000001", "\"64\""];
    for (name, rule) in [("calls_max", &count[..]), ("tunnels_per_key_max", &count[..])] {
        for value in rule {
            let told = mistakes(&format!(r#"{{"limits": {{"{name}": {value}}}}}"#), &[]);
            assert!(
                told.len() == 1 && told[0].starts_with(&format!("limits.{name}: ")),
                "{told:?}"
            );
        }
    }
    for (name, values) in [
        ("register_timeout", ["0s", "-5s", "1e9", "5 m", "366d", "99999999999999999999s", "5M"]),
        (
            "message_bytes_max",
            ["0B", "-5B", "1e9", "5 MiB", "65MiB", "99999999999999999999B", "5m"],
        ),
    ] {
        for value in values {
            let told = mistakes(&format!(r#"{{"limits": {{"{name}": "{value}"}}}}"#), &[]);
            assert!(
                told.len() == 1 && told[0].starts_with(&format!("limits.{name}: ")),
                "{told:?}"
            );
        }
    }
    let told = mistakes(r#"{"drain": {"grace": "-1s"}}"#, &[]);
    assert!(told[0].starts_with("drain.grace: \"-1s\" is not a duration"), "{told:?}");
}

#[test]
fn a_variable_goes_before_the_file_and_the_file_before_the_default() {
    let file = r#"{"heartbeat": {"interval": "7s", "late_after": "8s"}, "log": {"level": "warn"},
                   "listeners": [{"address": "127.0.0.1:1", "serves": ["callers"]}]}"#;
    let variables = [
        ("ADIT_HEARTBEAT_LATE_AFTER", "9s"),
        ("ADIT_LOG_LEVEL", "debug"),
        ("ADIT_WORKERS", "3"),
        ("ADIT_CALLERS_REQUIRE_KEY", "true"),
        ("ADIT_LISTENERS_0_ADDRESS", "127.0.0.1:2"),
        ("ADIT_LISTENERS_1_ADDRESS", "127.0.0.1:3"),
        ("ADIT_LISTENERS_1_SERVES", "callers, tunnels"),
        ("ADIT_KEYS_0_ID", "edge"),
        ("ADIT_KEYS_0_KEY_ENV", "EDGE_KEY"),
        ("ADIT_KEYS_0_REGISTER", "demo.*,billing.Invoices"),
        ("EDGE_KEY", KEY),
    ];
    let config = parse(file, &Environment::from_iter(variables)).unwrap();
    assert_eq!(config.heartbeat.interval.as_secs(), 7);
    assert_eq!(config.heartbeat.late_after.as_secs(), 9);
    assert_eq!(config.heartbeat.dead_after.as_secs(), 120);
    assert_eq!(config.log_level, log::LevelFilter::Debug);
    assert_eq!(config.workers.get(), 3);
    assert!(config.require_caller_key);
    let listeners: Vec<_> =
        config.listeners.iter().map(|l| (l.address.port(), l.callers, l.tunnels)).collect();
    assert_eq!(listeners, [(2, true, false), (3, true, true)]);
    let now = std::time::SystemTime::UNIX_EPOCH;
    let grant = config.keys.check(KEY.as_bytes(), now).unwrap().grant;
    assert!(grant.id() == "edge" && grant.register.allows("demo.Greeter"));
    assert!(!grant.register.allows("other.Greeter"));
    assert_eq!(config.warnings, []);
}

#[test]
fn every_mistake_in_a_variable_is_told_under_its_name() {
    let variables = [
        ("ADIT_WORKERS", "two"),
        ("ADIT_CALLERS_REQUIRE_KEY", "yes"),
        ("ADIT_LOG_LEVEL", "  "),
        ("ADIT_DRAIN_GRACE", ""),
        ("ADIT_HEARTBEAT_INTERVAL", "5 m"),
        ("ADIT_HEARTBEAT_DEAD_AFTER", "1s"),
        ("ADIT_LIMITS_CALLS_MAX", "+5"),
        ("ADIT_LIMITS_MESSAGE_BYTES_MAX", "65MiB"),
        ("ADIT_LISTENERS_0_SERVES", "callers,"),
        ("ADIT_LISTENERS_0_ADDRESS", "localhost:1"),
        ("ADIT_LISTENERS_7_ADDRESS", "127.0.0.1:1"),
    ];
    let told = mistakes("{}", &variables).join("\n");
    let expected = [
        "ADIT_WORKERS: must be a whole number, like 64",
        "ADIT_CALLERS_REQUIRE_KEY: must be true or false",
        "ADIT_LOG_LEVEL: is empty: give it a value or do not set it",
        "ADIT_DRAIN_GRACE: is empty: give it a value or do not set it",
        "ADIT_HEARTBEAT_INTERVAL: \"5 m\" is not a duration",
        "ADIT_HEARTBEAT_DEAD_AFTER: 1s must be longer than heartbeat.late_after (1m)",
        "ADIT_LIMITS_CALLS_MAX: must be a whole number, like 64",
        "ADIT_LIMITS_MESSAGE_BYTES_MAX: must be 64MiB at most",
        "ADIT_LISTENERS_0_SERVES: has an empty item: put one comma between items",
        "ADIT_LISTENERS_0_ADDRESS: must be an IP address and a port",
        "ADIT_LISTENERS_7_ADDRESS: there is no such item; the next one has number 1",
    ];
    for start in expected {
        assert!(told.lines().any(|line| line.starts_with(start)), "{start}\nis not in\n{told}");
    }
    assert_eq!(told.lines().count(), expected.len(), "{told}");
}

#[test]
fn no_mistake_shows_what_may_be_a_secret() {
    let every_name = names().into_iter().map(|name| with_number(&name, 0));
    let variables: Vec<(String, &str)> = every_name.map(|name| (name, KEY)).collect();
    let environment: Environment = variables.into_iter().collect();
    let error = parse("{}", &environment).unwrap_err().to_string();
    assert!(error.lines().count() > 20 && !error.contains(KEY), "{error}");
}

#[test]
fn a_variable_that_means_nothing_is_told_and_harms_nobody() {
    let variables = [
        ("ADIT_LIMITS_CALL_MAX", "1"),
        ("ADIT_LISTENERS_0_ADRESS", "x"),
        ("ADIT_KEYS_00_ID", "x"),
        ("ADIT_BINARY", "target/debug/adit"),
        ("ADIT_EDGE_KEY", KEY),
        ("ADIT_API_KEY", "plain-key-with-more-than-32-bytes-0002"),
        ("ADITION", "x"),
    ];
    let file = r#"{"keys": [{"id": "edge", "key_env": "ADIT_EDGE_KEY"}]}"#;
    let config = parse(file, &Environment::from_iter(variables)).unwrap();
    let told: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "ADIT_BINARY: unknown variable",
            "ADIT_KEYS_00_ID: unknown variable; did you mean `ADIT_KEYS_0_ID`?",
            "ADIT_LIMITS_CALL_MAX: unknown variable; did you mean `ADIT_LIMITS_CALLS_MAX`?",
            "ADIT_LISTENERS_0_ADRESS: unknown variable; did you mean `ADIT_LISTENERS_0_ADDRESS`?",
        ]
    );
}

#[test]
fn a_former_name_means_the_present_one() {
    let file = |fields: &str| format!(r#"{{"keys": [{{"id": "a", "key_env": "K", {fields}}}]}}"#);
    let environment = Environment::from_iter([("K", KEY)]);
    let explained = explain(&file(r#""services": ["demo.*"]"#), &environment).unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH;
    let grant = explained.config.keys.check(KEY.as_bytes(), now).unwrap().grant;
    assert!(grant.register.allows("demo.Greeter") && !grant.register.allows("other.Greeter"));
    let key = &explained.effective()["keys"][0];
    assert_eq!(key["register"], serde_json::json!(["demo.*"]));
    assert!(key.get("services").is_none());
    assert_eq!(
        mistakes(&file(r#""services": [], "register": []"#), &[("K", KEY)]),
        ["keys[0].services: is the former name of `register`, which is there too"]
    );
}

#[test]
fn no_two_fields_share_a_variable() {
    let mut all = names();
    all.push("ADIT_API_KEY".to_owned());
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    assert!(all.contains(&"ADIT_LIMITS_CALLS_MAX".to_owned()));
    assert!(all.contains(&"ADIT_KEYS_N_SHA256".to_owned()));
}

#[test]
fn a_file_that_is_wrong_where_a_variable_sets_something_is_told_so() {
    let variables = [("ADIT_LIMITS_CALLS_MAX", "5"), ("ADIT_LISTENERS_0_ADDRESS", "[::1]:1")];
    let told = mistakes(r#"{"limits": 5, "listeners": "x"}"#, &variables);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("limits: ") || told[1].starts_with("limits: "), "{told:?}");
}

proptest! {
    /// Whatever the file and the environment hold, there is an answer, and a refusal says why in
    /// lines that cannot be taken for others.
    #[test]
    fn any_file_and_any_environment_are_answered(
        sections in prop::collection::vec(section(), 0..8),
        cut in 0..2_000_usize,
        variables in prop::collection::vec(variable(), 0..12),
    ) {
        let text = format!("{{{}}}", sections.join(","));
        let text: String = text.chars().take(cut).collect();
        answered(&text, variables)?;
    }

    /// The variables alone, over a file that is right: none is lost in a mistake of the file.
    #[test]
    fn any_environment_is_answered(variables in prop::collection::vec(variable(), 0..40)) {
        answered(OPEN, variables)?;
    }

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        answered(&text, Vec::new())?;
    }
}

fn answered(text: &str, variables: Vec<(String, String)>) -> Result<(), TestCaseError> {
    match explain(text, &variables.into_iter().collect()) {
        Ok(explained) => {
            let printed = explained.effective();
            prop_assert!(printed.is_object());
            explained.sources();
        }
        Err(error) => {
            let ConfigError::Mistakes(mistakes) = &error else { panic!("{error}") };
            prop_assert!(!mistakes.is_empty());
            prop_assert_eq!(error.to_string().lines().count(), mistakes.len());
        }
    }
    Ok(())
}

/// A variable, most of them known, with a value that may be right.
fn variable() -> impl Strategy<Value = (String, String)> {
    let unknown = prop_oneof!["ADIT_[A-Z0-9_]{0,30}", "[A-Z]{1,5}"];
    let number = prop_oneof![8 => 0..3_u64, 1 => any::<u64>()];
    let known = (prop::sample::select(names()), number)
        .prop_map(|(name, number)| with_number(&name, number));
    let values = [
        "1",
        "0",
        "-1",
        "true",
        "5s",
        "1h",
        "4MiB",
        "127.0.0.1:0",
        "callers,tunnels",
        "callers,",
        ",",
        " ",
        "",
        "info",
        "a.*,b.C",
        KEY,
        "EDGE_KEY",
        "99999999999999999999",
    ];
    let value = prop_oneof![
        6 => prop::sample::select(values.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    (prop_oneof![6 => known, 1 => unknown], value)
}

fn with_number(name: &str, number: u64) -> String {
    name.replace(&format!("_{ITEM}_"), &format!("_{number}_"))
}

/// A section as an object, a list of objects or something else, most of its names known.
fn section() -> impl Strategy<Value = String> {
    let names = ["listeners", "keys", "limits", "heartbeat", "drain", "log", "workers", "x\\n"];
    let name = prop::sample::select(names.to_vec());
    (name, prop::collection::vec(field(), 0..4), leaf(), 0..3).prop_map(
        |(name, fields, leaf, shape)| match shape {
            0 => format!("\"{name}\":{{{}}}", fields.join(",")),
            1 => format!("\"{name}\":[{leaf},{{{}}}]", fields.join(",")),
            _ => format!("\"{name}\":{leaf}"),
        },
    )
}

fn field() -> impl Strategy<Value = String> {
    let names = [
        "address", "serves", "id", "key_env", "sha256", "register", "services", "interval", "grace",
    ];
    (prop::sample::select(names.to_vec()), leaf())
        .prop_map(|(name, leaf)| format!("\"{name}\":{leaf}"))
}

fn leaf() -> impl Strategy<Value = String> {
    let leaves = [
        "null",
        "true",
        "0",
        "-1",
        "1e9",
        "[]",
        "{}",
        "[null,\"*\"]",
        "\"\"",
        "\"A\"",
        "\"1s\"",
        "\"[::]:0\"",
        "\"\\n\\u2028\\u0085\"",
        "[\"callers\"]",
        "18446744073709551615",
    ];
    let text = ".{0,20}".prop_map(|text| format!("{text:?}"));
    prop_oneof![8 => prop::sample::select(leaves.to_vec()).prop_map(str::to_owned), 1 => text]
}

fn mistakes(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let error = parse(text, &variables.iter().copied().collect()).unwrap_err();
    error.to_string().lines().map(str::to_owned).collect()
}
