//! What is counted of the tunnels of each name, for no more names than there is room for.
//!
//! A name keeps its place while it has a tunnel, for a while after, and for longer while nobody else
//! needs the place. One that finds no place counts as [`OTHER`] until its tunnel ends; one that is
//! removed leaves what it has counted to [`OTHER`], so that no sum over all names ever goes down.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::buckets::{BOUNDS, Histogram};
use super::frames::{Counts, FrameKind, read};
use super::snapshot::ServiceTunnels;
use crate::observe::buckets::Buckets;

/// Where names count that found no place.
pub const OTHER: &str = "other";
/// Where tunnels count that serve nothing.
pub const NONE: &str = "none";

/// How long a name without a tunnel keeps its place for nothing: services that are restarted or rolled
/// out are back by then.
const UNUSED_KEPT: Duration = Duration::from_mins(10);

/// Lines that one name takes in the widest of its metrics: a histogram with its last bucket, its sum
/// and its count. The frames by kind and direction are fewer: the gateway writes six of the kinds.
const LINES_PER_NAME: usize = BOUNDS.len() + 3;

/// The names that have a place.
#[derive(Debug)]
pub(super) struct Names {
    places: HashMap<String, Place>,
    /// Those of them that have no tunnel, by when they lost the last.
    unused: BTreeSet<(Instant, String)>,
    places_max: usize,
    other: Arc<NameTotals>,
    none: Arc<NameTotals>,
}

#[derive(Debug)]
struct Place {
    totals: Arc<NameTotals>,
    tunnels: usize,
    /// When it lost its last tunnel, if it has none.
    unused_since: Option<Instant>,
}

/// What is counted under one name: of tunnels that have ended all, of open ones what is not summed up
/// when somebody looks.
#[derive(Debug, Default)]
pub(super) struct NameTotals {
    name: String,
    pub(super) connects: AtomicU64,
    pub(super) handshake: Histogram,
    pub(super) round_trip: Histogram,
    /// To the peer and from it.
    frames: [Counts; 2],
    /// In nanoseconds.
    stalled: AtomicU64,
}

/// A row for each name, while somebody looks.
#[derive(Debug)]
pub(super) struct Rows(HashMap<String, Row>);

/// What a name has counted, and its tunnels as they are.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) ready: u64,
    pub(super) late: u64,
    pub(super) draining: u64,
    pub(super) stalled: u64,
    pub(super) queued_bytes: u64,
    connects: u64,
    handshake: Buckets,
    round_trip: Buckets,
    frames: [[u64; FrameKind::COUNT]; 2],
    bytes: [u64; 2],
}

impl Names {
    /// No name has a place, and no metric of them will have more than `series_max` lines.
    pub(super) fn new(series_max: usize) -> Self {
        // Those that need no place of a name's own are counted with them.
        let places_max = (series_max / LINES_PER_NAME).saturating_sub(2);
        Self {
            places: HashMap::new(),
            unused: BTreeSet::new(),
            places_max,
            other: NameTotals::of(OTHER),
            none: NameTotals::of(NONE),
        }
    }

    /// A tunnel of these names has come: where it counts, each place once, that of the first name
    /// first.
    pub(super) fn enter(&mut self, services: &[String], now: Instant) -> Vec<Arc<NameTotals>> {
        self.forget_unused(now);
        let mut entered: Vec<Arc<NameTotals>> = Vec::with_capacity(services.len().max(1));
        for service in services {
            let totals = self.place_of(service);
            if !entered.iter().any(|known| Arc::ptr_eq(known, &totals)) {
                self.occupy(&totals);
                entered.push(totals);
            }
        }
        if entered.is_empty() {
            entered.push(self.none.clone());
        }
        entered
    }

    /// A tunnel that counted in these places is gone.
    pub(super) fn leave(&mut self, entered: &[Arc<NameTotals>], now: Instant) {
        for totals in entered {
            let Some(place) = self.places.get_mut(&totals.name) else { continue };
            place.tunnels -= 1;
            if place.tunnels == 0 {
                place.unused_since = Some(now);
                self.unused.insert((now, totals.name.clone()));
            }
        }
    }

    /// What all names have counted, without what open tunnels have.
    pub(super) fn rows(&mut self, now: Instant) -> Rows {
        self.forget_unused(now);
        Rows(self.totals().map(|totals| (totals.name.clone(), totals.row())).collect())
    }

    /// Tunnels that were told that they are connected, under any name.
    pub(super) fn connects(&self) -> u64 {
        self.totals().map(|totals| read(&totals.connects)).sum()
    }

    fn totals(&self) -> impl Iterator<Item = &NameTotals> {
        let places = self.places.values().map(|place| &*place.totals);
        places.chain([&*self.other, &*self.none])
    }

    fn place_of(&mut self, service: &str) -> Arc<NameTotals> {
        if let Some(place) = self.places.get(service) {
            return place.totals.clone();
        }
        // A service may be called so; its tunnels count with the others of that row.
        if service == NONE {
            return self.none.clone();
        }
        if self.places.len() >= self.places_max {
            self.forget_oldest();
        }
        if service == OTHER || self.places.len() >= self.places_max {
            return self.other.clone();
        }
        let totals = NameTotals::of(service);
        let place = Place { totals: totals.clone(), tunnels: 0, unused_since: None };
        self.places.insert(service.to_owned(), place);
        totals
    }

    fn occupy(&mut self, totals: &NameTotals) {
        let Some(place) = self.places.get_mut(&totals.name) else { return };
        place.tunnels += 1;
        if let Some(since) = place.unused_since.take() {
            self.unused.remove(&(since, totals.name.clone()));
        }
    }

    fn forget_unused(&mut self, now: Instant) {
        while let Some((since, _)) = self.unused.first()
            && now.saturating_duration_since(*since) >= UNUSED_KEPT
        {
            self.forget_oldest();
        }
    }

    /// Takes the place of the name that has had no tunnel for longest, if there is one.
    fn forget_oldest(&mut self) {
        let Some((_, name)) = self.unused.pop_first() else { return };
        if let Some(place) = self.places.remove(&name) {
            self.other.absorb(&place.totals);
        }
    }
}

impl NameTotals {
    fn of(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), ..Self::default() })
    }

    /// Keeps what a tunnel has counted that ends now.
    pub(super) fn take_over(&self, frames: &[Counts; 2], stalled: u64) {
        for (counts, more) in self.frames.iter().zip(frames) {
            counts.absorb(more);
        }
        self.stalled.fetch_add(stalled, Ordering::Relaxed);
    }

    fn absorb(&self, other: &Self) {
        self.take_over(&other.frames, read(&other.stalled));
        self.connects.fetch_add(read(&other.connects), Ordering::Relaxed);
        self.handshake.absorb(&other.handshake);
        self.round_trip.absorb(&other.round_trip);
    }

    fn row(&self) -> Row {
        let mut row = Row {
            ready: 0,
            late: 0,
            draining: 0,
            stalled: read(&self.stalled),
            queued_bytes: 0,
            connects: read(&self.connects),
            handshake: self.handshake.buckets(),
            round_trip: self.round_trip.buckets(),
            frames: [[0; FrameKind::COUNT]; 2],
            bytes: [0; 2],
        };
        row.add_frames(&self.frames);
        row
    }
}

impl Rows {
    /// The row of a name.
    pub(super) fn of(&mut self, totals: &NameTotals) -> Option<&mut Row> {
        self.0.get_mut(&totals.name)
    }

    /// The rows as they are told, in order of their names. Those that belong to no name are left out
    /// while there is nothing in them.
    pub(super) fn told(self) -> Vec<ServiceTunnels> {
        let mut told: Vec<_> = self.0.into_iter().map(|(name, row)| row.told(name)).collect();
        told.retain(|row| {
            let tunnels = row.ready + row.late + row.draining + row.connects;
            ![OTHER, NONE].contains(&&*row.service) || tunnels > 0 || !row.frames.is_empty()
        });
        told.sort_unstable_by(|one, other| one.service.cmp(&other.service));
        told
    }
}

impl Row {
    /// Adds frames to the peer and from it.
    pub(super) fn add_frames(&mut self, frames: &[Counts; 2]) {
        for (direction, counts) in frames.iter().enumerate() {
            self.bytes[direction] += counts.bytes();
            for (sum, count) in self.frames[direction].iter_mut().zip(counts.by_kind()) {
                *sum += count;
            }
        }
    }

    fn told(self, service: String) -> ServiceTunnels {
        let directions = self.frames.into_iter().enumerate();
        let frames = directions.flat_map(|(direction, counts)| {
            let told = move |(kind, count)| (kind, direction == 1, count);
            FrameKind::names().zip(counts).map(told)
        });
        let [bytes_out, bytes_in] = self.bytes;
        ServiceTunnels {
            service,
            ready: self.ready,
            late: self.late,
            draining: self.draining,
            connects: self.connects,
            frames: frames.filter(|(.., count)| *count > 0).collect(),
            bytes_in,
            bytes_out,
            handshake: self.handshake,
            round_trip: self.round_trip,
            stalled_seconds: Duration::from_nanos(self.stalled).as_secs_f64(),
            queued_bytes: self.queued_bytes,
        }
    }
}
