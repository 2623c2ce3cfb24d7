//! The tunnels of one name, those that may be chosen within reach of a random draw.
//!
//! A call picks its tunnel by place instead of looking at all of them, so each list is kept in
//! order as tunnels come, go and fall silent, which happens far more rarely than calls.

use super::allowance::Allowance;
use super::id::TunnelId;

/// The tunnels of one name.
#[derive(Debug)]
pub struct Route {
    /// The calls in flight to the service, counted by all workers together.
    pub calls: Allowance,
    /// Tunnels of the caller's worker that may be chosen.
    pub near: Group,
    /// Tunnels of other workers that may be chosen.
    pub far: Group,
    /// All that offer the name, chosen or not.
    members: usize,
}

/// Tunnels that may be chosen: first those that take streams, then the others.
#[derive(Debug, Default)]
pub struct Group {
    tunnels: Vec<TunnelId>,
    streaming: usize,
}

impl Route {
    /// A route without a tunnel.
    pub fn new(calls: Allowance) -> Self {
        Self { calls, near: Group::default(), far: Group::default(), members: 0 }
    }

    /// One more tunnel offers the name.
    pub fn join(&mut self) {
        self.members += 1;
    }

    /// One of them is gone. Whether it was the last.
    pub fn leave(&mut self, tunnel: TunnelId) -> bool {
        self.bar(tunnel);
        self.members -= 1;
        self.members == 0
    }

    /// The tunnel may be chosen.
    pub fn admit(&mut self, tunnel: TunnelId, near: bool, streams: bool) {
        let group = if near { &mut self.near } else { &mut self.far };
        group.add(tunnel, streams);
    }

    /// The tunnel may not be chosen.
    pub fn bar(&mut self, tunnel: TunnelId) {
        self.near.remove(tunnel);
        self.far.remove(tunnel);
    }

    /// Whether any tunnel may be chosen.
    pub fn is_ready(&self) -> bool {
        !self.near.tunnels.is_empty() || !self.far.tunnels.is_empty()
    }

    /// Whether this tunnel may be chosen.
    pub fn may_choose(&self, tunnel: TunnelId) -> bool {
        self.near.tunnels.contains(&tunnel) || self.far.tunnels.contains(&tunnel)
    }

    /// How many tunnels offer the name.
    pub fn members(&self) -> usize {
        self.members
    }
}

impl Group {
    /// Those that take such a call.
    pub fn able(&self, needs_stream: bool) -> &[TunnelId] {
        let count = if needs_stream { self.streaming } else { self.tunnels.len() };
        &self.tunnels[..count]
    }

    fn add(&mut self, tunnel: TunnelId, streams: bool) {
        debug_assert!(!self.tunnels.contains(&tunnel), "a tunnel stands in a group once");
        self.tunnels.push(tunnel);
        if streams {
            let last = self.tunnels.len() - 1;
            self.tunnels.swap(self.streaming, last);
            self.streaming += 1;
        }
    }

    fn remove(&mut self, tunnel: TunnelId) {
        let Some(mut place) = self.tunnels.iter().position(|other| *other == tunnel) else {
            return;
        };
        if place < self.streaming {
            // The last that streams takes its place, the last of all that one's.
            self.streaming -= 1;
            self.tunnels.swap(place, self.streaming);
            place = self.streaming;
        }
        self.tunnels.swap_remove(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::collections::btree_map::Entry;

    proptest! {
        /// Whoever comes and goes, a group has everybody once, and those that stream in front.
        #[test]
        fn a_group_keeps_those_that_stream_in_front(
            events in prop::collection::vec((0..8usize, any::<bool>(), any::<bool>()), 0..60),
        ) {
            let ids: Vec<_> = (0..8).map(|_| TunnelId::random()).collect();
            let mut group = Group::default();
            let mut present = BTreeMap::new();
            for (which, comes, streams) in events {
                if !comes {
                    group.remove(ids[which]);
                    present.remove(&ids[which]);
                } else if let Entry::Vacant(absent) = present.entry(ids[which]) {
                    group.add(ids[which], streams);
                    absent.insert(streams);
                }
                let sorted = |needs_stream| {
                    let mut able = group.able(needs_stream).to_vec();
                    able.sort_unstable();
                    able
                };
                let streaming = present.iter().filter(|(_, streams)| **streams);
                prop_assert_eq!(sorted(true), streaming.map(|(id, _)| *id).collect::<Vec<_>>());
                prop_assert_eq!(sorted(false), present.keys().copied().collect::<Vec<_>>());
            }
        }
    }
}
