//! Which caller waits for which tunnel, on the worker that owns the tunnel.
//!
//! ```text
//!              open               answer / detach
//!   (unknown) ------> waiting -----------------------------> (unknown)
//!                        |                                       ^
//!                        | hang_up        release / sweep        |
//!                        '-------> leaving ----------------------'
//! ```
//!
//! A call is waiting until exactly one exit takes its caller out of the table. Whoever takes it
//! out gets the caller, and nobody else ever does: that is how a caller is answered once and only
//! once. A call that is leaving has no caller any more, but its peer may still be working on it,
//! so it keeps its slot until the peer ends it or the cancel timeout has passed (the heart of
//! CVE-2025-8671 is a server that forgets such work).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::allowance::Hold;
use super::id::{RequestId, TunnelId};

/// The calls of one worker's tunnels. `C` is a caller.
#[derive(Debug)]
pub struct Switchboard<C> {
    calls: FxHashMap<RequestId, Call<C>>,
    tunnels: FxHashMap<TunnelId, usize>,
    leaving: VecDeque<(Instant, RequestId)>,
    calls_per_tunnel_max: usize,
    cancel_timeout: Duration,
}

#[derive(Debug)]
struct Call<C> {
    tunnel: TunnelId,
    /// `None` while it is leaving.
    caller: Option<C>,
    /// Its place among the calls of its service, given back with its slot on the tunnel.
    _place: Hold,
}

/// Why a call could not be put through. What was given for it comes back.
#[derive(Debug)]
pub struct Refused<C> {
    /// Who wanted to call.
    pub caller: C,
    /// Its place among the calls of its service.
    pub place: Hold,
    /// Why it cannot.
    pub reason: Refusal,
}

/// Why a tunnel takes no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The tunnel is not on this board (any more).
    Gone,
    /// The tunnel carries as many calls as it may.
    Full,
}

impl<C> Switchboard<C> {
    /// A board without tunnels.
    pub fn new(calls_per_tunnel_max: usize, cancel_timeout: Duration) -> Self {
        Self {
            calls: FxHashMap::default(),
            tunnels: FxHashMap::default(),
            leaving: VecDeque::new(),
            calls_per_tunnel_max,
            cancel_timeout,
        }
    }

    /// Other limits hold from now on. A tunnel that carries more keeps what it has.
    pub fn reconfigure(&mut self, calls_per_tunnel_max: usize, cancel_timeout: Duration) {
        self.calls_per_tunnel_max = calls_per_tunnel_max;
        self.cancel_timeout = cancel_timeout;
    }

    /// Puts a tunnel on the board.
    pub fn attach(&mut self, tunnel: TunnelId) {
        self.tunnels.entry(tunnel).or_insert(0);
    }

    /// Takes a tunnel off the board and returns every caller it leaves without an answer.
    pub fn detach(&mut self, tunnel: TunnelId) -> Vec<C> {
        self.tunnels.remove(&tunnel);
        let stranded = self.calls.extract_if(|_, call| call.tunnel == tunnel);
        let callers = stranded.filter_map(|(_, call)| call.caller).collect();
        self.check();
        callers
    }

    /// Starts waiting for an answer from `tunnel`. The call keeps its `place` as long as its slot.
    ///
    /// # Errors
    ///
    /// Hands caller and place back when the tunnel is gone or full.
    pub fn open(
        &mut self,
        request: RequestId,
        tunnel: TunnelId,
        caller: C,
        place: Hold,
    ) -> Result<(), Refused<C>> {
        let Some(carried) = self.tunnels.get_mut(&tunnel) else {
            return Err(Refused { caller, place, reason: Refusal::Gone });
        };
        if *carried >= self.calls_per_tunnel_max {
            return Err(Refused { caller, place, reason: Refusal::Full });
        }
        *carried += 1;
        self.calls.insert(request, Call { tunnel, caller: Some(caller), _place: place });
        self.check();
        Ok(())
    }

    /// Takes the caller whose final answer has come from `tunnel`, and frees the slot. `None` if
    /// it hung up, timed out, never was, or is carried by another tunnel.
    pub fn answer(&mut self, request: RequestId, tunnel: TunnelId) -> Option<C> {
        if self.calls.get(&request)?.tunnel != tunnel {
            return None;
        }
        self.release(request).and_then(|call| call.caller)
    }

    /// Takes the caller out before the peer has ended the call. The slot stays taken.
    pub fn hang_up(&mut self, request: RequestId, now: Instant) -> Option<(TunnelId, C)> {
        let call = self.calls.get_mut(&request)?;
        let caller = call.caller.take()?;
        self.leaving.push_back((now, request));
        Some((call.tunnel, caller))
    }

    /// Frees the slot of a call that is leaving and that the peer never saw.
    pub fn forget(&mut self, request: RequestId) -> Option<TunnelId> {
        let leaving = self.calls.get(&request)?.caller.is_none();
        leaving.then(|| self.release(request)).flatten().map(|call| call.tunnel)
    }

    /// Frees the slots of calls that have been leaving for long enough; returns their tunnels.
    pub fn sweep(&mut self, now: Instant) -> Vec<TunnelId> {
        let mut freed = Vec::new();
        let timeout = self.cancel_timeout;
        while let Some((_, request)) =
            self.leaving.pop_front_if(|(since, _)| *since + timeout <= now)
        {
            freed.extend(self.forget(request));
        }
        freed
    }

    /// When the next leaving call's slot is due to be freed.
    pub fn next_sweep(&self) -> Option<Instant> {
        self.leaving.front().map(|(since, _)| *since + self.cancel_timeout)
    }

    /// How many calls a tunnel carries, those leaving included.
    pub fn carried(&self, tunnel: TunnelId) -> usize {
        self.tunnels.get(&tunnel).copied().unwrap_or(0)
    }

    /// How many calls are on the board, those leaving included.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether no call is on the board.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    fn release(&mut self, request: RequestId) -> Option<Call<C>> {
        let call = self.calls.remove(&request)?;
        if let Some(carried) = self.tunnels.get_mut(&call.tunnel) {
            *carried -= 1;
        }
        self.check();
        Some(call)
    }

    /// What must hold between any two calls.
    fn check(&self) {
        debug_assert_eq!(
            self.tunnels.values().sum::<usize>(),
            self.calls.len(),
            "every call is counted on its tunnel, and every tunnel of a call is on the board"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::allowance::Allowance;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_caller_is_answered_once() {
        let (mut board, tunnel) = board();
        let request = RequestId::random();
        board.open(request, tunnel, "ann", place()).unwrap();

        assert_eq!(board.answer(request, tunnel), Some("ann"));
        assert_eq!(board.answer(request, tunnel), None);
        assert_eq!(board.hang_up(request, Instant::now()), None);
    }

    #[test]
    fn only_the_tunnel_that_carries_a_call_can_answer_it() {
        let (mut board, tunnel) = board();
        let other = TunnelId::random();
        board.attach(other);
        let request = RequestId::random();
        board.open(request, tunnel, "ann", place()).unwrap();

        assert_eq!(board.answer(request, other), None);
        assert_eq!(board.answer(request, tunnel), Some("ann"));
    }

    #[test]
    fn a_lost_tunnel_gives_back_only_its_own_callers() {
        let (mut board, tunnel) = board();
        let other = TunnelId::random();
        board.attach(other);
        board.open(RequestId::random(), tunnel, "ann", place()).unwrap();
        board.open(RequestId::random(), other, "bob", place()).unwrap();

        assert_eq!(board.detach(tunnel), ["ann"]);
        assert_eq!((board.len(), board.carried(other)), (1, 1));
    }

    #[test]
    fn a_full_tunnel_and_a_gone_one_refuse_for_different_reasons() {
        let (mut board, tunnel) = board();
        for caller in ["ann", "bob"] {
            board.open(RequestId::random(), tunnel, caller, place()).unwrap();
        }
        let refused = board.open(RequestId::random(), tunnel, "cid", place()).unwrap_err();
        assert_eq!((refused.caller, refused.reason), ("cid", Refusal::Full));
        board.detach(tunnel);
        let refused = board.open(RequestId::random(), tunnel, "cid", place()).unwrap_err();
        assert_eq!(refused.reason, Refusal::Gone);
    }

    #[test]
    fn a_call_whose_caller_left_keeps_its_slot_until_the_peer_ends_it_or_time_is_up() {
        let (mut board, tunnel) = board();
        let start = Instant::now();
        let (ended, silent) = (RequestId::random(), RequestId::random());
        for request in [ended, silent] {
            board.open(request, tunnel, "ann", place()).unwrap();
            assert_eq!(board.hang_up(request, start), Some((tunnel, "ann")));
        }
        assert_eq!(board.carried(tunnel), 2);
        assert_eq!(board.answer(ended, tunnel), None);
        assert_eq!(board.carried(tunnel), 1);
        assert!(board.sweep(start + Duration::from_millis(4_999)).is_empty());
        assert_eq!(board.sweep(start + Duration::from_secs(5)), [tunnel]);
        assert!(board.is_empty());
    }

    #[test]
    fn a_shorter_timeout_holds_for_those_who_left_before_too() {
        let (mut board, tunnel) = board();
        let start = Instant::now();
        board.reconfigure(usize::MAX, Duration::from_hours(1));
        let requests = [RequestId::random(), RequestId::random()];
        board.open(requests[0], tunnel, "ann", place()).unwrap();
        board.hang_up(requests[0], start);
        board.reconfigure(usize::MAX, Duration::from_secs(5));
        board.open(requests[1], tunnel, "bob", place()).unwrap();
        board.hang_up(requests[1], start + Duration::from_secs(1));
        assert_eq!(board.next_sweep(), Some(start + Duration::from_secs(5)));
        assert_eq!(board.sweep(start + Duration::from_secs(6)), [tunnel, tunnel]);
        assert!(board.is_empty());
    }

    #[test]
    fn a_waiting_call_is_not_forgotten() {
        let (mut board, tunnel) = board();
        let request = RequestId::random();
        board.open(request, tunnel, "ann", place()).unwrap();
        assert_eq!(board.forget(request), None);
        board.hang_up(request, Instant::now());
        assert_eq!(board.forget(request), Some(tunnel));
    }

    #[test]
    fn a_call_keeps_its_place_among_those_of_its_service_as_long_as_its_slot() {
        let (mut board, tunnel) = board();
        let places = Allowance::new(2);
        let (first, second) = (RequestId::random(), RequestId::random());
        for request in [first, second] {
            board.open(request, tunnel, "ann", places.take(1).unwrap()).unwrap();
        }
        board.hang_up(first, Instant::now());
        assert_eq!(places.used(), 2, "the peer may still be working on it");
        board.answer(first, tunnel);
        assert_eq!(places.used(), 1);
        board.detach(tunnel);
        assert_eq!(places.used(), 0);
    }

    fn place() -> Hold {
        Allowance::new(1).take(1).unwrap()
    }

    fn board() -> (Switchboard<&'static str>, TunnelId) {
        let mut board = Switchboard::new(2, Duration::from_secs(5));
        let tunnel = TunnelId::random();
        board.attach(tunnel);
        (board, tunnel)
    }

    #[derive(Clone, Debug)]
    enum Event {
        Attach(usize),
        Detach(usize),
        Open(usize, usize),
        Answer(usize, usize),
        HangUp(usize),
        Forget(usize),
        Sweep(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..3usize).prop_map(Event::Attach),
            (0..3usize).prop_map(Event::Detach),
            (0..12usize, 0..3usize).prop_map(|(call, tunnel)| Event::Open(call, tunnel)),
            (0..12usize, 0..3usize).prop_map(|(call, tunnel)| Event::Answer(call, tunnel)),
            (0..12usize).prop_map(Event::HangUp),
            (0..12usize).prop_map(Event::Forget),
            (0..7u64).prop_map(Event::Sweep),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order, every opened call gives its caller back exactly
        /// once, and at the end nothing is left.
        #[test]
        fn every_call_ends_exactly_once(events in prop::collection::vec(event(), 0..120)) {
            let tunnels: Vec<_> = (0..3).map(|_| TunnelId::random()).collect();
            let mut now = Instant::now();
            let mut board = Switchboard::new(4, Duration::from_secs(5));
            let mut ids: Vec<_> = (0..12).map(|_| RequestId::random()).collect();
            let places = Allowance::new(usize::MAX);
            let mut opened = 0usize;
            let mut ends: BTreeMap<usize, usize> = BTreeMap::new();
            for event in events {
                let out: Vec<usize> = match event {
                    Event::Attach(t) => { board.attach(tunnels[t]); vec![] }
                    Event::Detach(t) => board.detach(tunnels[t]),
                    Event::Open(c, t) => {
                        ids[c] = RequestId::random();
                        let caller = opened;
                        opened += 1;
                        match board.open(ids[c], tunnels[t], caller, places.take(1).unwrap()) {
                            Ok(()) => vec![],
                            Err(refused) => vec![refused.caller],
                        }
                    }
                    Event::Answer(c, t) => board.answer(ids[c], tunnels[t]).into_iter().collect(),
                    Event::HangUp(c) => board.hang_up(ids[c], now).map(|(_, c)| c).into_iter().collect(),
                    Event::Forget(c) => { board.forget(ids[c]); vec![] }
                    Event::Sweep(s) => { now += Duration::from_secs(s); board.sweep(now); vec![] }
                };
                for caller in out {
                    *ends.entry(caller).or_default() += 1;
                }
            }
            for tunnel in tunnels {
                for caller in board.detach(tunnel) {
                    *ends.entry(caller).or_default() += 1;
                }
            }
            board.sweep(now + Duration::from_mins(1));
            prop_assert_eq!(places.used(), 0);
            prop_assert!(board.is_empty() && board.next_sweep().is_none());
            prop_assert_eq!(ends.len(), opened);
            prop_assert!(ends.values().all(|count| *count == 1));
        }
    }
}
