//! Which tunnels serve a name, and which names are known at all.
//!
//! Every worker has one, with the same tunnels in it. A name is known while a tunnel offers it,
//! for `name_retention` after the last one left, when a key names it exactly, and every name is
//! known for `startup_grace` after a start: callers of a known name are told to try again, callers
//! of an unknown one are told that there is nothing to try.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::balance::{self, Candidate};
use super::id::{MethodPath, ServiceName, TunnelId, WorkerId};

/// How names are matched and remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Whether `/pkg.Service/M` may go to a peer that registered `Service` alone.
    pub match_unqualified: bool,
    /// How long after a start every name counts as known.
    pub startup_grace: Duration,
    /// How long a name stays known after its last tunnel left.
    pub name_retention: Duration,
}

/// The tunnels of the whole gateway, by name. `L` is the way to a tunnel.
#[derive(Debug)]
pub struct Directory<L> {
    tunnels: FxHashMap<TunnelId, Entry<L>>,
    routes: HashMap<ServiceName, Vec<TunnelId>>,
    declared: HashSet<ServiceName>,
    remembered: HashMap<ServiceName, Instant>,
    remembered_max: usize,
    routing: Routing,
    started: Instant,
}

/// A tunnel as the directory knows it.
#[derive(Debug)]
pub struct Entry<L> {
    /// The worker whose registry owns the tunnel's calls.
    pub worker: WorkerId,
    /// The names it offers.
    pub services: Vec<ServiceName>,
    /// Whether it takes calls that are not one whole message.
    pub streams: bool,
    /// Whether it may be chosen.
    pub standing: Standing,
    /// The way to it.
    pub line: L,
}

/// Whether a tunnel may be chosen for a new call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Ready,
    /// It has been silent for too long.
    Late,
    /// It said goodbye; it keeps the calls that it has.
    Draining,
}

/// What a call needs of a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The method called.
    pub path: &'a MethodPath,
    /// The call is not, or not yet, one whole message.
    pub needs_stream: bool,
    /// The caller's worker.
    pub worker: WorkerId,
    /// Tunnels tried in vain.
    pub avoid: &'a [TunnelId],
    /// 64 random bits.
    pub coin: u64,
}

/// Why no tunnel could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPick {
    /// The name is not known.
    Unknown,
    /// The name is known and nobody serves it now.
    Nobody,
    /// Every tunnel that serves it was tried in vain.
    AllTried,
    /// Only peers that take whole calls serve it.
    WholeOnly,
}

impl<L> Directory<L> {
    /// An empty directory. `declared` names are known for ever.
    pub fn new(
        routing: Routing,
        remembered_max: usize,
        declared: impl IntoIterator<Item = ServiceName>,
        now: Instant,
    ) -> Self {
        Self {
            tunnels: FxHashMap::default(),
            routes: HashMap::new(),
            declared: declared.into_iter().collect(),
            remembered: HashMap::new(),
            remembered_max,
            routing,
            started: now,
        }
    }

    /// Matches and remembers differently from now on.
    pub fn reconfigure(
        &mut self,
        routing: Routing,
        remembered_max: usize,
        declared: impl IntoIterator<Item = ServiceName>,
    ) {
        self.routing = routing;
        self.remembered_max = remembered_max;
        self.declared = declared.into_iter().collect();
    }

    /// Adds a tunnel.
    pub fn attach(&mut self, tunnel: TunnelId, entry: Entry<L>) {
        for service in &entry.services {
            self.remembered.remove(service);
            self.routes.entry(service.clone()).or_default().push(tunnel);
        }
        self.tunnels.insert(tunnel, entry);
        self.check();
    }

    /// Takes a tunnel out and remembers the names that nobody serves any more.
    pub fn detach(&mut self, tunnel: TunnelId, now: Instant) -> Option<Entry<L>> {
        let entry = self.tunnels.remove(&tunnel)?;
        for service in &entry.services {
            let Some(route) = self.routes.get_mut(service) else { continue };
            route.retain(|other| *other != tunnel);
            if route.is_empty() {
                self.routes.remove(service);
                self.remember(service.clone(), now);
            }
        }
        self.check();
        Some(entry)
    }

    /// Changes whether a tunnel may be chosen. A goodbye is not taken back.
    pub fn set_standing(&mut self, tunnel: TunnelId, standing: Standing) {
        if let Some(entry) = self.tunnels.get_mut(&tunnel)
            && entry.standing != Standing::Draining
        {
            entry.standing = standing;
        }
    }

    /// One tunnel.
    pub fn entry(&self, tunnel: TunnelId) -> Option<&Entry<L>> {
        self.tunnels.get(&tunnel)
    }

    /// All tunnels.
    pub fn entries(&self) -> impl Iterator<Item = &Entry<L>> {
        self.tunnels.values()
    }

    /// Chooses a tunnel; `load` tells the calls in flight of one.
    ///
    /// # Errors
    ///
    /// When no tunnel can take the call, says why.
    pub fn pick(
        &self,
        wish: &Wish<'_>,
        now: Instant,
        load: impl Fn(&L) -> usize,
    ) -> Result<TunnelId, NoPick> {
        let full = wish.path.service();
        let serving = self.ready(full);
        let serving = if serving.is_empty() && self.routing.match_unqualified {
            self.ready(wish.path.unqualified_service())
        } else {
            serving
        };
        if serving.is_empty() {
            return Err(if self.knows(wish.path, now) { NoPick::Nobody } else { NoPick::Unknown });
        }
        let able: Vec<_> =
            serving.into_iter().filter(|(_, entry)| entry.streams || !wish.needs_stream).collect();
        if able.is_empty() {
            return Err(NoPick::WholeOnly);
        }
        let candidates: Vec<Candidate> = able
            .into_iter()
            .filter(|(tunnel, _)| !wish.avoid.contains(tunnel))
            .map(|(tunnel, entry)| Candidate {
                tunnel,
                local: entry.worker == wish.worker,
                load: load(&entry.line),
            })
            .collect();
        balance::choose(&candidates, wish.coin).ok_or(NoPick::AllTried)
    }

    fn ready(&self, service: &str) -> Vec<(TunnelId, &Entry<L>)> {
        let route = self.routes.get(service).map_or(&[][..], Vec::as_slice);
        let entries = route.iter().filter_map(|id| self.tunnels.get(id).map(|entry| (*id, entry)));
        entries.filter(|(_, entry)| entry.standing == Standing::Ready).collect()
    }

    fn knows(&self, path: &MethodPath, now: Instant) -> bool {
        let known = |name: &str| {
            self.routes.contains_key(name)
                || self.declared.contains(name)
                || self.remembered.get(name).is_some_and(|until| now < *until)
        };
        now < self.started + self.routing.startup_grace
            || known(path.service())
            || (self.routing.match_unqualified && known(path.unqualified_service()))
    }

    /// Keeps the name for a while; when too many are kept, the one that would go first goes now.
    fn remember(&mut self, service: ServiceName, now: Instant) {
        self.remembered.retain(|_, until| now < *until);
        if self.remembered.len() >= self.remembered_max {
            let first = self.remembered.iter().min_by_key(|(_, until)| **until);
            if let Some(name) = first.map(|(name, _)| name.clone()) {
                self.remembered.remove(&name);
            }
        }
        self.remembered.insert(service, now + self.routing.name_retention);
    }

    /// What must hold between any two calls.
    fn check(&self) {
        debug_assert!(
            self.routes.values().all(|route| !route.is_empty()),
            "a route without a tunnel is no route"
        );
        debug_assert!(
            self.routes.values().flatten().all(|id| self.tunnels.contains_key(id)),
            "every route leads to a tunnel of the directory"
        );
    }
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            match_unqualified: true,
            startup_grace: Duration::from_secs(10),
            name_retention: Duration::from_mins(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_name_is_matched_before_the_unqualified_one() {
        let (mut directory, start) = directory();
        let plain = attach(&mut directory, "Echo", true);
        assert_eq!(pick(&directory, "/demo.Echo/Say", false, start), Ok(plain));
        let full = attach(&mut directory, "demo.Echo", true);
        for _ in 0..8 {
            assert_eq!(pick(&directory, "/demo.Echo/Say", false, start), Ok(full));
        }
    }

    #[test]
    fn unqualified_matching_can_be_switched_off() {
        let (mut directory, start) = directory();
        directory.routing.match_unqualified = false;
        attach(&mut directory, "Echo", true);
        assert_eq!(pick(&directory, "/demo.Echo/Say", false, start), Err(NoPick::Unknown));
    }

    #[test]
    fn a_name_is_known_for_its_retention_after_the_last_tunnel_left() {
        let (mut directory, start) = directory();
        let tunnel = attach(&mut directory, "demo.Echo", true);
        directory.detach(tunnel, start);
        let later = start + Duration::from_secs(599);
        assert_eq!(pick(&directory, "/demo.Echo/Say", false, later), Err(NoPick::Nobody));
        let much_later = start + Duration::from_mins(10);
        assert_eq!(pick(&directory, "/demo.Echo/Say", false, much_later), Err(NoPick::Unknown));
    }

    #[test]
    fn every_name_is_known_in_the_grace_after_a_start_and_a_declared_one_always() {
        let (mut directory, start) = directory();
        directory.routing.startup_grace = Duration::from_secs(10);
        assert_eq!(pick(&directory, "/any.Name/M", false, start), Err(NoPick::Nobody));
        let later = start + Duration::from_secs(10);
        assert_eq!(pick(&directory, "/any.Name/M", false, later), Err(NoPick::Unknown));
        assert_eq!(pick(&directory, "/declared.Name/M", false, later), Err(NoPick::Nobody));
    }

    #[test]
    fn the_remembered_names_are_bounded_and_the_oldest_is_forgotten() {
        let (mut directory, start) = directory();
        for (index, name) in ["a.A", "b.B", "c.C"].into_iter().enumerate() {
            let tunnel = attach(&mut directory, name, true);
            directory.detach(tunnel, start + Duration::from_secs(index as u64));
        }
        let later = start + Duration::from_secs(10);
        assert_eq!(pick(&directory, "/a.A/M", false, later), Err(NoPick::Unknown));
        assert_eq!(pick(&directory, "/c.C/M", false, later), Err(NoPick::Nobody));
    }

    #[test]
    fn late_and_draining_tunnels_are_not_chosen() {
        let (mut directory, start) = directory();
        let tunnel = attach(&mut directory, "demo.Echo", true);
        directory.set_standing(tunnel, Standing::Late);
        assert_eq!(pick(&directory, "/demo.Echo/Say", false, start), Err(NoPick::Nobody));
        directory.set_standing(tunnel, Standing::Ready);
        assert_eq!(pick(&directory, "/demo.Echo/Say", false, start), Ok(tunnel));
        directory.set_standing(tunnel, Standing::Draining);
        directory.set_standing(tunnel, Standing::Ready);
        assert_eq!(pick(&directory, "/demo.Echo/Say", false, start), Err(NoPick::Nobody));
    }

    #[test]
    fn a_stream_goes_only_to_a_peer_that_takes_streams() {
        let (mut directory, start) = directory();
        let plain = attach(&mut directory, "demo.Echo", false);
        assert_eq!(pick(&directory, "/demo.Echo/Say", true, start), Err(NoPick::WholeOnly));
        assert_eq!(pick(&directory, "/demo.Echo/Say", false, start), Ok(plain));
        let able = attach(&mut directory, "demo.Echo", true);
        assert_eq!(pick(&directory, "/demo.Echo/Say", true, start), Ok(able));
    }

    #[test]
    fn a_tunnel_tried_in_vain_is_not_tried_again() {
        let (mut directory, start) = directory();
        let tunnel = attach(&mut directory, "demo.Echo", true);
        let path = MethodPath::parse("/demo.Echo/Say").unwrap();
        let avoid = [tunnel];
        let wish =
            Wish { path: &path, needs_stream: false, worker: WorkerId(0), avoid: &avoid, coin: 1 };
        assert_eq!(directory.pick(&wish, start, |()| 0), Err(NoPick::AllTried));
    }

    fn directory() -> (Directory<()>, Instant) {
        let start = Instant::now();
        let routing = Routing { startup_grace: Duration::ZERO, ..Routing::default() };
        (Directory::new(routing, 2, [ServiceName::new("declared.Name")], start), start)
    }

    fn attach(directory: &mut Directory<()>, name: &str, streams: bool) -> TunnelId {
        let tunnel = TunnelId::random();
        let entry = Entry {
            worker: WorkerId(0),
            services: vec![ServiceName::new(name)],
            streams,
            standing: Standing::Ready,
            line: (),
        };
        directory.attach(tunnel, entry);
        tunnel
    }

    fn pick(
        directory: &Directory<()>,
        path: &str,
        needs_stream: bool,
        now: Instant,
    ) -> Result<TunnelId, NoPick> {
        let path = MethodPath::parse(path).unwrap();
        let wish = Wish { path: &path, needs_stream, worker: WorkerId(0), avoid: &[], coin: 5 };
        directory.pick(&wish, now, |()| 0)
    }
}
