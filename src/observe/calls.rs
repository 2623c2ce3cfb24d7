//! The calls of the gateway, by method and by service.
//!
//! Each worker counts for itself ([`CallCounter`]); whoever looks adds up. A call counts as started when
//! its stream turns out to be gRPC, and ends exactly once, with its caller gone if with nothing else.

mod buckets;
mod cells;
mod counter;
mod names;
mod outcome;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use buckets::{DURATION_BOUNDS, SIZE_BOUNDS};
use cells::{Errors, Method, Service, Sharded, StatusCells};
pub use counter::{CallCounter, Counted, End};
use names::Names;
pub use outcome::{OTHER, REASONS, Reason, STATUSES, Status};

pub use super::buckets::Buckets;
use super::ticks::{self, Tick};

/// The calls of the gateway, by method and by service.
#[derive(Debug)]
pub struct Calls {
    workers: usize,
    start: Tick,
    names: Mutex<Names>,
    /// Grows when places may have changed that workers remember.
    generation: AtomicU64,
    other: Arc<Method>,
    errors: Sharded<Errors>,
}

/// A method at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodSnapshot {
    /// `package.Service/Method`, or `other`: methods of services that are not registered, and those
    /// without a place.
    pub method: String,
    /// Calls that have begun.
    pub started: u64,
    /// Calls that have ended, by status; those that occurred. What found no place counts under `other`.
    pub by_status: Vec<StatusSnapshot>,
    /// The time in the gateway of calls that the service answered, in seconds.
    pub overhead: Buckets,
}

/// The calls of a method that ended with one status.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusSnapshot {
    /// The status by name; `other` only where there is no room for all of them.
    pub status: &'static str,
    /// From arrival until the end was written, in seconds.
    pub duration: Buckets,
    /// Bytes of the messages to the caller, a call.
    pub sent_bytes: Buckets,
    /// Bytes of the messages from the caller, a call.
    pub received_bytes: Buckets,
}

/// A service at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceCalls {
    /// The registered name that the calls went to, or `other`.
    pub service: String,
    /// Calls that have begun.
    pub started: u64,
    /// Calls that have ended. Those that began and did not end are in flight.
    pub ended: u64,
    /// Calls that begin in a second, over about the last ten.
    pub per_second: f64,
    /// Calls that have ended, by status; those that occurred.
    pub by_status: Vec<(&'static str, u64)>,
    /// Those of them that the gateway ended, by reason.
    pub by_reason: Vec<(&'static str, u64)>,
    /// Messages from callers.
    pub messages_in: u64,
    /// Messages to callers.
    pub messages_out: u64,
    /// From arrival until the end was written, in seconds.
    pub duration: Buckets,
}

/// All calls together.
#[derive(Clone, Debug, PartialEq)]
pub struct CallTotals {
    /// Calls that have begun.
    pub started: u64,
    /// Calls that have ended.
    pub ended: u64,
    /// Calls that begin in a second, over about the last ten.
    pub per_second: f64,
    /// From arrival until the end was written, in seconds.
    pub duration: Buckets,
    /// The time in the gateway of calls that the service answered, in seconds.
    pub overhead: Buckets,
}

impl Calls {
    /// Nothing has happened yet. A metric may have `series_max` lines: a histogram has one for each
    /// bucket.
    pub fn new(workers: usize, series_max: usize) -> Self {
        let names = Names::new(workers, series_max, &OTHER.into());
        let other = names.other_method.clone();
        Self {
            workers,
            start: ticks::now(),
            names: Mutex::new(names),
            generation: AtomicU64::new(0),
            other,
            errors: Sharded::new(workers),
        }
    }

    /// A tunnel serves these names from now on.
    pub fn served<'n>(&self, names: impl Iterator<Item = &'n str>) {
        let mut known = self.lock();
        names.for_each(|name| known.served(name));
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// A tunnel that served these names is gone.
    pub fn left<'n>(&self, names: impl Iterator<Item = &'n str>) {
        let mut known = self.lock();
        names.for_each(|name| known.left(name));
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The configuration writes these names out: they count as served though no tunnel is there.
    pub fn declare<'n>(&self, names: impl Iterator<Item = &'n str>) {
        self.lock().declare(names);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Whether calls of `demo.Greeter` may go to who registered `Greeter`.
    pub fn match_unqualified(&self, matches: bool) {
        self.lock().match_unqualified(matches);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// All methods that have been called, by name; `other` is the last.
    pub fn methods(&self) -> Vec<MethodSnapshot> {
        let (named, others) = self.lock().methods();
        let mut all: Vec<_> = named.iter().map(|method| read_methods(&[method])).collect();
        all.sort_unstable_by(|one, other| one.method.cmp(&other.method));
        all.push(read_methods(&others.iter().collect::<Vec<_>>()));
        all
    }

    /// All services that have been called, by name; `other` is the last.
    pub fn services(&self) -> Vec<ServiceCalls> {
        let now = self.since_start(ticks::now());
        let (named, others) = self.lock().services();
        let mut all: Vec<_> = named.iter().map(|service| read_services(&[service], now)).collect();
        all.sort_unstable_by(|one, other| one.service.cmp(&other.service));
        all.push(read_services(&others.iter().collect::<Vec<_>>(), now));
        all
    }

    /// Calls that the gateway itself ended, by reason and status; those that occurred.
    pub fn local_errors(&self) -> Vec<(&'static str, &'static str, u64)> {
        let pairs = REASONS.iter().enumerate().flat_map(|(reason, name)| {
            STATUSES.iter().enumerate().map(move |(status, of)| ((reason, *name), (status, *of)))
        });
        let counted = pairs.map(|((reason, name), (status, of))| {
            let all = self.errors.all();
            (name, of, all.map(|errors| errors.of(reason, status).now()).sum::<u64>())
        });
        counted.filter(|(_, _, count)| *count > 0).collect()
    }

    /// All calls together.
    pub fn totals(&self) -> CallTotals {
        let now = self.since_start(ticks::now());
        let (mut duration, mut overhead) =
            (Buckets::none(&DURATION_BOUNDS), Buckets::none(&DURATION_BOUNDS));
        let ((methods, retired), (services, other)) = {
            let names = self.lock();
            (names.methods(), names.services())
        };
        // Ends first: no call may seem to have ended that has not begun.
        let (mut started, mut ended) = (0, 0);
        for method in methods.iter().chain(&retired) {
            for cells in method.statuses.iter().filter_map(|status| status.get()) {
                cells.all().for_each(|cells| cells.duration.read_into(&mut duration));
            }
            for cells in method.cells.all() {
                ended += cells.ended.now();
                cells.overhead.read_into(&mut overhead);
                started += cells.started.now();
            }
        }
        let cells = services.iter().chain(&other).flat_map(|service| service.cells.all());
        let per_second = cells.map(|cells| cells.rate.per_second(now)).sum();
        CallTotals { started, ended, per_second, duration, overhead }
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn since_start(&self, now: Tick) -> u64 {
        self.start.nanoseconds_until(now)
    }

    fn places(&self, path: &str) -> (Arc<Method>, Arc<Service>, bool) {
        self.lock().places(path)
    }

    fn has_status(&self, method: &Method, status: usize) -> bool {
        self.lock().status(method, status)
    }

    /// Where calls are counted that have no place for their status.
    fn other_status(&self, status: usize) -> &Sharded<StatusCells> {
        if let Some(cells) = self.other.statuses[status].get() {
            return cells;
        }
        let names = self.lock();
        self.other.statuses[names.other_status(status)].get_or_init(|| Sharded::new(self.workers))
    }

    fn error(&self, worker: usize, reason: Reason, status: Status) {
        self.errors.of(worker).of(reason.place(), status.place()).add(1);
    }

    /// The names are only counted in: a panic in between leaves them usable.
    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What these methods have counted, under the name of the first.
fn read_methods(methods: &[&Arc<Method>]) -> MethodSnapshot {
    let by_status = (0..=STATUSES.len()).filter_map(|place| {
        let cells = || {
            let there = methods.iter().filter_map(|method| method.statuses[place].get());
            there.flat_map(Sharded::all)
        };
        let status = STATUSES.get(place).copied().unwrap_or(OTHER);
        let mut snapshot = StatusSnapshot {
            status,
            duration: Buckets::none(&DURATION_BOUNDS),
            sent_bytes: Buckets::none(&SIZE_BOUNDS),
            received_bytes: Buckets::none(&SIZE_BOUNDS),
        };
        for cells in cells() {
            cells.duration.read_into(&mut snapshot.duration);
            cells.sent.read_into(&mut snapshot.sent_bytes);
            cells.received.read_into(&mut snapshot.received_bytes);
        }
        (snapshot.duration.count() > 0).then_some(snapshot)
    });
    let by_status = by_status.collect();
    let mut overhead = Buckets::none(&DURATION_BOUNDS);
    let mut started = 0;
    for cells in methods.iter().flat_map(|method| method.cells.all()) {
        cells.overhead.read_into(&mut overhead);
        started += cells.started.now();
    }
    MethodSnapshot { method: methods[0].name.to_string(), started, by_status, overhead }
}

/// What these services have counted, under the name of the first.
fn read_services(services: &[&Arc<Service>], now: u64) -> ServiceCalls {
    let cells = || services.iter().flat_map(|service| service.cells.all());
    let named =
        |names: &[&'static str], count: &dyn Fn(usize) -> u64| -> Vec<(&'static str, u64)> {
            let counted = names.iter().enumerate().map(|(place, name)| (*name, count(place)));
            counted.filter(|(_, count)| *count > 0).collect()
        };
    // Ends first: no call may seem to have ended that has not begun.
    let by_status =
        named(&STATUSES, &|place| cells().map(|cells| cells.statuses[place].now()).sum());
    let by_reason = named(&REASONS, &|place| cells().map(|cells| cells.reasons[place].now()).sum());
    let mut duration = Buckets::none(&DURATION_BOUNDS);
    cells().for_each(|cells| cells.duration.read_into(&mut duration));
    ServiceCalls {
        service: services[0].name.to_string(),
        ended: by_status.iter().map(|(_, count)| count).sum(),
        by_status,
        by_reason,
        started: cells().map(|cells| cells.started.now()).sum(),
        per_second: cells().map(|cells| cells.rate.per_second(now)).sum(),
        messages_in: cells().map(|cells| cells.messages_in.now()).sum(),
        messages_out: cells().map(|cells| cells.messages_out.now()).sum(),
        duration,
    }
}
