//! What the wire of one worker knows of the rest of the gateway.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::actors::worker::Worker;
use crate::auth::Keyring;
use crate::auth::guesses::Guesses;
use crate::tunnel::allowance::Allowance;

use super::connection::Keepalive;
use super::metadata::MetadataLimit;

/// One worker's surroundings, shared by its connections.
#[derive(Debug)]
pub struct Wire {
    /// The worker's actors.
    pub worker: Worker,
    /// Who may open a tunnel, and who may call.
    pub keyring: Arc<Keyring>,
    /// Wrong keys of the whole gateway, looked at only when there is one.
    pub guesses: Arc<Mutex<Guesses>>,
    /// Whether callers must show a key.
    pub require_caller_key: bool,
    /// How much metadata a call may have.
    pub metadata_limit: MetadataLimit,
    /// When connections are pinged.
    pub keepalive: Keepalive,
    /// All connections of the gateway.
    pub connections: Allowance,
    /// What the gateway is doing.
    pub phase: watch::Receiver<Phase>,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Calls.
    pub callers: bool,
    /// Tunnels.
    pub tunnels: bool,
}

/// What the gateway is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Serving.
    Serving,
    /// Letting calls in flight finish.
    Draining,
}
