//! Which tunnels serve a name, and which names are known at all.
//!
//! Every worker has one, with the same tunnels in it. A name is known while a tunnel offers it,
//! for `name_retention` after the last one left, when a key names it exactly, and every name is
//! known for `startup_grace` after a start: callers of a known name are told to try again, callers
//! of an unknown one are told that there is nothing to try.

mod census;
mod memory;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::affinity::Session;
use super::allowance::Allowance;
use super::balance::{self, Candidates};
use super::id::{MethodPath, ServiceName, TunnelId, WorkerId, unqualified};
use super::quota::Service;
use super::route::Route;
use memory::Memory;

pub use census::{Condition, WITNESSES_MAX, Witness};

/// How names are matched and remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Whether `/pkg.Service/M` may go to a peer that registered `Service` alone.
    pub match_unqualified: bool,
    /// How long after a start every name counts as known.
    pub startup_grace: Duration,
    /// How long a name stays known after its last tunnel left.
    pub name_retention: Duration,
    /// How long a call of a known name waits for a tunnel when there is none; zero: not at all.
    pub wait_for_tunnel: Duration,
}

/// The tunnels of the whole gateway, by name, seen from one worker. `L` is the way to a tunnel.
#[derive(Debug)]
pub struct Directory<L> {
    worker: WorkerId,
    tunnels: FxHashMap<TunnelId, Entry<L>>,
    routes: HashMap<ServiceName, Route>,
    declared: HashSet<ServiceName>,
    remembered: Memory,
    routing: Routing,
    started: Instant,
}

/// A tunnel as the directory knows it.
#[derive(Debug)]
pub struct Entry<L> {
    /// The worker whose registry owns the tunnel's calls.
    pub worker: WorkerId,
    /// The names it offers, each once.
    pub services: Vec<Service>,
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
    /// The session that the call belongs to, if it is to go where that goes.
    pub session: Option<Session>,
    /// The one tunnel that may take it, which is asked for the sake of this service.
    pub only: Option<&'a Witness>,
    /// Tunnels tried in vain.
    pub avoid: &'a [TunnelId],
    /// A tunnel with so many calls in flight takes no more.
    pub load_max: usize,
    /// 64 random bits.
    pub coin: u64,
}

/// The tunnel that takes a call.
#[derive(Debug)]
pub struct Pick<'a> {
    /// Which tunnel.
    pub tunnel: TunnelId,
    /// The worker whose registry owns its calls.
    pub worker: WorkerId,
    /// The calls in flight to the service, to be counted among.
    pub calls: &'a Allowance,
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
    /// Every tunnel that serves it, and was not tried, has as many calls as it may have.
    Full,
    /// Only peers that take whole calls serve it.
    WholeOnly,
}

impl<L> Directory<L> {
    /// An empty directory. `declared` names are known for ever.
    pub fn new(
        worker: WorkerId,
        routing: Routing,
        remembered_max: usize,
        declared: impl IntoIterator<Item = ServiceName>,
        now: Instant,
    ) -> Self {
        Self {
            worker,
            tunnels: FxHashMap::default(),
            routes: HashMap::new(),
            declared: declared.into_iter().collect(),
            remembered: Memory::new(remembered_max),
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
        self.remembered.resize(remembered_max);
        self.declared = declared.into_iter().collect();
    }

    /// How long a call of a known name waits for a tunnel.
    pub fn wait_for_tunnel(&self) -> Duration {
        self.routing.wait_for_tunnel
    }

    /// Adds a tunnel.
    pub fn attach(&mut self, tunnel: TunnelId, entry: Entry<L>) {
        for Service { name, calls } in &entry.services {
            self.remembered.forget(name);
            let route =
                self.routes.entry(name.clone()).or_insert_with(|| Route::new(calls.clone()));
            route.join();
            if entry.standing == Standing::Ready {
                route.admit(tunnel, entry.worker == self.worker, entry.streams);
            }
        }
        self.tunnels.insert(tunnel, entry);
        self.check();
    }

    /// Takes a tunnel out and remembers the names that nobody serves any more.
    pub fn detach(&mut self, tunnel: TunnelId, now: Instant) -> Option<Entry<L>> {
        let entry = self.tunnels.remove(&tunnel)?;
        let until = now + self.routing.name_retention;
        for Service { name, .. } in &entry.services {
            if self.routes.get_mut(name).is_some_and(|route| route.leave(tunnel)) {
                self.routes.remove(name);
                self.remembered.remember(name.clone(), until, now);
            }
        }
        self.check();
        Some(entry)
    }

    /// Changes whether a tunnel may be chosen. A goodbye is not taken back.
    pub fn set_standing(&mut self, tunnel: TunnelId, standing: Standing) {
        let Some(entry) = self.tunnels.get_mut(&tunnel) else { return };
        if entry.standing == Standing::Draining || entry.standing == standing {
            return;
        }
        entry.standing = standing;
        for Service { name, .. } in &entry.services {
            let Some(route) = self.routes.get_mut(name) else { continue };
            route.bar(tunnel);
            if standing == Standing::Ready {
                route.admit(tunnel, entry.worker == self.worker, entry.streams);
            }
        }
        self.check();
    }

    /// One tunnel.
    pub fn entry(&self, tunnel: TunnelId) -> Option<&Entry<L>> {
        self.tunnels.get(&tunnel)
    }

    /// All tunnels.
    pub fn entries(&self) -> impl Iterator<Item = &Entry<L>> {
        self.tunnels.values()
    }

    /// Whether anybody at all could take a call of this method now.
    ///
    /// # Errors
    ///
    /// When nobody could, says whether the name is known.
    pub fn serves(&self, path: &MethodPath, now: Instant) -> Result<(), NoPick> {
        self.serving(path, now).map(drop)
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
    ) -> Result<Pick<'_>, NoPick> {
        if let Some(only) = wish.only {
            return self.pick_only(only, wish.avoid);
        }
        let route = self.serving(wish.path, now)?;
        let able = Candidates {
            near: route.near.able(wish.needs_stream),
            far: route.far.able(wish.needs_stream),
        };
        if able.near.is_empty() && able.far.is_empty() {
            return Err(NoPick::WholeOnly);
        }
        let load = |tunnel: TunnelId| {
            let load = self.tunnels.get(&tunnel).map(|entry| load(&entry.line))?;
            (load < wish.load_max && !wish.avoid.contains(&tunnel)).then_some(load)
        };
        let chosen = match wish.session {
            Some(session) => balance::choose_for(session, able, load),
            None => balance::choose(able, wish.coin, load),
        };
        let entry = chosen.and_then(|tunnel| Some((tunnel, self.tunnels.get(&tunnel)?)));
        let (tunnel, entry) = entry.ok_or_else(|| {
            let mut all = able.near.iter().chain(able.far);
            let tried = all.all(|tunnel| wish.avoid.contains(tunnel));
            if tried { NoPick::AllTried } else { NoPick::Full }
        })?;
        Ok(Pick { tunnel, worker: entry.worker, calls: &route.calls })
    }

    /// The route of a method, which has a tunnel that may be chosen.
    fn serving(&self, path: &MethodPath, now: Instant) -> Result<&Route, NoPick> {
        let ready = |name: &str| self.routes.get(name).filter(|route| route.is_ready());
        let route = ready(path.service()).or_else(|| {
            self.routing.match_unqualified.then(|| ready(path.unqualified_service())).flatten()
        });
        route.ok_or_else(|| if self.knows(path, now) { NoPick::Nobody } else { NoPick::Unknown })
    }

    fn knows(&self, path: &MethodPath, now: Instant) -> bool {
        now < self.started + self.routing.startup_grace || self.is_known(path.service(), now)
    }

    /// Whether the name, or its last part where that may serve it, is known.
    fn is_known(&self, service: &str, now: Instant) -> bool {
        let known = |name: &str| {
            self.routes.contains_key(name)
                || self.declared.contains(name)
                || self.remembered.has(name, now)
        };
        known(service) || (self.routing.match_unqualified && known(unqualified(service)))
    }

    /// What must hold between any two calls.
    fn check(&self) {
        let offered = || self.tunnels.values().flat_map(|entry| &entry.services);
        debug_assert_eq!(
            self.routes.values().map(Route::members).sum::<usize>(),
            offered().count(),
            "every offer of a name is counted on its route, and nothing else is"
        );
        debug_assert!(
            offered().all(|service| self.routes.contains_key(&service.name)),
            "a name that is offered has a route"
        );
        let chosen = |route: &Route| route.near.able(false).len() + route.far.able(false).len();
        let ready = self.tunnels.values().filter(|entry| entry.standing == Standing::Ready);
        debug_assert_eq!(
            self.routes.values().map(chosen).sum::<usize>(),
            ready.map(|entry| entry.services.len()).sum::<usize>(),
            "those that are ready may be chosen, and nobody else may"
        );
    }
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            match_unqualified: true,
            startup_grace: Duration::from_secs(10),
            name_retention: Duration::from_mins(10),
            wait_for_tunnel: Duration::ZERO,
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
        let wish = Wish { avoid: &avoid, ..wish(&path) };
        assert_eq!(chosen(directory.pick(&wish, start, |_| 0)), Err(NoPick::AllTried));
    }

    #[test]
    fn a_full_tunnel_is_not_chosen_and_all_full_is_not_all_tried() {
        let (mut directory, start) = directory();
        let (one, other) =
            (attach(&mut directory, "demo.Echo", true), attach(&mut directory, "demo.Echo", true));
        let path = MethodPath::parse("/demo.Echo/Say").unwrap();
        let session = Some(Session::named(b"a session"));
        for wish in [wish(&path), Wish { session, ..wish(&path) }] {
            let full = |tunnel| move |line: &TunnelId| if *line == tunnel { 10 } else { 9 };
            assert_eq!(chosen(directory.pick(&wish, start, full(one))), Ok(other));
            assert_eq!(chosen(directory.pick(&wish, start, full(other))), Ok(one));
            assert_eq!(chosen(directory.pick(&wish, start, |_| 10)), Err(NoPick::Full));
            let wish = Wish { avoid: &[one], ..wish };
            assert_eq!(chosen(directory.pick(&wish, start, full(other))), Err(NoPick::Full));
        }
    }

    fn directory() -> (Directory<TunnelId>, Instant) {
        let start = Instant::now();
        let routing = Routing { startup_grace: Duration::ZERO, ..Routing::default() };
        (Directory::new(WorkerId(0), routing, 2, [ServiceName::new("declared.Name")], start), start)
    }

    fn attach(directory: &mut Directory<TunnelId>, name: &str, streams: bool) -> TunnelId {
        let tunnel = TunnelId::random();
        let entry = Entry {
            worker: WorkerId(0),
            services: vec![service(name)],
            streams,
            standing: Standing::Ready,
            line: tunnel,
        };
        directory.attach(tunnel, entry);
        tunnel
    }

    fn pick(
        directory: &Directory<TunnelId>,
        path: &str,
        needs_stream: bool,
        now: Instant,
    ) -> Result<TunnelId, NoPick> {
        let path = MethodPath::parse(path).unwrap();
        let wish = Wish { needs_stream, ..wish(&path) };
        chosen(directory.pick(&wish, now, |_| 0))
    }

    fn wish(path: &MethodPath) -> Wish<'_> {
        Wish {
            path,
            needs_stream: false,
            session: None,
            only: None,
            avoid: &[],
            load_max: 10,
            coin: 5,
        }
    }

    fn chosen(pick: Result<Pick<'_>, NoPick>) -> Result<TunnelId, NoPick> {
        pick.map(|pick| pick.tunnel)
    }

    fn service(name: &str) -> Service {
        Service { name: ServiceName::new(name), calls: Allowance::new(usize::MAX) }
    }
}
