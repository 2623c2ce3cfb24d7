//! Names that are remembered for a while after their last tunnel has gone.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::tunnel::id::ServiceName;

/// The names, each until a moment. To remember and to forget takes as long whatever their number.
#[derive(Debug)]
pub(super) struct Memory {
    until: HashMap<ServiceName, Instant>,
    /// The same, the first to go first.
    order: BTreeSet<(Instant, ServiceName)>,
    names_max: usize,
}

impl Memory {
    /// Room for so many names.
    pub(super) fn new(names_max: usize) -> Self {
        Self { until: HashMap::new(), order: BTreeSet::new(), names_max }
    }

    /// Has room for so many from now on.
    pub(super) fn resize(&mut self, names_max: usize) {
        self.names_max = names_max;
    }

    /// Keeps the name until then; when too many are kept, those that would go first go now.
    pub(super) fn remember(&mut self, name: ServiceName, until: Instant, now: Instant) {
        self.forget(&name);
        while self.is_full() || self.order.first().is_some_and(|(first, _)| *first <= now) {
            let Some((_, gone)) = self.order.pop_first() else { break };
            self.until.remove(&gone);
        }
        self.until.insert(name.clone(), until);
        self.order.insert((until, name));
        debug_assert_eq!(self.until.len(), self.order.len(), "each name is in both");
    }

    /// The name needs no remembering any more.
    pub(super) fn forget(&mut self, name: &ServiceName) {
        if let Some((name, until)) = self.until.remove_entry(name) {
            self.order.remove(&(until, name));
        }
    }

    /// Whether the name is remembered.
    pub(super) fn has(&self, name: &str, now: Instant) -> bool {
        self.until.get(name).is_some_and(|until| now < *until)
    }

    /// All that are.
    pub(super) fn names(&self, now: Instant) -> impl Iterator<Item = &ServiceName> {
        self.until.iter().filter(move |(_, until)| now < **until).map(|(name, _)| name)
    }

    fn is_full(&self) -> bool {
        self.order.len() >= self.names_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_name_is_kept_until_its_time_or_until_there_is_no_room() {
        let (mut memory, start) = (Memory::new(2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let name = |text| ServiceName::new(text);
        memory.remember(name("a"), at(10), start);
        memory.remember(name("b"), at(20), start);
        assert!(memory.has("a", at(9)) && !memory.has("a", at(10)));
        memory.remember(name("c"), at(30), start);
        let kept = |memory: &Memory, now| {
            let mut names: Vec<_> = memory.names(now).map(ServiceName::to_string).collect();
            names.sort();
            names
        };
        assert_eq!(kept(&memory, start), ["b", "c"]);
        memory.remember(name("b"), at(40), start);
        memory.remember(name("d"), at(50), at(1));
        assert_eq!(kept(&memory, start), ["b", "d"], "c would have gone first");
        memory.forget(&name("b"));
        memory.remember(name("e"), at(60), at(55));
        assert_eq!(kept(&memory, at(55)), ["e"]);
        assert_eq!((memory.until.len(), memory.order.len()), (1, 1), "what is over is not kept");
    }
}
