//! Guards whose drop reports a departure.
//!
//! An actor owns its farewell as a field. Whether the actor stops, panics or is shut down, its
//! fields are dropped, so the farewell is said once on every road and no handler has to remember.

use tokio::sync::mpsc;

use crate::observe::tally::{Count, count};
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::id::TunnelId;

use super::down::Down;
use super::registry::RegistryHandle;

/// Says that a tunnel is gone: to the registries, and to the task that writes to its peer.
#[derive(Debug)]
pub struct TunnelFarewell {
    /// The registry of worker 0, which tells all the others.
    pub registry: RegistryHandle,
    /// Which tunnel.
    pub tunnel: TunnelId,
    /// The way down, which ends with the actor.
    pub down: Down,
}

/// Says that an actor is gone that should live as long as the gateway.
#[derive(Debug)]
pub struct PermanentFarewell {
    /// What the actor is called.
    pub kind: &'static str,
    /// Who drains the gateway then. Nobody listens any more once it drains on purpose.
    pub died: mpsc::UnboundedSender<&'static str>,
}

impl Drop for TunnelFarewell {
    fn drop(&mut self) {
        count_panic();
        self.registry.tunnel_closed(self.tunnel);
        // Whoever closes a tunnel gives the reason before the actor stops; nobody did.
        self.down.end(TunnelEnd::Panic);
    }
}

impl Drop for PermanentFarewell {
    fn drop(&mut self) {
        count_panic();
        // Nobody listens any more when the gateway is going down anyway.
        let _ = self.died.send(self.kind);
    }
}

/// Counts when it is called while an actor's fields are dropped by a panic.
pub(super) fn count_panic() {
    if std::thread::panicking() {
        count(Count::Panic);
    }
}
