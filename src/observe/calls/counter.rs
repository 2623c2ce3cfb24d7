//! Counts the calls of one worker. It remembers where each method is counted, so that a call mostly
//! costs a look into a table of its own and a few additions.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::Calls;
use super::buckets::Measured;
use super::cells::{Method, Service, StatusCells};
use super::outcome::{Reason, Status};
use crate::observe::ticks::Tick;

/// Paths that a worker remembers; then it begins anew. Callers may choose them so that the table's hash
/// does badly, and this is as badly as it can do.
const REMEMBERED_MAX: usize = 512;
/// Longer paths are `other`. No method of a real service has a name like that.
const PATH_BYTES_MAX: usize = 512;
/// What found no place asks again after so long.
const RETRY: Duration = Duration::from_secs(1);

/// Counts the calls of one worker, on its thread.
#[derive(Debug)]
pub struct CallCounter {
    calls: Arc<Calls>,
    worker: usize,
    remembered: RefCell<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    /// Of the names, when this was remembered.
    generation: u64,
    places: FxHashMap<Box<str>, Rc<Place>>,
}

/// Where a method's calls are counted.
#[derive(Debug)]
struct Place {
    calls: Arc<Calls>,
    worker: usize,
    method: Arc<Method>,
    service: Arc<Service>,
    since: Tick,
    /// It might find a better place later.
    wanting: Cell<bool>,
    /// Statuses without a place, each a bit.
    placeless: Cell<u32>,
}

/// A call that has been counted as started. Clones are the same call: one of them tells its end, once.
#[derive(Clone, Debug)]
pub struct Counted(Rc<Place>);

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// What its caller was told.
    pub status: Status,
    /// Why the gateway itself ended it, if it did.
    pub reason: Option<Reason>,
    /// From its arrival until its end was written.
    pub duration_nanoseconds: u64,
    /// What of that the gateway took, without waiting for the caller or a tunnel; of calls that the
    /// service answered.
    pub overhead_nanoseconds: Option<u64>,
    /// Bytes of its messages from the caller.
    pub bytes_in: u64,
    /// Bytes of its messages to the caller.
    pub bytes_out: u64,
}

impl CallCounter {
    /// Counts for one worker.
    pub fn new(calls: Arc<Calls>, worker: usize) -> Self {
        Self { calls, worker, remembered: RefCell::default() }
    }

    /// A call of the method with this path has come.
    pub fn begin(&self, path: &str, arrived: Tick) -> Counted {
        let counted = Counted(self.place(path, arrived));
        let Place { calls, worker, method, service, .. } = &*counted.0;
        method.cells.of(*worker).started.add(1);
        let cells = service.cells.of(*worker);
        cells.started.add(1);
        cells.rate.one_more(calls.since_start(arrived));
        counted
    }

    fn place(&self, path: &str, now: Tick) -> Rc<Place> {
        let mut remembered = self.remembered.borrow_mut();
        let generation = self.calls.generation();
        if remembered.generation != generation || remembered.places.len() >= REMEMBERED_MAX {
            remembered.places.clear();
            remembered.generation = generation;
        }
        if let Some(place) = remembered.places.get(path)
            && place.is_good(now)
        {
            return place.clone();
        }
        let is_path = path.len() <= PATH_BYTES_MAX;
        let (method, service, wants) = self.calls.places(if is_path { path } else { "" });
        let place = Rc::new(Place {
            calls: self.calls.clone(),
            worker: self.worker,
            method,
            service,
            since: now,
            wanting: Cell::new(wants),
            placeless: Cell::new(0),
        });
        if is_path {
            remembered.places.insert(path.into(), place.clone());
        }
        place
    }
}

impl Place {
    fn is_good(&self, now: Tick) -> bool {
        let is_kept = !self.method.is_retired() && !self.service.is_retired();
        is_kept && (!self.wanting.get() || self.since.until(now) < RETRY)
    }

    fn status(&self, status: usize) -> &StatusCells {
        if let Some(cells) = self.method.statuses[status].get() {
            return cells.of(self.worker);
        }
        let bit = 1 << status;
        if self.placeless.get() & bit == 0 {
            if self.calls.has_status(&self.method, status)
                && let Some(cells) = self.method.statuses[status].get()
            {
                return cells.of(self.worker);
            }
            self.placeless.set(self.placeless.get() | bit);
            self.wanting.set(true);
        }
        self.calls.other_status(status).of(self.worker)
    }
}

impl Counted {
    /// A message has come from the caller.
    pub fn message_in(&self) {
        self.0.service.cells.of(self.0.worker).messages_in.add(1);
    }

    /// A message has been written to the caller.
    pub fn message_out(&self) {
        self.0.service.cells.of(self.0.worker).messages_out.add(1);
    }

    /// The call is over.
    pub fn end(&self, end: End) {
        let Place { calls, worker, method, service, .. } = &*self.0;
        let duration = Measured::nanoseconds(end.duration_nanoseconds);
        let of_method = method.cells.of(*worker);
        if let Some(overhead) = end.overhead_nanoseconds {
            of_method.overhead.measured(Measured::nanoseconds(overhead));
            if end.status == Status::OK {
                method.prove();
            }
        }
        let of_status = self.0.status(end.status.place());
        of_status.duration.measured(duration);
        of_status.sent.bytes(end.bytes_out);
        of_status.received.bytes(end.bytes_in);
        let of_service = service.cells.of(*worker);
        of_service.ended(end.status, duration);
        if let Some(reason) = end.reason {
            of_service.reasons[reason.place()].add(1);
            calls.error(*worker, reason, end.status);
        }
        // Last: until here it was in flight, and its method keeps its place.
        of_method.ended.add(1);
    }
}
