//! The topics that the holder of a key may publish, or listen to.

use crate::tunnel::topic::{TopicName, TopicPattern};

/// Topics that somebody may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicScope(Vec<TopicPattern>);

impl TopicScope {
    /// Every topic.
    pub fn all() -> Self {
        Self(vec![TopicPattern::all()])
    }

    /// The topics that one of the patterns means. Without patterns it is no topic at all.
    pub fn of(patterns: Vec<TopicPattern>) -> Self {
        Self(patterns)
    }

    /// Whether something may be published under the name.
    pub fn allows(&self, name: &TopicName) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether somebody may listen to the pattern: all that it means is meant by one pattern of the
    /// scope.
    pub fn covers(&self, pattern: &TopicPattern) -> bool {
        self.0.iter().any(|own| own.covers(pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_what_one_of_its_patterns_means() {
        let scope = TopicScope::of(vec![pattern("orders.#"), pattern("*.created")]);
        assert!(scope.allows(&name("orders.eu.paid")) && scope.allows(&name("users.created")));
        assert!(!scope.allows(&name("users.deleted")));
        assert!(TopicScope::all().allows(&name("a.b")));
        assert!(!TopicScope::of(Vec::new()).allows(&name("a")));
    }

    #[test]
    fn a_wildcard_does_not_widen_a_scope() {
        let scope = TopicScope::of(vec![pattern("orders.*")]);
        assert!(scope.covers(&pattern("orders.eu")) && scope.covers(&pattern("orders.*")));
        for wider in ["orders.#", "*.eu", "#", "orders"] {
            assert!(!scope.covers(&pattern(wider)), "{wider}");
        }
        assert!(TopicScope::all().covers(&pattern("#")));
    }

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::parse(text, 255).unwrap()
    }

    fn name(text: &str) -> TopicName {
        TopicName::parse(text, 255).unwrap()
    }
}
