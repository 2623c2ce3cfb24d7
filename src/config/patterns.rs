//! Finds patterns of a key that can never apply.

use std::str::FromStr;

use super::file::{KeyFile, PATTERNS_MAX};
use super::mistakes::Mistakes;
use super::shapes::Section;
use crate::auth::pattern::NamePattern;
use crate::tunnel::admission::is_reserved;
use crate::tunnel::limits::Limits;
use crate::tunnel::topic::TopicPattern;

/// Checks the patterns of all keys. Those that cannot be read are left to who reads them.
pub(super) fn check(
    keys: Option<&[Option<Section<KeyFile>>]>,
    limits: &Limits,
    mistakes: &mut Mistakes,
) {
    for (index, key) in keys.unwrap_or_default().iter().enumerate() {
        let Some(Section(key)) = key else { continue };
        let path = format!("keys[{index}].register");
        let register: Vec<(usize, NamePattern)> = read(key.register.as_deref());
        for (place, pattern) in &register {
            if is_all_reserved(pattern) {
                let text = "allows nothing: these names belong to the gateway";
                mistakes.add(format!("{path}[{place}]"), text);
            }
        }
        check_list(&path, &register, limits, mistakes);
        check_list(&format!("keys[{index}].call"), &read(key.call.as_deref()), limits, mistakes);
        let publish = read(key.publish.as_deref());
        check_topics(&format!("keys[{index}].publish"), &publish, limits, mistakes);
        let subscribe = read(key.subscribe.as_deref());
        check_topics(&format!("keys[{index}].subscribe"), &subscribe, limits, mistakes);
    }
}

/// The patterns that can be read, with their places in the list.
fn read<P: FromStr>(written: Option<&[Option<String>]>) -> Vec<(usize, P)> {
    let written = written.unwrap_or_default().iter().enumerate();
    written.filter_map(|(place, text)| Some((place, text.as_ref()?.parse().ok()?))).collect()
}

fn check_list(
    path: &str,
    patterns: &[(usize, NamePattern)],
    limits: &Limits,
    mistakes: &mut Mistakes,
) {
    // Each is compared with all others, here and for every name later.
    if patterns.len() > PATTERNS_MAX {
        return mistakes.add(path, format_args!("must be {PATTERNS_MAX} at most"));
    }
    let max = limits.service_name_bytes_max;
    for (place, pattern) in patterns {
        let too_long = pattern.exact().is_some_and(|name| name.len() > max);
        let wider = patterns.iter().find(|(other, wider)| {
            other != place && makes_needless(wider, pattern) && !(wider == pattern && other > place)
        });
        if too_long {
            let text = format_args!("is longer than limits.service_name_bytes_max ({max}B)");
            mistakes.add(format!("{path}[{place}]"), text);
        } else if let Some((other, _)) = wider {
            mistakes
                .add(format!("{path}[{place}]"), format_args!("adds nothing to {path}[{other}]"));
        }
    }
}

fn check_topics(
    path: &str,
    patterns: &[(usize, TopicPattern)],
    limits: &Limits,
    mistakes: &mut Mistakes,
) {
    if patterns.len() > PATTERNS_MAX {
        return mistakes.add(path, format_args!("must be {PATTERNS_MAX} at most"));
    }
    let max = limits.topic_bytes_max;
    for (place, pattern) in patterns {
        let covers = |(other, wider): &&(usize, TopicPattern)| {
            other != place && wider.covers(pattern) && !(wider == pattern && other > place)
        };
        if pattern.as_str().len() > max {
            let text = format_args!("is longer than limits.topic_bytes_max ({max}B)");
            mistakes.add(format!("{path}[{place}]"), text);
        } else if let Some((other, _)) = patterns.iter().find(covers) {
            mistakes
                .add(format!("{path}[{place}]"), format_args!("adds nothing to {path}[{other}]"));
        }
    }
}

/// Whether no name that it matches may be registered.
fn is_all_reserved(pattern: &NamePattern) -> bool {
    match pattern {
        NamePattern::Exact(name) => is_reserved(name),
        NamePattern::Prefix(prefix) => is_reserved(prefix),
        NamePattern::Any => false,
    }
}

/// Whether the other pattern adds nothing to the wider one. A name that is written out in full adds
/// something to every pattern but itself: it counts as known before anybody serves it.
fn makes_needless(wider: &NamePattern, other: &NamePattern) -> bool {
    if other.exact().is_some() { wider == other } else { wider.covers(other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_can_never_apply_is_a_mistake() {
        let long = "x".repeat(256);
        let written = format!(
            r#"["demo.*", "registry.RegistryService", "grpc.health.v1.*", "demo.v1.*", "demo.*",
                "a.B", "a.B", "{long}", "demo.Greeter", "registryx.A"]"#
        );
        assert_eq!(
            mistakes(&written),
            [
                "keys[0].register[1]: allows nothing: these names belong to the gateway",
                "keys[0].register[2]: allows nothing: these names belong to the gateway",
                "keys[0].register[3]: adds nothing to keys[0].register[0]",
                "keys[0].register[4]: adds nothing to keys[0].register[0]",
                "keys[0].register[6]: adds nothing to keys[0].register[5]",
                "keys[0].register[7]: is longer than limits.service_name_bytes_max (255B)",
            ]
        );
    }

    #[test]
    fn a_star_leaves_room_only_for_names_written_out() {
        assert_eq!(
            mistakes(r#"["demo.*", "*", "demo.Greeter"]"#),
            ["keys[0].register[0]: adds nothing to keys[0].register[1]"]
        );
        assert_eq!(mistakes(r#"["de*mo", "de*mo"]"#), Vec::<String>::new(), "told elsewhere");
        assert_eq!(mistakes("[]"), Vec::<String>::new(), "nothing can be meant");
    }

    #[test]
    fn there_is_a_last_pattern() {
        let names: Vec<String> =
            (0..=PATTERNS_MAX).map(|number| format!("\"a.B{number}\"")).collect();
        assert_eq!(mistakes(&format!("[{}]", names[1..].join(","))), Vec::<String>::new());
        let told = mistakes(&format!("[{}]", names.join(",")));
        assert_eq!(told, ["keys[0].register: must be 1000 at most"]);
    }

    #[test]
    fn a_topic_that_adds_nothing_is_a_mistake() {
        let long = "x".repeat(256);
        let told = mistakes_of(
            "publish",
            &format!(r#"["orders.#", "orders.eu", "{long}", "users.*", "a..b", "users.*"]"#),
        );
        assert_eq!(
            told,
            [
                "keys[0].publish[1]: adds nothing to keys[0].publish[0]",
                "keys[0].publish[2]: is longer than limits.topic_bytes_max (255B)",
                "keys[0].publish[5]: adds nothing to keys[0].publish[3]",
            ]
        );
        assert_eq!(mistakes_of("subscribe", r##"["#", "*.#"]"##).len(), 1);
    }

    fn mistakes(patterns: &str) -> Vec<String> {
        mistakes_of("register", patterns)
    }

    fn mistakes_of(field: &str, patterns: &str) -> Vec<String> {
        let keys = format!(r#"[{{"{field}": {patterns}}}]"#);
        let keys: Vec<Option<Section<KeyFile>>> = serde_json::from_str(&keys).unwrap();
        let mut mistakes = Mistakes::default();
        check(Some(&keys), &Limits::default(), &mut mistakes);
        mistakes.into_list().iter().map(ToString::to_string).collect()
    }
}
