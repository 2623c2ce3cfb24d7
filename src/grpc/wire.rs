//! What the wire of one worker knows of the rest of the gateway, and the streams of a connection of
//! each other.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use crate::actors::traffic::MetadataLimit;
use crate::actors::worker::Worker;
use crate::auth::Keyring;
use crate::auth::guesses::Guesses;
use crate::tunnel::allowance::Allowance;

use super::keepalive::Keepalive;

/// One worker's surroundings, shared by its connections.
#[derive(Debug)]
pub struct Wire {
    /// The worker's actors.
    pub worker: Worker,
    /// Who may open a tunnel, and who may call; changes when the configuration does.
    pub keys: watch::Receiver<Arc<Keyring>>,
    /// Wrong keys of the whole gateway, looked at only when there is one.
    pub guesses: Arc<Mutex<Guesses>>,
    /// Whether callers must show a key.
    pub require_caller_key: bool,
    /// When connections are pinged.
    pub keepalive: Keepalive,
    /// Room for messages that have come in part, of the whole gateway.
    pub gathering: Allowance,
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

/// What the streams of one connection share.
#[derive(Debug)]
pub struct Shared {
    /// The other end.
    pub remote: SocketAddr,
    /// What this connection's listener serves.
    pub roles: Roles,
    /// What all streams together hold of answers that have not been taken.
    pub unread: Allowance,
    tunnel_wanted: Notify,
    streams: Cell<usize>,
    /// As many as the connection was told at its beginning.
    streams_max: usize,
}

/// One stream of a connection, counted until it is dropped.
#[derive(Debug)]
pub struct StreamSlot(Rc<Shared>);

impl Wire {
    /// How much metadata a call may have.
    pub fn metadata_limit(&self) -> MetadataLimit {
        MetadataLimit::of(&self.worker.tunnels.limits.now())
    }
}

impl Shared {
    /// A connection without streams.
    pub fn new(remote: SocketAddr, roles: Roles, streams_max: usize) -> Self {
        let (unread, streams) = (Allowance::new(usize::MAX), Cell::new(0));
        Self { remote, roles, unread, tunnel_wanted: Notify::new(), streams, streams_max }
    }

    /// Waits until a stream has become a tunnel.
    pub async fn tunnel_wanted(&self) {
        self.tunnel_wanted.notified().await;
    }

    /// Grants the windows of a tunnel to the connection.
    pub fn becomes_tunnel(&self) {
        self.tunnel_wanted.notify_one();
    }

    /// Counts one more stream, unless there are as many as there may be.
    pub fn take_slot(self: &Rc<Self>) -> Option<StreamSlot> {
        let streams = self.streams.get();
        (streams < self.streams_max).then(|| {
            self.streams.set(streams + 1);
            StreamSlot(self.clone())
        })
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}
