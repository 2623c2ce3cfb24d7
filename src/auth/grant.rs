//! What the holder of a key may do, and how much of it.

use crate::tunnel::allowance::Allowance;
use crate::tunnel::quota::KeyQuota;

use super::certificate::CertificatePattern;
use super::pattern::NamePattern;
use super::topics::TopicScope;

/// What the holder of a key may do.
#[derive(Clone, Debug)]
pub struct KeyGrant {
    /// The names its tunnels may serve.
    pub register: Scope,
    /// The services its holder may call, as a caller or over a tunnel.
    pub call: Scope,
    /// The topics under which its tunnels may publish.
    pub publish: TopicScope,
    /// The topics that its tunnels may listen to.
    pub subscribe: TopicScope,
    /// Names that `register` writes out in full belong to this key; others may serve them too.
    pub shared: bool,
    /// Its programs get the `stream` feature without asking for it.
    pub stream: bool,
    /// Names of which its holder's certificate must have one. With none, no certificate is asked for.
    pub certificate_names: Vec<CertificatePattern>,
    /// The key's name in the log, which is no secret, and how many tunnels and names it may have.
    pub quota: KeyQuota,
    /// The calls that its holders have in flight.
    pub calls: Allowance,
}

/// Names that somebody may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(Vec<NamePattern>);

impl KeyGrant {
    /// A grant for everything, without limits of its own.
    pub fn unlimited(id: &str) -> Self {
        Self {
            register: Scope::all(),
            call: Scope::all(),
            publish: TopicScope::all(),
            subscribe: TopicScope::all(),
            shared: false,
            stream: false,
            certificate_names: Vec::new(),
            quota: KeyQuota::unlimited(id),
            calls: Allowance::new(usize::MAX),
        }
    }

    /// The key's name in the log.
    pub fn id(&self) -> &str {
        &self.quota.key
    }
}

impl Scope {
    /// Every name.
    pub fn all() -> Self {
        Self(vec![NamePattern::Any])
    }

    /// The names that one of the patterns means. Without patterns it is no name at all.
    pub fn of(patterns: Vec<NamePattern>) -> Self {
        Self(patterns)
    }

    /// Whether the name may be used.
    pub fn allows(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether the name is written out in full.
    pub fn names(&self, name: &str) -> bool {
        self.exact_names().any(|exact| exact == name)
    }

    /// The names written out in full. They count as known before any tunnel serves them.
    pub fn exact_names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(NamePattern::exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_written_out_in_full_count_as_known() {
        let patterns = ["demo.*", "chat.Room", "*", "Echo"];
        let scope = Scope::of(patterns.map(|text| text.parse().unwrap()).into());
        assert_eq!(scope.exact_names().collect::<Vec<_>>(), ["chat.Room", "Echo"]);
        assert!(scope.names("Echo") && !scope.names("demo.Echo") && scope.allows("demo.Echo"));
    }

    #[test]
    fn a_scope_without_patterns_allows_nothing() {
        assert!(!Scope::of(Vec::new()).allows("demo.Echo"));
    }
}
