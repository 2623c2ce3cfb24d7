//! What is counted of one tunnel, where it happens, and read from any thread.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::buckets::nanoseconds;
use super::frames::{Counts, FrameCall, FrameKind, FrameRing, read};
use super::names::{NameTotals, Rows};
use super::snapshot::{FrameSeen, TunnelSnapshot};
use crate::observe::ticks::{self, Tick};

/// No round trip has been measured. One that really takes this long is told as a nanosecond less.
const UNMEASURED: u64 = u64::MAX;

/// What is known of a tunnel from its beginning.
#[derive(Clone, Debug)]
pub struct About {
    /// Its id.
    pub id: u128,
    /// The id of the key that opened it.
    pub key_id: String,
    /// The other end of its connection.
    pub peer_address: SocketAddr,
    /// Its peer asked for no feature.
    pub plain: bool,
    /// The features it was granted.
    pub features: Vec<String>,
    /// The names it serves, as it registered them.
    pub services: Vec<String>,
    /// The worker it lives on.
    pub worker: usize,
    /// When its stream had come.
    pub arrived: Tick,
    /// How much others hold of it.
    pub held: Held,
}

#[cfg(test)]
impl About {
    /// A tunnel of a test, with these names.
    pub(crate) fn serving(services: &[&str]) -> Self {
        Self {
            id: Uuid::new_v4().as_u128(),
            key_id: "tests".to_owned(),
            peer_address: ([127, 0, 0, 1], 1).into(),
            plain: false,
            features: Vec::new(),
            services: services.iter().map(|name| (*name).to_owned()).collect(),
            worker: 0,
            arrived: ticks::now(),
            held: Held::default(),
        }
    }
}

/// Numbers that others count anyway.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Calls that its peer is answering.
    pub calls: Arc<AtomicUsize>,
    /// Calls that its peer makes.
    pub own_calls: Reading,
    /// Bytes in its queue.
    pub queued_bytes: Reading,
    /// The topics that it listens to.
    pub topics: Listing,
}

/// A list that somebody else keeps.
#[derive(Clone)]
pub struct Listing(Arc<dyn Fn() -> Vec<String> + Send + Sync>);

impl Listing {
    /// It is what `read` returns, from any thread.
    pub fn new(read: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    fn now(&self) -> Vec<String> {
        (self.0)()
    }
}

impl Default for Listing {
    fn default() -> Self {
        Self::new(Vec::new)
    }
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().fmt(f)
    }
}

/// A number that somebody else keeps.
#[derive(Clone)]
pub struct Reading(Arc<dyn Fn() -> usize + Send + Sync>);

impl Reading {
    /// It is what `read` returns, from any thread.
    pub fn new(read: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    fn now(&self) -> u64 {
        (self.0)() as u64
    }
}

impl Default for Reading {
    fn default() -> Self {
        Self::new(|| 0)
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().fmt(f)
    }
}

/// How a tunnel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not every registry knows it yet.
    Opening,
    /// It may be chosen for calls.
    Ready,
    /// It has been silent for too long.
    Late,
    /// It takes no new calls, and will not again.
    Draining,
}

const STATES: [(State, &str); 4] = [
    (State::Opening, "opening"),
    (State::Ready, "ready"),
    (State::Late, "late"),
    (State::Draining, "draining"),
];

/// What is counted of one tunnel. Its wire counts, on one thread; anybody reads.
#[derive(Debug)]
pub struct TunnelGauge {
    about: About,
    opened_at: SystemTime,
    opened: Tick,
    state: AtomicU8,
    connected: AtomicBool,
    calls_started: AtomicU64,
    /// To the peer and from it.
    frames: [Counts; 2],
    heard: AtomicU64,
    round_trip: AtomicU64,
    stalled: StallClock,
    ring: Mutex<FrameRing>,
    /// The places of its names, each once, that of the first name first.
    names: Vec<Arc<NameTotals>>,
}

/// The writer waits until HTTP/2 lets it write, for as long as this lives.
#[derive(Debug)]
pub struct Stall<'a>(&'a TunnelGauge);

impl TunnelGauge {
    /// A tunnel that has just registered and counts at these places.
    pub(super) fn new(about: About, names: Vec<Arc<NameTotals>>) -> Self {
        let opened = ticks::now();
        Self {
            about,
            opened_at: SystemTime::now(),
            opened,
            state: AtomicU8::new(State::Opening as u8),
            connected: AtomicBool::new(false),
            calls_started: AtomicU64::new(0),
            frames: Default::default(),
            heard: AtomicU64::new(opened.0),
            round_trip: AtomicU64::new(UNMEASURED),
            stalled: StallClock::default(),
            ring: Mutex::default(),
            names,
        }
    }

    /// A frame of so many bytes has come from the peer.
    #[inline]
    pub fn came(&self, kind: FrameKind, bytes: usize, call: FrameCall<'_>) {
        let now = ticks::now();
        self.heard.store(now.0, Ordering::Relaxed);
        self.frame(true, kind, bytes, call, now);
    }

    /// A frame of so many bytes is on its way to the peer since `at`.
    #[inline]
    pub fn went(&self, kind: FrameKind, bytes: usize, call: FrameCall<'_>, at: Tick) {
        self.frame(false, kind, bytes, call, at);
    }

    #[inline]
    fn frame(&self, inbound: bool, kind: FrameKind, bytes: usize, call: FrameCall<'_>, at: Tick) {
        self.frames[usize::from(inbound)].count(kind, bytes);
        // A frame is limited to far less than 4 GiB.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.ring().push(inbound, kind, bytes, call, at);
    }

    /// Every registry knows the tunnel.
    pub fn is_open(&self) {
        let (from, to) = (State::Opening as u8, State::Ready as u8);
        // One that takes its leave already goes on with that.
        let _ = self.state.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The tunnel stands differently. A leave is not taken back.
    pub fn stands(&self, state: State) {
        let kept = |now| (now != State::Draining as u8).then_some(state as u8);
        let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, kept);
    }

    /// The peer has been told that it is connected.
    pub fn is_connected(&self) {
        if !self.connected.swap(true, Ordering::Relaxed) {
            self.first_name().connects.fetch_add(1, Ordering::Relaxed);
            self.first_name().handshake.record(self.about.arrived.elapsed());
        }
    }

    /// A call was put on it.
    pub fn call_started(&self) {
        self.calls_started.fetch_add(1, Ordering::Relaxed);
    }

    /// A ping on its connection was answered after so long.
    pub fn round_trip(&self, took: Duration) {
        self.round_trip.store(nanoseconds(took).min(UNMEASURED - 1), Ordering::Relaxed);
        self.first_name().round_trip.record(took);
    }

    /// The writer begins to wait until HTTP/2 lets it write.
    pub fn stall(&self) -> Stall<'_> {
        self.stalled.start(self.lived(ticks::now()));
        Stall(self)
    }

    pub(super) fn id(&self) -> u128 {
        self.about.id
    }

    pub(super) fn names(&self) -> &[Arc<NameTotals>] {
        &self.names
    }

    pub(super) fn was_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    fn first_name(&self) -> &NameTotals {
        &self.names[0]
    }

    /// What the totals of the first name keep of a tunnel that has ended.
    pub(super) fn leave_totals(&self) {
        self.first_name().take_over(&self.frames, self.stalled(ticks::now()));
    }

    /// Adds the tunnel to the rows of its names.
    pub(super) fn add_to(&self, rows: &mut Rows, now: Tick) {
        let state = self.state.load(Ordering::Relaxed);
        for (place, name) in self.names.iter().enumerate() {
            let Some(row) = rows.of(name) else { continue };
            row.ready += u64::from(state == State::Ready as u8);
            row.late += u64::from(state == State::Late as u8);
            row.draining += u64::from(state == State::Draining as u8);
            if place == 0 {
                row.add_frames(&self.frames);
                row.stalled += self.stalled(now);
                row.queued_bytes += self.about.held.queued_bytes.now();
            }
        }
    }

    /// The tunnel at this moment.
    pub fn snapshot(&self, now: Tick) -> TunnelSnapshot {
        let About { id, key_id, peer_address, plain, features, services, worker, held, .. } =
            &self.about;
        let [out, inward] = &self.frames;
        let round_trip = Some(read(&self.round_trip)).filter(|took| *took != UNMEASURED);
        TunnelSnapshot {
            id: Uuid::from_u128(*id).to_string(),
            key_id: key_id.clone(),
            peer_address: *peer_address,
            dialect: if *plain { "plain" } else { "extended" },
            features: features.clone(),
            services: services.clone(),
            topics: held.topics.now(),
            worker: *worker,
            state: STATES[usize::from(self.state.load(Ordering::Relaxed))].1,
            opened_at: self.opened_at,
            age: self.opened.until(now),
            calls_in_flight: held.calls.load(Ordering::Relaxed) as u64,
            calls_started: read(&self.calls_started),
            own_calls_in_flight: held.own_calls.now(),
            frames_in: inward.by_kind().sum(),
            frames_out: out.by_kind().sum(),
            bytes_in: inward.bytes(),
            bytes_out: out.bytes(),
            last_heard: Tick(read(&self.heard)).until(now),
            round_trip: round_trip.map(Duration::from_nanos),
            queued_bytes: held.queued_bytes.now(),
            stalled: Duration::from_nanos(self.stalled(now)),
        }
    }

    /// The last frames, the oldest first.
    pub(super) fn frames_seen(&self, now: (Tick, SystemTime)) -> Vec<FrameSeen> {
        self.ring().seen(now)
    }

    /// Gives its last frames away: it has ended.
    pub(super) fn take_frames(&self) -> FrameRing {
        std::mem::take(&mut *self.ring())
    }

    /// How it stands, and the names it serves.
    pub(super) fn standing(&self) -> (State, &[String]) {
        (STATES[usize::from(self.state.load(Ordering::Relaxed))].0, &self.about.services)
    }

    /// How long the writer has waited, in nanoseconds, what it waits now included.
    fn stalled(&self, now: Tick) -> u64 {
        self.stalled.total(self.lived(now))
    }

    /// How old it is, in nanoseconds.
    fn lived(&self, now: Tick) -> u64 {
        self.opened.nanoseconds_until(now)
    }

    fn ring(&self) -> MutexGuard<'_, FrameRing> {
        // A frame is remembered as a whole or not: a panic in between leaves the ring usable.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stall<'_> {
    fn drop(&mut self) {
        self.0.stalled.stop(self.0.lived(ticks::now()));
    }
}

/// How long something has waited, all in all: one number, so that who reads it while it changes is told
/// neither less than before nor the same wait twice. While it waits that is when it would have begun to,
/// had it waited all the time at once, and a flag.
#[derive(Debug, Default)]
struct StallClock(AtomicU64);

/// Nanoseconds have room below it for three centuries.
const WAITS: u64 = 1 << 63;

impl StallClock {
    fn start(&self, now: u64) {
        let total = read(&self.0);
        self.0.store(WAITS | now.saturating_sub(total), Ordering::Relaxed);
    }

    fn stop(&self, now: u64) {
        self.0.store(self.total(now), Ordering::Relaxed);
    }

    fn total(&self, now: u64) -> u64 {
        let value = read(&self.0);
        if value & WAITS == 0 { value } else { now.saturating_sub(value & !WAITS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_add_up_and_are_seen_while_they_last() {
        let clock = StallClock::default();
        assert_eq!(clock.total(50), 0);
        clock.start(100);
        assert_eq!([clock.total(100), clock.total(130)], [0, 30]);
        clock.stop(140);
        assert_eq!([clock.total(140), clock.total(500)], [40, 40]);
        clock.start(1_000);
        assert_eq!([clock.total(1_000), clock.total(1_005)], [40, 45]);
        clock.stop(1_010);
        assert_eq!(clock.total(9_999), 50);
    }
}
