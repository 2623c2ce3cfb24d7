//! Which methods and services have a name of their own among what is counted, and which are `other`.
//!
//! There is room for so many: a name keeps its place as long as it lives. A method that no call of which
//! has ever succeeded, or whose own service is not registered under its full name, gives its place to
//! another when there is none left. If there is no such method, and errors have more than half of the
//! places, a method that succeeds keeps the place for that and gives up those of its errors. What has been
//! counted there is a part of `other` from then on, so that no sum gets smaller.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::buckets::DURATION_BOUNDS;
use super::cells::{Method, Service, Sharded, StatusCells};
use super::outcome::{OTHER, STATUSES, Status};

/// Lines of one histogram in the text format: its buckets, the one without a bound, sum and count.
pub(super) const HISTOGRAM_LINES: usize = DURATION_BOUNDS.len() + 3;
/// Lines of a service in the longest list that has no status: messages each way.
const SERVICE_LINES: usize = 2;
/// How many places are looked at for one that can be given away. What callers invent costs no more than
/// this, however many places there are.
const LOOKS_MAX: usize = 64;
/// How many of those that lost their places are looked at, whenever one more does, for whether anybody
/// still holds them. More than one, so that they get fewer.
const SETTLES_MAX: usize = 16;
/// Where what has no status of its own is counted.
const LAST: usize = STATUSES.len();

/// The names that have a place.
#[derive(Debug)]
pub(super) struct Names {
    workers: usize,
    /// Pairs of method and status, those of `other` not among them.
    pairs_max: usize,
    pairs: usize,
    /// Statuses that `other` has places for.
    other_statuses_max: usize,
    services_max: usize,
    /// Calls of `demo.Greeter` may go to who registered `Greeter`.
    match_unqualified: bool,
    /// How many tunnels serve each name; one more if the configuration writes it out.
    live: HashMap<Arc<str>, usize>,
    declared: Vec<Arc<str>>,
    methods: Places<Method>,
    services: Places<Service>,
    pub(super) other_method: Arc<Method>,
    pub(super) other_service: Arc<Service>,
}

/// Things of one kind by name.
#[derive(Debug)]
struct Places<T> {
    by_name: HashMap<Arc<str>, Arc<T>>,
    /// The same, those first that have not been looked at for long.
    in_turn: VecDeque<Arc<T>>,
    /// Those that lost their places and may still be in somebody's hands.
    retired: VecDeque<Arc<T>>,
}

impl Names {
    pub(super) fn new(workers: usize, series_max: usize, other: &Arc<str>) -> Self {
        let pairs_max = (series_max / HISTOGRAM_LINES).max(1);
        let services_max = (series_max / SERVICE_LINES).max(1) - 1;
        Self {
            workers,
            pairs_max: pairs_max.saturating_sub(STATUSES.len()),
            pairs: 0,
            // Where there is no room for all, the last place is for the rest of them.
            other_statuses_max: if pairs_max < STATUSES.len() { pairs_max - 1 } else { LAST },
            services_max,
            match_unqualified: true,
            live: HashMap::new(),
            declared: Vec::new(),
            methods: Places::default(),
            services: Places::default(),
            other_method: Arc::new(Method::new(other.clone(), workers)),
            other_service: Arc::new(Service::new(other.clone(), workers)),
        }
    }

    pub(super) fn match_unqualified(&mut self, matches: bool) {
        self.match_unqualified = matches;
    }

    /// One more tunnel serves this name.
    pub(super) fn served(&mut self, name: &str) {
        match self.live.get_mut(name) {
            Some(tunnels) => *tunnels += 1,
            None => drop(self.live.insert(name.into(), 1)),
        }
    }

    /// One tunnel less serves this name.
    pub(super) fn left(&mut self, name: &str) {
        if let Some(tunnels) = self.live.get_mut(name) {
            *tunnels -= 1;
            if *tunnels == 0 {
                self.live.remove(name);
            }
        }
    }

    /// The configuration writes these names out, and no other ones any more.
    pub(super) fn declare<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        let names: Vec<Arc<str>> = names.map(Arc::from).collect();
        for name in &names {
            self.served(name);
        }
        let before = std::mem::replace(&mut self.declared, names);
        for name in &before {
            self.left(name);
        }
    }

    /// Where the calls of a path are counted, and whether that may change.
    pub(super) fn places(&mut self, path: &str) -> (Arc<Method>, Arc<Service>, bool) {
        let Some((name, service)) = taken_apart(path) else {
            return (self.other_method.clone(), self.other_service.clone(), false);
        };
        let served = self.served_name(service);
        let known = served.clone().or_else(|| self.known_name(service));
        let place = known.and_then(|known| self.service(&known));
        let method = self.methods.by_name.get(name).cloned();
        let is_served = served.is_some();
        let method = method.or_else(|| if is_served { self.method(name) } else { None });
        let wants = is_served && (method.is_none() || place.is_none());
        let (other, others) = (&self.other_method, &self.other_service);
        (method.unwrap_or_else(|| other.clone()), place.unwrap_or_else(|| others.clone()), wants)
    }

    /// The registered name that calls of a service go to. A service that is really called `other` counts
    /// among the others, which have that name.
    fn served_name(&self, service: &str) -> Option<Arc<str>> {
        let served = self.names_of(service).find_map(|name| self.live.get_key_value(name));
        served.map(|(name, _)| name.clone()).filter(|name| **name != *OTHER)
    }

    /// The name that they went to while it was registered.
    fn known_name(&self, service: &str) -> Option<Arc<str>> {
        let known = |name: &str| self.services.by_name.get_key_value(name);
        self.names_of(service).find_map(known).map(|(name, _)| name.clone())
    }

    fn names_of<'s>(&self, service: &'s str) -> impl Iterator<Item = &'s str> + use<'s> {
        let last = service.rsplit('.').next().filter(|_| self.match_unqualified);
        std::iter::once(service).chain(last)
    }

    fn service(&mut self, name: &Arc<str>) -> Option<Arc<Service>> {
        if let Some(service) = self.services.by_name.get(name) {
            return Some(service.clone());
        }
        if self.services.by_name.len() >= self.services_max {
            let live = &self.live;
            let dead = self.services.take(|service| !live.contains_key(&service.name))?;
            dead.retire();
            self.services.retired.push_back(dead);
            let other = &self.other_service;
            self.services.settle(|service| other.absorb(service));
        }
        Some(self.services.add(name.clone(), Service::new(name.clone(), self.workers)))
    }

    fn method(&mut self, name: &str) -> Option<Arc<Method>> {
        self.take_pair(None, true)?;
        let name: Arc<str> = name.into();
        Some(self.methods.add(name.clone(), Method::new(name, self.workers)))
    }

    /// Room for one more pair of method and status. A method that is new, or succeeds, `pushes` errors
    /// of others out.
    fn take_pair(&mut self, whose: Option<&Method>, pushes: bool) -> Option<()> {
        let is_own = |method: &Method| whose.is_some_and(|own| std::ptr::eq(own, method));
        while self.pairs >= self.pairs_max {
            let live = &self.live;
            let has_none = |method: &Method| {
                // Callers may make up as many services as they like that end in a registered name.
                let doubtful = !method.is_proven() || !live.contains_key(method.service());
                doubtful && method.is_idle() && !is_own(method)
            };
            if let Some(gone) = self.methods.take(has_none) {
                self.pairs -= gone.statuses_named().max(1);
                self.retire(gone);
            } else if pushes && self.pairs - self.methods.by_name.len() > self.pairs_max / 2 {
                let has_errors = |method: &Method| method.has_errors_beside() && !is_own(method);
                let failing = self.methods.take(has_errors)?;
                self.part(failing);
            } else {
                return None;
            }
        }
        self.pairs += 1;
        Some(())
    }

    /// Leaves a method the place for its successes.
    fn part(&mut self, failing: Arc<Method>) {
        failing.retire();
        let (keeps, errors) = Method::parted(failing, self.workers);
        self.pairs -= errors.statuses_named();
        self.methods.add(keeps.name.clone(), keeps);
        self.retire(Arc::new(errors));
    }

    fn retire(&mut self, method: Arc<Method>) {
        method.retire();
        for (place, _) in method.statuses.iter().enumerate().filter(|(_, s)| s.get().is_some()) {
            let place = self.other_status(place);
            self.other_method.statuses[place].get_or_init(|| Sharded::new(self.workers));
        }
        self.methods.retired.push_back(method);
        let other = &self.other_method;
        let workers = self.workers;
        let place = |place: usize| if other.statuses[place].get().is_some() { place } else { LAST };
        self.methods.settle(|method| other.absorb(method, place, workers));
    }

    /// Makes a place for the calls of a method with one status, if there is room.
    pub(super) fn status(&mut self, method: &Method, place: usize) -> bool {
        if std::ptr::eq(method, Arc::as_ptr(&self.other_method)) {
            return false;
        }
        if method.statuses[place].get().is_some() {
            return true;
        }
        // The first has been counted with the method.
        let has_room = !method.is_retired()
            && (method.statuses_named() == 0
                || self.take_pair(Some(method), place == Status::OK.place()).is_some());
        if has_room {
            method.statuses[place].get_or_init(|| Sharded::<StatusCells>::new(self.workers));
        }
        has_room
    }

    /// Where `other` counts a status.
    pub(super) fn other_status(&self, place: usize) -> usize {
        let other = &self.other_method;
        let has_place = other.statuses[place].get().is_some()
            || other.statuses[..LAST].iter().filter(|s| s.get().is_some()).count()
                < self.other_statuses_max;
        if has_place { place } else { LAST }
    }

    /// All methods with a name, and those that count as `other` now.
    pub(super) fn methods(&self) -> (Vec<Arc<Method>>, Vec<Arc<Method>>) {
        self.methods.all(&self.other_method)
    }

    /// All services with a name, and those that count as `other` now.
    pub(super) fn services(&self) -> (Vec<Arc<Service>>, Vec<Arc<Service>>) {
        self.services.all(&self.other_service)
    }
}

/// The name of a method as it is counted, and the service in it: exactly two segments, neither empty.
fn taken_apart(path: &str) -> Option<(&str, &str)> {
    let name = path.strip_prefix('/')?;
    let (service, method) = name.split_once('/')?;
    let plain = !service.is_empty() && !method.is_empty() && !method.contains('/');
    plain.then_some((name, service))
}

impl<T> Places<T> {
    fn add(&mut self, name: Arc<str>, thing: T) -> Arc<T> {
        let thing = Arc::new(thing);
        self.by_name.insert(name, thing.clone());
        self.in_turn.push_back(thing.clone());
        thing
    }

    /// Takes one away for which it `holds`, if one is found.
    fn take(&mut self, holds: impl Fn(&T) -> bool) -> Option<Arc<T>>
    where
        T: Named,
    {
        for _ in 0..self.in_turn.len().min(LOOKS_MAX) {
            let thing = self.in_turn.pop_front()?;
            if holds(&thing) {
                self.by_name.remove(thing.name());
                return Some(thing);
            }
            self.in_turn.push_back(thing);
        }
        None
    }

    /// Has what nobody else holds any more taken over, and forgets it. They are looked at in turns.
    fn settle(&mut self, take_over: impl Fn(&T))
    where
        T: Named,
    {
        for _ in 0..self.retired.len().min(SETTLES_MAX) {
            let Some(thing) = self.retired.pop_front() else { return };
            if T::is_held(&thing) {
                self.retired.push_back(thing);
            } else {
                // Whoever let go of it last has counted here: what it wrote must be seen.
                fence(Ordering::Acquire);
                take_over(&thing);
            }
        }
    }

    fn all(&self, other: &Arc<T>) -> (Vec<Arc<T>>, Vec<Arc<T>>) {
        let others = std::iter::once(other).chain(&self.retired).cloned().collect();
        (self.in_turn.iter().cloned().collect(), others)
    }
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), in_turn: VecDeque::new(), retired: VecDeque::new() }
    }
}

/// What has a place under a name.
trait Named {
    fn name(&self) -> &str;

    /// Whether anybody may still count here, beside who looks.
    fn is_held(this: &Arc<Self>) -> bool {
        Arc::strong_count(this) > 1
    }
}

impl Named for Method {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_held(this: &Arc<Self>) -> bool {
        Self::is_held(this)
    }
}

impl Named for Service {
    fn name(&self) -> &str {
        &self.name
    }
}
