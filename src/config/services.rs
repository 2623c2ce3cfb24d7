//! The rules for single services, in the order in which they are asked.

use super::file::{List, ServiceFile};
use super::mistakes::Mistakes;
use super::shapes::Section;
use crate::grpc::affinity::Affinities;

/// Each call may have to be held against every rule.
const RULES_MAX: usize = 256;

/// Joins the rules as written to the rules as used.
pub(super) fn used(written: List<Section<ServiceFile>>, mistakes: &mut Mistakes) -> Affinities {
    let mut affinities = Affinities::default();
    // Where each rule that is used was written: a mistaken one leaves a gap.
    let mut places = Vec::new();
    let written = written.unwrap_or_default();
    if written.len() > RULES_MAX {
        mistakes.add("routing.services", format_args!("has more than {RULES_MAX} rules"));
        return affinities;
    }
    for (index, rule) in written.into_iter().enumerate() {
        let Some(Section(rule)) = rule else { continue };
        let path = format!("routing.services[{index}]");
        let path_of_key = format!("{path}.affinity.metadata");
        let key = match rule.affinity.map(|Section(affinity)| affinity.metadata) {
            Some(Some(key)) => mistakes.note(&path_of_key, key.parse()),
            Some(None) => {
                require(path_of_key, "the key whose value names the session", mistakes);
                None
            }
            None => None,
        };
        let path_of_name = format!("{path}.name");
        let Some(name) = rule.name else {
            require(path_of_name, "it says which services are meant", mistakes);
            continue;
        };
        let Some(name) = mistakes.note(&path_of_name, name.parse()) else { continue };
        match affinities.add(name, key) {
            Ok(()) => places.push(index),
            Err(earlier) => {
                let earlier = places.get(earlier).copied().unwrap_or_default();
                let text = format_args!(
                    "never counts: routing.services[{earlier}] before it means the same services"
                );
                mistakes.add(path_of_name, text);
            }
        }
    }
    affinities
}

/// Notes that a field is missing, unless what stands there is mistaken already.
fn require(path: String, why: &str, mistakes: &mut Mistakes) {
    if !mistakes.touch(&path) {
        mistakes.add(path, format_args!("is required: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_checked_by_itself_and_against_those_before_it() {
        let written = r#"[
            { "name": "chat.*", "affinity": { "metadata": "x-room" } },
            { "name": "cha*t" },
            { "affinity": {} },
            { "name": "demo.Echo", "affinity": { "metadata": "te" } },
            { "name": "chat.Admin" },
            { "name": "demo.Echo" }
        ]"#;
        let (affinities, mistakes) = read(written);
        let starts = [
            "routing.services[1].name: a `*` stands alone",
            "routing.services[2].affinity.metadata: is required",
            "routing.services[2].name: is required",
            "routing.services[3].affinity.metadata: belongs to the connection",
            "routing.services[4].name: never counts: routing.services[0] before it",
            "routing.services[5].name: never counts: routing.services[3] before it",
        ];
        assert_eq!(mistakes.len(), starts.len(), "{mistakes:#?}");
        for (mistake, start) in mistakes.iter().zip(starts) {
            assert!(mistake.starts_with(start), "{mistake} does not start with {start}");
        }
        assert_eq!(affinities.exact_names().collect::<Vec<_>>(), ["demo.Echo"]);
    }

    #[test]
    fn the_number_of_rules_is_bounded() {
        let rules = |count: usize| {
            let rules = (0..count).map(|number| format!(r#"{{ "name": "a.S{number}" }}"#));
            format!("[{}]", rules.collect::<Vec<_>>().join(","))
        };
        assert!(read(&rules(256)).1.is_empty());
        assert_eq!(read(&rules(257)).1, ["routing.services: has more than 256 rules"]);
    }

    fn read(written: &str) -> (Affinities, Vec<String>) {
        let mut mistakes = Mistakes::default();
        let affinities = used(serde_json::from_str(written).unwrap(), &mut mistakes);
        (affinities, mistakes.into_list().iter().map(ToString::to_string).collect())
    }
}
