//! Finds patterns of a key that can never apply.

use super::file::KeyFile;
use super::mistakes::Mistakes;
use super::shapes::Section;
use crate::auth::pattern::NamePattern;
use crate::tunnel::admission::is_reserved;
use crate::tunnel::limits::Limits;

/// Checks the `services` of all keys. Patterns that cannot be read are left to who reads them.
pub(super) fn check(
    keys: Option<&[Option<Section<KeyFile>>]>,
    limits: &Limits,
    mistakes: &mut Mistakes,
) {
    for (index, key) in keys.unwrap_or_default().iter().enumerate() {
        let Some(Section(KeyFile { services: Some(services), .. })) = key else { continue };
        let patterns = services.iter().enumerate();
        let patterns: Vec<(usize, NamePattern)> = patterns
            .filter_map(|(place, text)| Some((place, text.as_ref()?.parse().ok()?)))
            .collect();
        for (place, pattern) in &patterns {
            let path = format!("keys[{index}].services[{place}]");
            if let Some(exact) = pattern.exact()
                && exact.len() > limits.service_name_bytes_max
            {
                let max = limits.service_name_bytes_max;
                let text = format_args!("is longer than limits.service_name_bytes_max ({max}B)");
                mistakes.add(path, text);
            } else if is_all_reserved(pattern) {
                mistakes.add(path, "allows nothing: these names belong to the gateway");
            } else if let Some((other, _)) = patterns.iter().find(|(other, wider)| {
                other != place && covers(wider, pattern) && !(wider == pattern && other > place)
            }) {
                let other = format!("keys[{index}].services[{other}]");
                mistakes.add(path, format_args!("adds nothing to {other}"));
            }
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
fn covers(wider: &NamePattern, other: &NamePattern) -> bool {
    match (wider, other) {
        (NamePattern::Any, NamePattern::Any | NamePattern::Prefix(_)) => true,
        (NamePattern::Prefix(wider), NamePattern::Prefix(other)) => other.starts_with(wider),
        (NamePattern::Exact(one), NamePattern::Exact(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_can_never_apply_is_a_mistake() {
        let long = "x".repeat(256);
        let written = format!(
            r#"["demo.*", "registry.RegistryService", "grpc.health.v1.*", "demo.v1.*", "demo.*",
                "a.B", "a.B", "{long}", "demo.Greeter", "registryx.A", "grpc.*"]"#
        );
        assert_eq!(
            mistakes(&written),
            [
                "keys[0].services[1]: allows nothing: these names belong to the gateway",
                "keys[0].services[2]: allows nothing: these names belong to the gateway",
                "keys[0].services[3]: adds nothing to keys[0].services[0]",
                "keys[0].services[4]: adds nothing to keys[0].services[0]",
                "keys[0].services[6]: adds nothing to keys[0].services[5]",
                "keys[0].services[7]: is longer than limits.service_name_bytes_max (255B)",
            ]
        );
    }

    #[test]
    fn a_star_leaves_room_only_for_names_written_out() {
        assert_eq!(
            mistakes(r#"["demo.*", "*", "demo.Greeter"]"#),
            ["keys[0].services[0]: adds nothing to keys[0].services[1]"]
        );
        assert_eq!(mistakes(r#"["de*mo", "de*mo"]"#), Vec::<String>::new(), "told elsewhere");
    }

    fn mistakes(services: &str) -> Vec<String> {
        let keys = format!(r#"[{{"services": {services}}}]"#);
        let keys: Vec<Option<Section<KeyFile>>> = serde_json::from_str(&keys).unwrap();
        let mut mistakes = Mistakes::default();
        check(Some(&keys), &Limits::default(), &mut mistakes);
        mistakes.into_list().iter().map(ToString::to_string).collect()
    }
}
