//! Calls that wait for a tunnel: their service is known, and nobody serves it now.
//!
//! ```text
//!                         .-- release: a tunnel has come --> (tried again)
//!   admit --> waiting ----+-- expire: it waited long enough --> (refused)
//!                         '-- withdraw: its caller left --> (over)
//! ```
//!
//! Each worker has its own list; how many may wait is counted by all workers together. A waiting
//! call has its place there as long as it is on a list, so what was taken comes back on every road.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::id::{MethodPath, RequestId, ServiceName};
use super::limits::Limits;

/// How much waits in the whole gateway. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct WaitingRoom {
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    calls: usize,
    bytes: usize,
    of_service: HashMap<ServiceName, usize>,
}

/// Why there is no place for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// As many calls wait as may.
    Calls,
    /// As many calls to this service wait as may.
    CallsOfService,
    /// The messages of those that wait have as many bytes as they may.
    Bytes,
}

/// The place of one waiting call; its drop gives it back.
#[derive(Debug)]
pub struct Place {
    room: WaitingRoom,
    service: ServiceName,
    bytes: usize,
}

/// The waiting calls of one worker. `C` is a call with all it needs to be tried again.
#[derive(Debug)]
pub struct Waiting<C> {
    /// By the end of the wait: all wait equally long, so that is by age.
    calls: BTreeMap<Turn, Waiter<C>>,
    turns: FxHashMap<RequestId, Turn>,
    next_number: u64,
}

/// The end of a call's wait, and its number among those that end at the same instant.
type Turn = (Instant, u64);

#[derive(Debug)]
struct Waiter<C> {
    request: RequestId,
    path: MethodPath,
    call: C,
    _place: Place,
}

impl WaitingRoom {
    /// A place for a call with `bytes` of messages, if the limits leave one. An empty room takes a
    /// message of any size.
    ///
    /// # Errors
    ///
    /// Which limit leaves none.
    pub fn enter(&self, path: &MethodPath, bytes: usize, limits: &Limits) -> Result<Place, NoRoom> {
        let bytes = bytes.min(limits.waiting_bytes_max);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_service = taken.of_service.get(path.service()).copied().unwrap_or(0);
        if taken.calls >= limits.waiting_calls_max {
            return Err(NoRoom::Calls);
        }
        if of_service >= limits.waiting_calls_per_service_max {
            return Err(NoRoom::CallsOfService);
        }
        if bytes > limits.waiting_bytes_max.saturating_sub(taken.bytes) {
            return Err(NoRoom::Bytes);
        }
        let service = ServiceName::new(path.service());
        taken.calls += 1;
        taken.bytes += bytes;
        *taken.of_service.entry(service.clone()).or_default() += 1;
        Ok(Place { room: self.clone(), service, bytes })
    }

    /// How many calls wait.
    pub fn calls(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).calls
    }

    /// How many bytes of their messages are held.
    pub fn bytes(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.calls -= 1;
        taken.bytes -= self.bytes;
        if let Some(count) = taken.of_service.get_mut(&self.service) {
            *count -= 1;
            if *count == 0 {
                taken.of_service.remove(&self.service);
            }
        }
    }
}

impl<C> Waiting<C> {
    /// Nobody waits.
    pub fn new() -> Self {
        Self { calls: BTreeMap::new(), turns: FxHashMap::default(), next_number: 0 }
    }

    /// Lets a call wait until `end`. It does not wait yet.
    pub fn admit(
        &mut self,
        request: RequestId,
        path: MethodPath,
        end: Instant,
        place: Place,
        call: C,
    ) {
        let turn = (end, self.next_number);
        self.next_number += 1;
        self.turns.insert(request, turn);
        self.calls.insert(turn, Waiter { request, path, call, _place: place });
        self.check();
    }

    /// Takes one call out, with the end of its wait; `None` if it does not wait.
    pub fn withdraw(&mut self, request: RequestId) -> Option<(Instant, C)> {
        let turn = self.turns.remove(&request)?;
        let waiter = self.calls.remove(&turn);
        self.check();
        waiter.map(|waiter| (turn.0, waiter.call))
    }

    /// Takes out the calls of all methods that are served now, the oldest first, each with the end
    /// of its wait.
    pub fn release(&mut self, served: impl Fn(&MethodPath) -> bool) -> Vec<(Instant, C)> {
        let released = self.calls.extract_if(.., |_, waiter| served(&waiter.path));
        let released = released.map(|((end, _), waiter)| {
            self.turns.remove(&waiter.request);
            (end, waiter.call)
        });
        let released = released.collect();
        self.check();
        released
    }

    /// Takes out the calls that have waited long enough, the oldest first.
    pub fn expire(&mut self, now: Instant) -> Vec<C> {
        let mut expired = Vec::new();
        while let Some(first) = self.calls.first_entry().filter(|first| first.key().0 <= now) {
            let waiter = first.remove();
            self.turns.remove(&waiter.request);
            expired.push(waiter.call);
        }
        self.check();
        expired
    }

    /// When the next call will have waited long enough.
    pub fn next_end(&self) -> Option<Instant> {
        self.calls.first_key_value().map(|((end, _), _)| *end)
    }

    /// How many calls wait.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether no call waits.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// What must hold between any two calls.
    fn check(&self) {
        debug_assert!(
            self.calls.len() == self.turns.len()
                && self.calls.iter().all(|(turn, w)| self.turns.get(&w.request) == Some(turn)),
            "every waiting call is found by its id and by its age"
        );
    }
}

impl<C> Default for Waiting<C> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn calls_are_released_oldest_first_and_only_those_that_are_served() {
        let (room, mut waiting, start) = (WaitingRoom::default(), Waiting::new(), Instant::now());
        let later = start + Duration::from_secs(1);
        let limits = Limits::default();
        for (number, (service, end)) in
            [("a.A", later), ("b.B", later), ("a.A", start), ("a.A", later)].into_iter().enumerate()
        {
            let place = room.enter(&path(service), 1, &limits).unwrap();
            waiting.admit(RequestId::random(), path(service), end, place, number);
        }
        let served = waiting.release(|path| path.service() == "a.A");
        assert_eq!(served, [(start, 2), (later, 0), (later, 3)]);
        assert_eq!((waiting.len(), room.calls()), (1, 1));
        assert_eq!(waiting.expire(start), [0; 0]);
        assert_eq!(waiting.expire(later), [1]);
        assert_eq!((waiting.next_end(), room.calls(), room.bytes()), (None, 0, 0));
    }

    #[test]
    fn each_bound_refuses_and_a_place_given_back_is_free_again() {
        let room = WaitingRoom::default();
        let limits = limits();
        let first = room.enter(&path("a.A"), 1, &limits).unwrap();
        let _second = room.enter(&path("a.A"), 1, &limits).unwrap();
        assert!(room.enter(&path("a.A"), 1, &limits).is_err(), "two of a service");
        let third = room.enter(&path("b.B"), 1, &limits).unwrap();
        assert!(room.enter(&path("c.C"), 1, &limits).is_err(), "three in all");
        drop(third);
        assert!(room.enter(&path("c.C"), 9, &limits).is_err(), "ten bytes");
        drop(first);
        room.enter(&path("a.A"), 9, &limits).unwrap();
    }

    #[test]
    fn an_empty_room_takes_a_message_of_any_size() {
        let room = WaitingRoom::default();
        let place = room.enter(&path("a.A"), usize::MAX, &limits()).unwrap();
        assert!(room.enter(&path("b.B"), 1, &limits()).is_err());
        drop(place);
        assert_eq!(room.bytes(), 0);
    }

    fn path(service: &str) -> MethodPath {
        MethodPath::parse(&format!("/{service}/M")).unwrap()
    }

    fn limits() -> Limits {
        Limits {
            waiting_calls_max: 3,
            waiting_calls_per_service_max: 2,
            waiting_bytes_max: 10,
            ..Limits::default()
        }
    }

    #[derive(Clone, Debug)]
    enum Event {
        Admit(usize, usize, u64),
        Withdraw(usize),
        Release(usize),
        Pass(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0..8usize, 0..3usize, 0..6u64).prop_map(|(c, s, b)| Event::Admit(c, s, b)),
            1 => (0..8usize).prop_map(Event::Withdraw),
            1 => (0..3usize).prop_map(Event::Release),
            1 => (0..4u64).prop_map(Event::Pass),
        ]
    }

    proptest! {
        /// Two workers share a room. Whatever happens, every call that was let in comes out once,
        /// the bounds hold against a plain count, and at the end nothing is left.
        #[test]
        fn every_call_that_waits_comes_out_once(
            events in prop::collection::vec((0..2usize, event()), 0..120),
        ) {
            let services = ["a.A", "b.B", "c.C"];
            let (room, limits, mut now) = (WaitingRoom::default(), limits(), Instant::now());
            let mut workers = [Waiting::new(), Waiting::new()];
            let mut ids: Vec<_> = (0..8).map(|_| RequestId::random()).collect();
            // The reference: who waits, at which worker, for what, with how many bytes.
            let mut model: Vec<(RequestId, usize, usize, usize, Instant)> = Vec::new();
            for (worker, event) in events {
                let out: Vec<RequestId> = match event {
                    Event::Admit(call, service, bytes) => {
                        let bytes = usize::try_from(bytes).unwrap();
                        let place = room.enter(&path(services[service]), bytes, &limits);
                        let of_service = model.iter().filter(|waits| waits.2 == service).count();
                        let held: usize = model.iter().map(|waits| waits.3).sum();
                        prop_assert_eq!(
                            place.is_ok(),
                            model.len() < 3 && of_service < 2 && held + bytes <= 10
                        );
                        if let Ok(place) = place {
                            ids[call] = RequestId::random();
                            let end = now + Duration::from_secs(3);
                            let path = path(services[service]);
                            workers[worker].admit(ids[call], path, end, place, ids[call]);
                            model.push((ids[call], worker, service, bytes, end));
                        }
                        vec![]
                    }
                    Event::Withdraw(call) => {
                        let out = workers[worker].withdraw(ids[call]);
                        let waits = model.iter().any(|waits| (waits.0, waits.1) == (ids[call], worker));
                        prop_assert_eq!(out.is_some(), waits);
                        out.into_iter().map(|(_, call)| call).collect()
                    }
                    Event::Release(service) => {
                        let served = |path: &MethodPath| path.service() == services[service];
                        let out = workers[worker].release(served);
                        prop_assert!(out.is_sorted_by_key(|(end, _)| *end));
                        let expected = model.iter().filter(|w| (w.1, w.2) == (worker, service));
                        prop_assert_eq!(out.len(), expected.count());
                        out.into_iter().map(|(_, call)| call).collect()
                    }
                    Event::Pass(seconds) => {
                        now += Duration::from_secs(seconds);
                        let out = workers[worker].expire(now);
                        let due = model.iter().filter(|waits| waits.1 == worker && waits.4 <= now);
                        prop_assert_eq!(out.len(), due.count());
                        out
                    }
                };
                for call in out {
                    let place = model.iter().position(|waits| waits.0 == call);
                    prop_assert!(place.is_some(), "it comes out once");
                    model.remove(place.unwrap());
                }
                prop_assert_eq!(room.calls(), model.len());
            }
            for worker in &mut workers {
                worker.release(|_| true);
                prop_assert!(worker.is_empty() && worker.next_end().is_none());
            }
            prop_assert_eq!((room.calls(), room.bytes()), (0, 0));
            prop_assert!(room.taken.lock().unwrap().of_service.is_empty());
        }
    }
}
