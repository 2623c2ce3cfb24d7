//! What is counted of a method and of a service, for each worker apart, so that no two workers write to
//! the same cache line.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::buckets::{Counter, Durations, Measured, Sizes};
use super::outcome::{REASONS, STATUSES, Status};
use crate::observe::buckets::as_float;

/// Cells of one kind: each worker has its own, and there is one set for what is taken over from a name
/// that has lost its place. They are there once they are needed. A clone has the same cells.
#[derive(Debug)]
pub(super) struct Sharded<T>(Arc<[OnceLock<Box<T>>]>);

/// A method that has a name of its own, or all others together.
#[derive(Debug)]
pub(super) struct Method {
    /// `package.Service/Method`, or `other`.
    pub(super) name: Arc<str>,
    pub(super) cells: Sharded<MethodCells>,
    /// By the number of the status; the last place is for those without one of their own.
    pub(super) statuses: [OnceLock<Sharded<StatusCells>>; STATUSES.len() + 1],
    /// Some call of it succeeded: no caller has made it up.
    proven: AtomicBool,
    /// It has lost its place; what is still counted here is a part of `other`.
    retired: AtomicBool,
    /// These are the errors of that method, which whoever has it still counts here.
    errors_of: Option<Arc<Method>>,
}

/// A service that has a name of its own, or all others together.
#[derive(Debug)]
pub(super) struct Service {
    /// The registered name, or `other`.
    pub(super) name: Arc<str>,
    pub(super) cells: Sharded<ServiceCells>,
    retired: AtomicBool,
}

/// One worker's calls of a method.
#[derive(Debug, Default)]
pub(super) struct MethodCells {
    pub(super) started: Counter,
    pub(super) ended: Counter,
    pub(super) overhead: Durations,
}

/// One worker's calls of a method with one status.
#[derive(Debug, Default)]
pub(super) struct StatusCells {
    pub(super) duration: Durations,
    pub(super) sent: Sizes,
    pub(super) received: Sizes,
}

/// One worker's calls to a service.
#[derive(Debug, Default)]
pub(super) struct ServiceCells {
    pub(super) started: Counter,
    pub(super) statuses: [Counter; STATUSES.len()],
    pub(super) reasons: [Counter; REASONS.len()],
    pub(super) messages_in: Counter,
    pub(super) messages_out: Counter,
    pub(super) duration: Durations,
    pub(super) rate: Rate,
}

/// One worker's calls that the gateway itself ended, by reason and status.
#[derive(Debug)]
pub(super) struct Errors(Box<[[Counter; STATUSES.len()]; REASONS.len()]>);

/// How many calls began in the last seconds: those of the running window, and as much of the one before
/// as the running one lacks.
#[derive(Debug, Default)]
pub(super) struct Rate {
    window: Counter,
    running: Counter,
    before: Counter,
}

/// The length of a window of [`Rate`].
const WINDOW_NANOSECONDS: u64 = 10 * SECOND_NANOSECONDS;
const SECOND_NANOSECONDS: u64 = 1_000_000_000;

impl<T> Clone for Sharded<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Default> Sharded<T> {
    /// For so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self((0..=workers).map(|_| OnceLock::new()).collect())
    }

    /// The cells of one worker.
    pub(super) fn of(&self, worker: usize) -> &T {
        self.0[worker].get_or_init(Box::default)
    }

    /// The cells of what is taken over. Only whoever holds the lock of all names counts there.
    pub(super) fn taken_over(&self) -> &T {
        self.of(self.0.len() - 1)
    }

    /// All cells that there are.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(OnceLock::get).map(AsRef::as_ref)
    }
}

impl Method {
    pub(super) fn new(name: Arc<str>, workers: usize) -> Self {
        Self {
            name,
            cells: Sharded::new(workers),
            statuses: [const { OnceLock::new() }; STATUSES.len() + 1],
            proven: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            errors_of: None,
        }
    }

    /// The same method without its errors, and these, with what both have counted.
    pub(super) fn parted(this: Arc<Self>, workers: usize) -> (Self, Self) {
        let mut keeps = Self {
            cells: this.cells.clone(),
            proven: AtomicBool::new(this.is_proven()),
            ..Self::new(this.name.clone(), workers)
        };
        let mut errors = Self::new(this.name.clone(), workers);
        for (place, cells) in this.statuses.iter().enumerate() {
            let goes_on = if place == Status::OK.place() { &mut keeps } else { &mut errors };
            goes_on.statuses[place].clone_from(cells);
        }
        (keeps, Self { errors_of: Some(this), ..errors })
    }

    /// Whether it succeeded and failed, and has a place for both.
    pub(super) fn has_errors_beside(&self) -> bool {
        self.statuses[Status::OK.place()].get().is_some() && self.statuses_named() > 1
    }

    /// Whether anybody may still count here, beside who looks.
    pub(super) fn is_held(this: &Arc<Self>) -> bool {
        let whole = this.errors_of.as_ref();
        Arc::strong_count(this) > 1 || whole.is_some_and(|whole| Arc::strong_count(whole) > 1)
    }

    /// The service in its name.
    pub(super) fn service(&self) -> &str {
        self.name.split_once('/').map_or("", |(service, _)| service)
    }

    pub(super) fn prove(&self) {
        // A load is cheaper than to write what is there already.
        if !self.proven.load(Ordering::Relaxed) {
            self.proven.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Whether no call of it is in flight.
    pub(super) fn is_idle(&self) -> bool {
        let ended: u64 = self.cells.all().map(|cells| cells.ended.now()).sum();
        let started: u64 = self.cells.all().map(|cells| cells.started.now()).sum();
        started == ended
    }

    /// How many statuses have a place.
    pub(super) fn statuses_named(&self) -> usize {
        self.statuses.iter().filter(|status| status.get().is_some()).count()
    }

    /// Takes over what `other` has counted; both must be out of everybody's hands but the caller's.
    pub(super) fn absorb(&self, other: &Self, status: impl Fn(usize) -> usize, workers: usize) {
        let own = self.cells.taken_over();
        for cells in other.cells.all() {
            own.started.add(cells.started.now());
            own.ended.add(cells.ended.now());
            own.overhead.absorb(&cells.overhead);
        }
        for (place, theirs) in other.statuses.iter().enumerate() {
            let Some(theirs) = theirs.get() else { continue };
            let own = self.statuses[status(place)].get_or_init(|| Sharded::new(workers));
            let own = own.taken_over();
            for cells in theirs.all() {
                own.duration.absorb(&cells.duration);
                own.sent.absorb(&cells.sent);
                own.received.absorb(&cells.received);
            }
        }
    }
}

impl Service {
    pub(super) fn new(name: Arc<str>, workers: usize) -> Self {
        Self { name, cells: Sharded::new(workers), retired: AtomicBool::new(false) }
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Takes over what `other` has counted, but not how fast it was.
    pub(super) fn absorb(&self, other: &Self) {
        let own = self.cells.taken_over();
        for cells in other.cells.all() {
            own.started.add(cells.started.now());
            for (own, theirs) in own.statuses.iter().zip(&cells.statuses) {
                own.add(theirs.now());
            }
            for (own, theirs) in own.reasons.iter().zip(&cells.reasons) {
                own.add(theirs.now());
            }
            own.messages_in.add(cells.messages_in.now());
            own.messages_out.add(cells.messages_out.now());
            own.duration.absorb(&cells.duration);
        }
    }
}

impl ServiceCells {
    pub(super) fn ended(&self, status: Status, duration: Measured) {
        self.statuses[status.place()].add(1);
        self.duration.measured(duration);
    }
}

impl Errors {
    pub(super) fn of(&self, reason: usize, status: usize) -> &Counter {
        &self.0[reason][status]
    }
}

impl Default for Errors {
    fn default() -> Self {
        Self(Box::new(std::array::from_fn(|_| std::array::from_fn(|_| Counter::default()))))
    }
}

impl Rate {
    /// One more, so long after the beginning of all.
    pub(super) fn one_more(&self, nanoseconds: u64) {
        let window = nanoseconds / WINDOW_NANOSECONDS;
        let last = self.window.now();
        if window != last {
            self.before.set(if window == last + 1 { self.running.now() } else { 0 });
            self.running.set(0);
            self.window.set(window);
        }
        self.running.add(1);
    }

    /// How many a second.
    pub(super) fn per_second(&self, nanoseconds: u64) -> f64 {
        let window = nanoseconds / WINDOW_NANOSECONDS;
        let (running, before) = match window.checked_sub(self.window.now()) {
            Some(0) => (self.running.now(), self.before.now()),
            Some(1) => (0, self.running.now()),
            // The window may have changed while it was looked at.
            None | Some(_) => (0, 0),
        };
        let left = WINDOW_NANOSECONDS - nanoseconds % WINDOW_NANOSECONDS;
        let share = as_float(left) / as_float(WINDOW_NANOSECONDS);
        // In the first window there was no time for more.
        let seconds = as_float(nanoseconds.clamp(SECOND_NANOSECONDS, WINDOW_NANOSECONDS)) / 1e9;
        (as_float(running) + as_float(before) * share) / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = SECOND_NANOSECONDS;

    #[test]
    fn a_steady_rate_is_told_at_any_moment_and_is_forgotten_when_it_ends() {
        let rate = Rate::default();
        for tenth in 0..250 {
            rate.one_more(tenth * SECOND / 10);
        }
        let near = |seconds: u64, expected: f64| {
            let told = rate.per_second(seconds * SECOND);
            assert!((told - expected).abs() < 0.11, "{told} after {seconds} s");
        };
        near(25, 10.0);
        near(29, 6.0);
        near(35, 2.5);
        near(41, 0.0);
        rate.one_more(100 * SECOND);
        near(100, 0.1);
    }
}
