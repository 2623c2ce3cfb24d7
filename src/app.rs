//! Builds the parts, joins them, and drains them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_rt::Arbiter;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::actors::entry::EntryHandle;
use crate::actors::registry::{self, RegistryHandle};
use crate::actors::traffic::MetadataLimit;
use crate::actors::worker::{self, Worker};
use crate::auth::guesses::Guesses;
use crate::auth::{KeyGrant, Keyring};
use crate::config::{Config, Listener};
use crate::grpc::affinity::Affinities;
use crate::grpc::door::Door;
use crate::grpc::keepalive::Keepalive;
use crate::grpc::listener::{self, ARRIVALS_WAITING_MAX, Arrival};
use crate::grpc::wire::{Phase, Roles, Wire};
use crate::observe::tally;
use crate::tunnel::allowance::Allowance;
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::id::{ServiceName, WorkerId};
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
    calls: Allowance,
    connections: Allowance,
    drain_grace: Duration,
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
}

/// What the main thread keeps of a worker.
#[derive(Debug)]
struct WorkerHandle {
    arbiter: Arbiter,
    registry: RegistryHandle,
    entry: EntryHandle,
    arrivals: mpsc::Sender<Arrival>,
}

/// What is the same for every worker's wire.
#[derive(Clone)]
struct WireSettings {
    keyring: Arc<Keyring>,
    guesses: Arc<Mutex<Guesses>>,
    require_caller_key: bool,
    affinities: Arc<Affinities>,
    metadata_limit: MetadataLimit,
    keepalive: Keepalive,
    phase: watch::Receiver<Phase>,
    gathering: Allowance,
}

impl Gateway {
    /// Starts a gateway. Must be called inside an actix `System`.
    ///
    /// # Errors
    ///
    /// When an address cannot be listened on or a worker does not come up.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let listeners = bind(&config.listeners).await?;
        let addresses = listeners.iter().map(|(_, _, address)| *address).collect();
        let (phase, phase_seen) = watch::channel(Phase::Serving);
        let (died_sender, died) = mpsc::unbounded_channel();
        let calls = Allowance::new(config.limits.calls_max);
        let connections = Allowance::new(config.limits.connections_max);
        let door = Door::new(connections.clone(), config.limits.connections_per_address_max);
        let drain_grace = config.drain_grace;
        let limits = Arc::new(config.limits);
        let registries = registry::Settings {
            routing: config.routing,
            limits: limits.clone(),
            declared: declared(&config.keys, &config.affinities),
            waiting_room: WaitingRoom::default(),
        };
        let wire = WireSettings {
            keyring: Arc::new(config.keys),
            guesses: Arc::new(Mutex::new(Guesses::new(limits.bad_keys_per_minute_max))),
            require_caller_key: config.require_caller_key,
            affinities: Arc::new(config.affinities),
            metadata_limit: MetadataLimit::of(&limits),
            keepalive: config.keepalive,
            phase: phase_seen,
            gathering: Allowance::new(limits.gathered_bytes_max),
        };
        let settings = worker::Settings {
            limits,
            patience: config.heartbeat,
            calls: calls.clone(),
            died: died_sender,
        };
        let workers = start_workers(config.workers.get(), &registries, &settings, &wire).await?;
        let acceptors = listeners
            .into_iter()
            .map(|(listener, roles, _)| {
                let workers = workers.iter().map(|worker| worker.arrivals.clone()).collect();
                actix_rt::spawn(listener::accept(listener, roles, door.clone(), workers))
            })
            .collect();
        Ok(Self { addresses, workers, acceptors, phase, died, calls, connections, drain_grace })
    }

    /// The addresses listened on, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until it is asked to stop, or a permanent actor dies; then drains.
    pub async fn run(mut self, mut stop: Stop) -> Ended {
        let broken = tokio::select! {
            _ = stop.recv() => false,
            kind = self.died.recv() => {
                log::error!("actor died: kind={}", kind.unwrap_or("unknown"));
                true
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

    /// Takes nothing new any more and lets calls in flight finish, then closes tunnels, then waits
    /// for connections to close.
    async fn drain(&self) -> Ended {
        for acceptor in &self.acceptors {
            acceptor.abort();
        }
        self.phase.send_replace(Phase::Draining);
        for worker in &self.workers {
            worker.registry.drain(None);
            worker.entry.drain().await;
        }
        log::info!("draining: calls={} grace={:?}", self.calls.used(), self.drain_grace);
        let finished = empty(&self.calls, self.drain_grace).await;
        for worker in &self.workers {
            worker.registry.drain(Some(TunnelEnd::Draining));
        }
        empty(&self.connections, CLOSE_GRACE).await;
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

async fn bind(listeners: &[Listener]) -> Result<Vec<(TcpListener, Roles, SocketAddr)>, StartError> {
    let mut bound = Vec::with_capacity(listeners.len());
    for Listener { address, callers, tunnels } in listeners.iter().copied() {
        let failed = |source| StartError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let actual = listener.local_addr().map_err(failed)?;
        bound.push((listener, Roles { callers, tunnels }, actual));
    }
    Ok(bound)
}

/// Names that a key or a rule names exactly are known before anybody has registered them.
fn declared(keys: &Keyring, affinities: &Affinities) -> Vec<ServiceName> {
    let of_keys = keys.grants().flat_map(KeyGrant::exact_names);
    of_keys.chain(affinities.exact_names()).map(ServiceName::new).collect()
}

/// Starts all registries first: each worker needs the others'.
async fn start_workers(
    count: usize,
    registries: &registry::Settings,
    settings: &worker::Settings,
    wire: &WireSettings,
) -> Result<Vec<WorkerHandle>, StartError> {
    let mut started = Vec::with_capacity(count);
    for id in (0..count).map(WorkerId) {
        let arbiter = Arbiter::new();
        let (registries, died) = (registries.clone(), settings.died.clone());
        let start = move || RegistryHandle::start(id, &registries, died);
        let registry = on(&arbiter, start).await?;
        started.push((id, arbiter, registry));
    }
    let all: Vec<_> = started.iter().map(|(_, _, registry)| registry.clone()).collect();
    for registry in &all {
        registry.meet(all.clone());
    }
    let mut workers = Vec::with_capacity(count);
    for (id, arbiter, registry) in started {
        let (arrivals, arrived) = mpsc::channel(ARRIVALS_WAITING_MAX);
        let (all, settings, wire) = (all.clone(), settings.clone(), wire.clone());
        let start = move || start_worker(id, &all, &settings, wire, arrived);
        let entry = on(&arbiter, start).await?;
        workers.push(WorkerHandle { arbiter, registry, entry, arrivals });
    }
    Ok(workers)
}

/// Starts the rest of a worker on the current arbiter.
fn start_worker(
    id: WorkerId,
    registries: &[RegistryHandle],
    settings: &worker::Settings,
    wire: WireSettings,
    arrivals: mpsc::Receiver<Arrival>,
) -> EntryHandle {
    let worker = Worker::start(id, registries, settings);
    let entry = worker.entry.clone();
    let wire = Wire {
        worker,
        keyring: wire.keyring,
        guesses: wire.guesses,
        require_caller_key: wire.require_caller_key,
        affinities: wire.affinities,
        metadata_limit: wire.metadata_limit,
        keepalive: wire.keepalive,
        gathering: wire.gathering,
        phase: wire.phase,
    };
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
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } => Some(source),
            Self::Worker => None,
        }
    }
}
