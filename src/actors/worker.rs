//! One worker: an arbiter with one of each permanent actor on it.

use tokio::sync::mpsc;

use crate::observe::window::Window;
use crate::tunnel::allowance::Allowance;
use crate::tunnel::id::WorkerId;
use crate::tunnel::liveness::Patience;

use super::alarm::AlarmClock;
use super::bus::BusHandle;
use super::entry::EntryHandle;
use super::heartbeat::HeartbeatHandle;
use super::live::LiveLimits;
use super::registry::RegistryHandle;
use super::{connection, pending};

/// What every worker is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How much of everything.
    pub limits: LiveLimits,
    /// How long tunnels may be silent.
    pub patience: Patience,
    /// All calls of the gateway.
    pub calls: Allowance,
    /// Told when a permanent actor dies.
    pub died: mpsc::UnboundedSender<&'static str>,
    /// Where everything is counted.
    pub window: Window,
}

/// The permanent actors of one worker. Stays on its thread.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its place among the workers.
    pub id: WorkerId,
    /// How many workers there are.
    pub count: usize,
    /// Admits calls.
    pub entry: EntryHandle,
    /// Sends events to who listens.
    pub bus: BusHandle,
    /// What each tunnel is given.
    pub tunnels: connection::Surroundings,
    /// Where everything is counted.
    pub window: Window,
}

impl Worker {
    /// Starts the rest of a worker on the current arbiter. `registries` are those of all workers, started
    /// before, like its `bus`.
    pub fn start(
        id: WorkerId,
        registries: &[RegistryHandle],
        bus: BusHandle,
        settings: &Settings,
    ) -> Self {
        let Settings { limits, patience, calls, died, window } = settings.clone();
        let (first, own) = (registries[0].clone(), registries[id.0].clone());
        let arbiter = window.cast.arbiter(id.0);
        let heartbeat = HeartbeatHandle::start(patience, first.clone(), &arbiter, died.clone());
        let for_calls = pending::Surroundings {
            registry: own.clone(),
            clock: AlarmClock::start(),
            limits: limits.clone(),
            arbiter: arbiter.clone(),
        };
        let entry = EntryHandle::start(calls, for_calls, died);
        let tunnels = connection::Surroundings {
            first_registry: first,
            registry: own,
            heartbeat,
            limits,
            arbiter,
        };
        Self { id, count: registries.len(), entry, bus, tunnels, window }
    }
}
