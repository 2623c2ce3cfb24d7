//! The configuration in force: what of a running gateway changes when another takes its place.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;

use crate::actors::live::LiveLimits;
use crate::actors::registry::Reconfigure;
use crate::actors::worker::Worker;
use crate::auth::Keyring;
use crate::auth::guesses::Guesses;
use crate::config::{Config, ConfigError};
use crate::grpc::affinity::Affinities;
use crate::grpc::age::ConnectionAge;
use crate::grpc::door::Door;
use crate::grpc::keepalive::Keepalive;
use crate::grpc::wire::{Phase, Wire};
use crate::observe;
use crate::observe::calls::CallCounter;
use crate::tunnel::allowance::Allowance;
use crate::tunnel::id::ServiceName;

/// The configuration in force, and what of a running gateway changes with it.
#[derive(Debug)]
pub(crate) struct InForce {
    /// The configuration.
    pub(crate) config: Config,
    /// Its limits, for all who ask at each use.
    pub(crate) limits: LiveLimits,
    keys: watch::Sender<Arc<Keyring>>,
    affinities: watch::Sender<Arc<Affinities>>,
    guesses: Arc<Mutex<Guesses>>,
    /// All calls of the gateway.
    pub(crate) calls: Allowance,
    gathering: Allowance,
    watches: Allowance,
    event_streams: Allowance,
    /// All its connections.
    pub(crate) door: Door,
}

/// What is the same for every worker's wire.
#[derive(Clone)]
pub(crate) struct WireSettings {
    keys: watch::Receiver<Arc<Keyring>>,
    guesses: Arc<Mutex<Guesses>>,
    require_caller_key: bool,
    request_ids: bool,
    affinities: watch::Receiver<Arc<Affinities>>,
    keepalive: Keepalive,
    age: ConnectionAge,
    phase: watch::Receiver<Phase>,
    gathering: Allowance,
    watches: Allowance,
    event_streams: Allowance,
}

impl WireSettings {
    /// The wire of one worker.
    pub(crate) fn of(self, worker: Worker) -> Wire {
        let calls = CallCounter::new(worker.window.calls.clone(), worker.id.0);
        Wire {
            worker,
            calls,
            request_ids: self.request_ids,
            keys: self.keys,
            guesses: self.guesses,
            require_caller_key: self.require_caller_key,
            affinities: self.affinities,
            keepalive: self.keepalive,
            age: self.age,
            gathering: self.gathering,
            watches: self.watches,
            event_streams: self.event_streams,
            phase: self.phase,
        }
    }
}

impl InForce {
    /// Puts the first configuration in force.
    pub(crate) fn new(config: Config) -> Self {
        warn_of_expired(&config.keys);
        observe::log::access::set(config.access_log);
        let limits = &config.limits;
        let connections = Allowance::new(limits.connections_max);
        Self {
            limits: LiveLimits::new(limits.clone()),
            keys: watch::Sender::new(Arc::new(config.keys.clone())),
            affinities: watch::Sender::new(Arc::new(config.affinities.clone())),
            guesses: Arc::new(Mutex::new(Guesses::new(limits.bad_keys_per_minute_max))),
            calls: Allowance::new(limits.calls_max),
            gathering: Allowance::new(limits.gathered_bytes_max),
            watches: Allowance::new(limits.health_watches_max),
            event_streams: Allowance::new(limits.event_streams_max),
            door: Door::new(connections, limits.connections_per_address_max),
            config,
        }
    }

    /// What every worker's wire is given.
    pub(crate) fn wire(&self, phase: watch::Receiver<Phase>) -> WireSettings {
        WireSettings {
            keys: self.keys.subscribe(),
            affinities: self.affinities.subscribe(),
            guesses: self.guesses.clone(),
            require_caller_key: self.config.require_caller_key,
            request_ids: self.config.request_ids,
            keepalive: self.config.keepalive,
            age: self.config.connection_age,
            phase,
            gathering: self.gathering.clone(),
            watches: self.watches.clone(),
            event_streams: self.event_streams.clone(),
        }
    }

    /// What registries go by: names that a key or a rule names exactly are known before anybody has
    /// registered them.
    pub(crate) fn routing(&self) -> Reconfigure {
        let Config { keys, affinities, routing, .. } = &self.config;
        let of_keys = keys.grants().flat_map(|grant| grant.register.exact_names());
        let declared = of_keys.chain(affinities.exact_names()).map(ServiceName::new).collect();
        Reconfigure { routing: *routing, declared }
    }

    /// Puts another configuration in force; returns the parts of it that need a restart.
    ///
    /// # Errors
    ///
    /// If it does not go together with those parts as they are. Nothing has changed then.
    pub(crate) fn apply(&mut self, next: Config) -> Result<Vec<&'static str>, ConfigError> {
        let (changed, restart) = self.config.changed_to(next)?;
        self.config = changed;
        let Config { keys, affinities, limits, log_level, access_log, listeners, .. } =
            &self.config;
        self.keys.send_replace(Arc::new(keys.clone()));
        self.affinities.send_replace(Arc::new(affinities.clone()));
        self.calls.resize(limits.calls_max);
        self.gathering.resize(limits.gathered_bytes_max);
        self.watches.resize(limits.health_watches_max);
        self.event_streams.resize(limits.event_streams_max);
        self.door.resize(limits.connections_max, limits.connections_per_address_max);
        // The table is only counted in: a panic in between leaves it usable.
        let guesses = self.guesses.lock();
        guesses.unwrap_or_else(PoisonError::into_inner).resize(limits.bad_keys_per_minute_max);
        self.limits.replace(limits.clone());
        observe::log::set_level(*log_level);
        observe::log::access::set(*access_log);
        for credentials in listeners.iter().filter_map(|listener| listener.tls.clone()) {
            // The files may be on a slow disk, and the sockets are accepted on this thread.
            tokio::task::spawn_blocking(move || credentials.look());
        }
        warn_of_expired(keys);
        Ok(restart)
    }
}

/// A key whose time is up is no mistake: a restart must not fail for it.
fn warn_of_expired(keys: &Keyring) {
    for id in keys.expired(SystemTime::now()) {
        log::warn!("key expired: key={id}");
    }
}
