//! Builds the parts, joins them, and drains them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_rt::Arbiter;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::actors::bus::{self, BusHandle};
use crate::actors::entry::EntryHandle;
use crate::actors::kept::KeptEvents;
use crate::actors::registry::{self, Drain, Reconfigure, RegistryHandle};
use crate::actors::worker::{self, Worker};
use crate::admin::{self, Admin, Bound, Facts, Probe, Run};
use crate::config::{Config, Listener};
use crate::grpc::listener::{self, ARRIVALS_WAITING_MAX, Arrival};
use crate::grpc::wire::{Phase, Roles};
use crate::in_force::{InForce, WireSettings};
use crate::observe::tally::{self, Count, count};
use crate::observe::window::Window;
use crate::reload::{self, Reloads};
use crate::tls::credentials::Credentials;
use crate::tunnel::allowance::Allowance;
use crate::tunnel::id::WorkerId;
use crate::tunnel::waiting::WaitingRoom;

/// How often a drain looks whether anything is left.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// How long connections may take to close once the last call and the last tunnel have ended.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// A gateway that is up.
#[derive(Debug)]
pub struct Gateway {
    addresses: Vec<SocketAddr>,
    workers: Vec<WorkerHandle>,
    acceptors: Vec<tokio::task::JoinHandle<()>>,
    phase: watch::Sender<Phase>,
    died: mpsc::UnboundedReceiver<&'static str>,
    in_force: InForce,
    run: Arc<Run>,
    window: Window,
    admin: Option<Admin>,
}

/// What the gateway is asked to do while it is up. Sent once, it drains; twice, it stops at once.
pub type Stop = mpsc::Receiver<()>;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As asked, and every call was let finish.
    Drained,
    /// As asked, but the grace was over before the last call.
    GraceOver,
    /// As asked twice: at once.
    Forced,
    /// A permanent actor died; what could be finished was.
    Broken,
}

/// Why a gateway does not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// A worker did not come up.
    Worker,
    /// The metrics listener did not come up.
    Metrics(io::Error),
}

/// What the main thread keeps of a worker.
#[derive(Debug)]
struct WorkerHandle {
    arbiter: Arbiter,
    registry: RegistryHandle,
    entry: EntryHandle,
    arrivals: mpsc::Sender<Arrival>,
}

impl Gateway {
    /// Starts a gateway. Must be called inside an actix `System`.
    ///
    /// # Errors
    ///
    /// When an address cannot be listened on or a worker does not come up.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let listeners = bind(&config.listeners).await?;
        let watched = bind_metrics(&config.metrics)?;
        let addresses = listeners.iter().map(|bound| bound.address).collect();
        watch(&listeners);
        let (phase, phase_seen) = watch::channel(Phase::Serving);
        let (died_sender, died) = mpsc::unbounded_channel();
        let in_force = InForce::new(config);
        let Reconfigure { routing, declared } = in_force.routing();
        let limits = in_force.limits.clone();
        let waiting_room = WaitingRoom::default();
        let count = in_force.config.workers.get();
        let window = Window::new(count, in_force.config.metrics.series_max);
        let registries =
            registry::Settings { routing, limits, declared, waiting_room, window: window.clone() };
        let buses = bus::Settings {
            limits: in_force.limits.clone(),
            deduplicate: in_force.config.deduplicate_events,
            kept: KeptEvents::new(in_force.config.keep_events, &window.topics),
            window: window.clone(),
        };
        let wire = in_force.wire(phase_seen);
        let settings = worker::Settings {
            limits: in_force.limits.clone(),
            patience: in_force.config.heartbeat,
            calls: in_force.calls.clone(),
            died: died_sender,
            window: window.clone(),
        };
        let workers = start_workers(count, &registries, &buses, &settings, &wire).await?;
        let acceptors = listeners
            .into_iter()
            .map(|Open { socket, roles, tls, .. }| {
                let workers = workers.iter().map(|worker| worker.arrivals.clone()).collect();
                actix_rt::spawn(listener::accept(
                    socket,
                    roles,
                    tls,
                    in_force.door.clone(),
                    workers,
                ))
            })
            .collect();
        let run = Arc::new(Run::new(admin_view(&in_force.config)));
        let admin = start_metrics(watched, &in_force.config.metrics, &window, &workers, &run)?;
        Ok(Self { addresses, workers, acceptors, phase, died, in_force, run, window, admin })
    }

    /// Where the metrics listener is, if there is one.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// The addresses listened on, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where everything is counted.
    pub fn window(&self) -> Window {
        self.window.clone()
    }

    /// Serves until it is asked to stop, or a permanent actor dies; then drains. Meanwhile each of
    /// `reloads` takes the place of the configuration in force.
    pub async fn run(mut self, mut stop: Stop, mut reloads: Reloads) -> Ended {
        let broken = loop {
            tokio::select! {
                _ = stop.recv() => break false,
                kind = self.died.recv() => {
                    log::error!("actor died: kind={}", kind.unwrap_or("unknown"));
                    break true;
                }
                Some(next) = reloads.recv() => self.apply(*next),
            }
        };
        let drained = tokio::select! {
            drained = self.drain() => drained,
            _ = stop.recv() => Ended::Forced,
        };
        let ended = if broken { Ended::Broken } else { drained };
        for worker in &self.workers {
            worker.arbiter.stop();
        }
        log::info!("run ended: how={ended:?} {}", tally::summary());
        ended
    }

    /// Puts another configuration in force, as far as that goes without a restart.
    fn apply(&mut self, next: Config) {
        let restart = match self.in_force.apply(next) {
            Ok(restart) => restart,
            Err(error) => return reload::refused(&error),
        };
        count(Count::ConfigApplied);
        self.run.reconfigured(admin_view(&self.in_force.config));
        for worker in &self.workers {
            worker.registry.reconfigure(self.in_force.routing());
        }
        if restart.is_empty() {
            log::info!("configuration applied: keys={}", self.in_force.config.keys.len());
        } else {
            let parts = restart.join(",");
            log::warn!("configuration applied in part: needs_restart={parts}");
        }
    }

    /// Takes nothing new any more and lets calls in flight finish; each tunnel ends after its last.
    /// Then waits for connections to close.
    async fn drain(&self) -> Ended {
        for acceptor in &self.acceptors {
            acceptor.abort();
        }
        let grace = self.in_force.config.drain_grace;
        self.run.drains();
        self.phase.send_replace(Phase::Draining);
        for worker in &self.workers {
            worker.entry.drain().await;
        }
        for worker in &self.workers {
            worker.registry.drain(Drain::Begin(grace));
        }
        log::info!("draining: calls={} grace={grace:?}", self.in_force.calls.used());
        let finished = empty(&self.in_force.calls, grace).await;
        if !finished {
            count(Count::DrainForced);
            log::warn!("drain forced: calls={}", self.in_force.calls.used());
        }
        for worker in &self.workers {
            worker.registry.drain(if finished { Drain::Finish } else { Drain::Cut });
        }
        self.phase.send_replace(Phase::Closing);
        empty(self.in_force.door.open(), CLOSE_GRACE).await;
        if finished { Ended::Drained } else { Ended::GraceOver }
    }
}

/// Waits until nothing is held. Whether that came in time.
async fn empty(allowance: &Allowance, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    while allowance.used() > 0 {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(DRAIN_LOOK).await;
    }
    true
}

/// A listener that is open.
struct Open {
    socket: TcpListener,
    roles: Roles,
    tls: Option<Credentials>,
    address: SocketAddr,
}

async fn bind(listeners: &[Listener]) -> Result<Vec<Open>, StartError> {
    let mut bound = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let Listener { address, callers, tunnels, health, reflection, events, tls } =
            listener.clone();
        let failed = |source| StartError::Bind { address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let roles = Roles { callers, tunnels, health, reflection, events };
        bound.push(Open { socket, roles, tls, address });
    }
    Ok(bound)
}

/// Takes the address of the metrics listener, if there is to be one.
fn bind_metrics(settings: &admin::Settings) -> Result<Option<Bound>, StartError> {
    let Some(address) = settings.address else { return Ok(None) };
    let bound = Bound::bind(address);
    bound.map(Some).map_err(|source| StartError::Bind { address, source })
}

/// Serves there.
fn start_metrics(
    bound: Option<Bound>,
    settings: &admin::Settings,
    window: &Window,
    workers: &[WorkerHandle],
    run: &Arc<Run>,
) -> Result<Option<Admin>, StartError> {
    let Some(bound) = bound else { return Ok(None) };
    let arbiters = workers.iter().map(|worker| probe(&worker.arbiter)).collect();
    let (window, run) = (window.clone(), run.clone());
    let facts = Facts { window, arbiters, run, lately: Arc::default() };
    bound.serve(settings, facts).map(Some).map_err(StartError::Metrics)
}

/// Asks an arbiter for a sign of life.
fn probe(arbiter: &Arbiter) -> Probe {
    let arbiter = arbiter.handle();
    Probe::new(move |sign| {
        // One that has ended drops it, which is no sign of life.
        arbiter.spawn_fn(move || sign.give());
    })
}

/// What the metrics listener shows of a configuration that comes into force now.
fn admin_view(config: &Config) -> admin::InForce {
    admin::InForce {
        configuration: config.shown.clone(),
        limits: config.limits_in_numbers(),
        since: SystemTime::now(),
    }
}

/// Watches the files of the listeners' certificates from now on.
fn watch(listeners: &[Open]) {
    for credentials in listeners.iter().filter_map(|bound| bound.tls.as_ref()) {
        for warning in credentials.warnings() {
            log::warn!("{warning}");
        }
        actix_rt::spawn(credentials.clone().follow());
    }
}

/// Starts all registries and buses first: each worker needs the others'.
async fn start_workers(
    count: usize,
    registries: &registry::Settings,
    buses: &bus::Settings,
    settings: &worker::Settings,
    wire: &WireSettings,
) -> Result<Vec<WorkerHandle>, StartError> {
    let mut started = Vec::with_capacity(count);
    for id in (0..count).map(WorkerId) {
        let arbiter = Arbiter::new();
        let (registries, buses, died) = (registries.clone(), buses.clone(), settings.died.clone());
        let start = move || {
            let registry = RegistryHandle::start(id, &registries, died.clone());
            (registry, BusHandle::start(id, &buses, died))
        };
        let (registry, bus) = on(&arbiter, start).await?;
        started.push((id, arbiter, registry, bus));
    }
    let all: Vec<_> = started.iter().map(|(_, _, registry, _)| registry.clone()).collect();
    let all_buses: Vec<_> = started.iter().map(|(.., bus)| bus.clone()).collect();
    for (_, _, registry, bus) in &started {
        registry.meet(all.clone());
        bus.meet(all_buses.clone());
    }
    let mut workers = Vec::with_capacity(count);
    for (id, arbiter, registry, bus) in started {
        let (arrivals, arrived) = mpsc::channel(ARRIVALS_WAITING_MAX);
        let (all, settings, wire) = (all.clone(), settings.clone(), wire.clone());
        let start = move || start_worker(id, &all, bus, &settings, wire, arrived);
        let entry = on(&arbiter, start).await?;
        workers.push(WorkerHandle { arbiter, registry, entry, arrivals });
    }
    Ok(workers)
}

/// Starts the rest of a worker on the current arbiter.
fn start_worker(
    id: WorkerId,
    registries: &[RegistryHandle],
    bus: BusHandle,
    settings: &worker::Settings,
    wire: WireSettings,
    arrivals: mpsc::Receiver<Arrival>,
) -> EntryHandle {
    let worker = Worker::start(id, registries, bus, settings);
    let entry = worker.entry.clone();
    let wire = wire.of(worker);
    actix_rt::spawn(listener::serve(arrivals, Rc::new(wire)));
    entry
}

/// Runs `start` on an arbiter and brings back what it returns.
async fn on<T: Send + 'static>(
    arbiter: &Arbiter,
    start: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StartError> {
    let (done, result) = oneshot::channel();
    arbiter.spawn_fn(move || drop(done.send(start())));
    result.await.map_err(|_| StartError::Worker)
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Self::Worker => f.write_str("a worker did not start"),
            Self::Metrics(source) => write!(f, "the metrics listener did not start: {source}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } | Self::Metrics(source) => Some(source),
            Self::Worker => None,
        }
    }
}
