//! The tunnels of the gateway, open and closed.
//!
//! Each has a [`TunnelGauge`], on which whoever does something with it counts. It is on the list of
//! open tunnels from when its peer has registered until its [`Watched`] is dropped, and a copy of what
//! it told last is among the closed ones after that.

mod buckets;
mod frames;
mod gauge;
mod names;
mod snapshot;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use super::ticks::{self, Tick};
use frames::FrameRing;
use names::Names;

pub use buckets::BOUNDS;
pub use frames::{FRAMES_KEPT, FrameCall, FrameKind};
pub use gauge::{About, Held, Listing, Reading, Stall, State, TunnelGauge};
pub use names::{NONE, OTHER};
pub use snapshot::{
    ClosedTunnel, FrameSeen, OneTunnel, OpenOrClosed, ServiceTunnels, Standing, TunnelSnapshot,
};

/// So many closed tunnels are remembered: what happened lately. Each is some 4 KiB, and up to 16 KiB more
/// for the names that it served.
pub const CLOSED_MAX: usize = 1_000;

/// How a tunnel came to its end that nobody gave a reason for.
const PANIC: Closing = Closing { refused: "panic", closed: "panic", detail: String::new() };

/// The tunnels of the gateway, open and closed.
#[derive(Debug)]
pub struct Tunnels {
    table: Mutex<Table>,
}

/// Locked when a tunnel comes or goes, and by who looks. A tunnel is open or closed in it, never both
/// or neither.
#[derive(Debug)]
struct Table {
    open: HashMap<u128, Arc<TunnelGauge>>,
    /// The newest first.
    closed: VecDeque<Arc<Closed>>,
    names: Names,
    /// Peers that were told another thing than that they are connected.
    refused: BTreeMap<&'static str, u64>,
    /// Tunnels that had connected and ended.
    disconnects: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Closed {
    id: u128,
    tunnel: ClosedTunnel,
    frames: FrameRing,
}

/// An open tunnel; closed when it is dropped.
#[derive(Debug)]
pub struct Watched {
    tunnels: Arc<Tunnels>,
    gauge: Arc<TunnelGauge>,
    closing: Closing,
}

/// Why a tunnel ends, in words of closed sets.
#[derive(Clone, Debug)]
pub struct Closing {
    /// What that is to a peer that was not connected yet.
    pub refused: &'static str,
    /// What it is to one that was.
    pub closed: &'static str,
    /// The same for people to read.
    pub detail: String,
}

impl Tunnels {
    /// Nothing has happened yet. `series_max` is how many lines a metric by service may have.
    pub fn new(series_max: usize) -> Self {
        let table = Table {
            open: HashMap::new(),
            closed: VecDeque::new(),
            names: Names::new(series_max),
            refused: BTreeMap::new(),
            disconnects: BTreeMap::new(),
        };
        Self { table: Mutex::new(table) }
    }

    // === What happens ===

    /// A peer has registered: its tunnel is open until what this returns is dropped.
    pub fn watch(self: &Arc<Self>, about: About) -> Watched {
        let mut table = self.table();
        let names = table.names.enter(&about.services, Instant::now());
        let gauge = Arc::new(TunnelGauge::new(about, names));
        table.open.insert(gauge.id(), gauge.clone());
        drop(table);
        Watched { tunnels: self.clone(), gauge, closing: PANIC }
    }

    /// A peer was refused before it had registered.
    pub fn refused(&self, reason: &'static str) {
        *self.table().refused.entry(reason).or_default() += 1;
    }

    fn close(&self, gauge: &TunnelGauge, closing: Closing) {
        let closed = Arc::new(Closed::now(gauge, closing));
        let mut table = self.table();
        let Table { open, closed: closed_ones, names, refused, disconnects } = &mut *table;
        open.remove(&gauge.id());
        gauge.leave_totals();
        names.leave(gauge.names(), Instant::now());
        let counted = if gauge.was_connected() { disconnects } else { refused };
        *counted.entry(closed.tunnel.reason).or_default() += 1;
        closed_ones.push_front(closed);
        let forgotten = (closed_ones.len() > CLOSED_MAX).then(|| closed_ones.pop_back());
        drop(table);
        // Its memory is given back when nobody waits.
        drop(forgotten);
    }

    // === What is seen ===

    /// The tunnels that are open, in no order.
    pub fn open(&self) -> Vec<TunnelSnapshot> {
        let gauges = self.table().gauges();
        let now = ticks::now();
        gauges.iter().map(|gauge| gauge.snapshot(now)).collect()
    }

    /// How many are open, by how they stand, and how many names they serve together.
    pub fn standing(&self) -> Standing {
        let gauges = self.table().gauges();
        let (mut standing, mut names) = (Standing::default(), HashSet::new());
        for gauge in &gauges {
            let (state, services) = gauge.standing();
            *match state {
                State::Opening => &mut standing.opening,
                State::Ready => &mut standing.ready,
                State::Late => &mut standing.late,
                State::Draining => &mut standing.draining,
            } += 1;
            names.extend(services);
        }
        standing.services = names.len();
        standing
    }

    /// The last of those that have ended, the newest first.
    pub fn closed(&self) -> Vec<ClosedTunnel> {
        let closed: Vec<_> = self.table().closed.iter().cloned().collect();
        closed.iter().map(|closed| closed.tunnel.clone()).collect()
    }

    /// A tunnel that is open or among the last that have ended, and its last frames.
    pub fn one(&self, id: u128) -> Option<OneTunnel> {
        let table = self.table();
        let open = table.open.get(&id).cloned();
        let closed = table.closed.iter().find(|closed| closed.id == id).cloned();
        drop(table);
        if let Some(gauge) = open {
            let now = now();
            let tunnel = OpenOrClosed::Open(gauge.snapshot(now.0));
            return Some(OneTunnel { tunnel, frames: gauge.frames_seen(now) });
        }
        closed.map(|closed| OneTunnel {
            tunnel: OpenOrClosed::Closed(closed.tunnel.clone()),
            frames: closed.frames.seen(now()),
        })
    }

    /// What is counted by the first name of each tunnel, and tunnels by each of their names, in the
    /// order of the names.
    pub fn by_service(&self) -> Vec<ServiceTunnels> {
        // Both at one moment: what a tunnel has counted is in one of them.
        let mut table = self.table();
        let (mut rows, gauges) = (table.names.rows(Instant::now()), table.gauges());
        drop(table);
        let now = ticks::now();
        for gauge in &gauges {
            gauge.add_to(&mut rows, now);
        }
        rows.told()
    }

    /// How the peers fared that wanted a tunnel: "ok", or why they were refused.
    pub fn connects(&self) -> Vec<(&'static str, u64)> {
        let table = self.table();
        let ok = ("ok", table.names.connects());
        [ok].into_iter()
            .chain(table.refused.iter().map(|(reason, count)| (*reason, *count)))
            .collect()
    }

    /// Why tunnels that had connected ended.
    pub fn disconnects(&self) -> Vec<(&'static str, u64)> {
        self.table().disconnects.iter().map(|(reason, count)| (*reason, *count)).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Numbers that are off by one after a panic are better than none.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// All that is done with the open tunnels while a worker may wait: what they have counted is read
    /// after that.
    fn gauges(&self) -> Vec<Arc<TunnelGauge>> {
        self.open.values().cloned().collect()
    }
}

impl Closed {
    fn now(gauge: &TunnelGauge, closing: Closing) -> Self {
        let (tick, time) = now();
        let Closing { refused, closed, detail } = closing;
        let reason = if gauge.was_connected() { closed } else { refused };
        let tunnel = gauge.snapshot(tick);
        Self {
            id: gauge.id(),
            tunnel: ClosedTunnel { tunnel, closed_at: time, reason, detail },
            frames: gauge.take_frames(),
        }
    }
}

impl Watched {
    /// Where it is counted.
    pub fn gauge(&self) -> &Arc<TunnelGauge> {
        &self.gauge
    }

    /// It has ended.
    pub fn close(mut self, closing: Closing) {
        self.closing = closing;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let closing = std::mem::replace(&mut self.closing, PANIC);
        self.tunnels.close(&self.gauge, closing);
    }
}

/// This moment, in both ways to tell it.
fn now() -> (Tick, SystemTime) {
    (ticks::now(), SystemTime::now())
}

#[cfg(test)]
mod tests;
