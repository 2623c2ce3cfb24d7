//! The last word of a connection, said by its drop.

use crate::actors::down::Down;
use crate::actors::farewell::count_panic;
use crate::actors::registry::{RegistryHandle, TakeBack};
use crate::actors::traffic::Outgoing;
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::id::{RequestId, TunnelId};

/// Says that a tunnel is gone: to the registries, and to the task that writes to its peer.
#[derive(Debug)]
pub(super) struct Farewell {
    /// The registry of worker 0, which tells all the others.
    pub(super) first_registry: RegistryHandle,
    /// The registry that owns the tunnel's calls.
    pub(super) registry: RegistryHandle,
    pub(super) tunnel: TunnelId,
    pub(super) down: Down,
}

impl Farewell {
    /// Ends the way down. Calls that the peer never saw go back to be put through to another; says
    /// which.
    pub(super) fn end(&self, end: TunnelEnd) -> Vec<RequestId> {
        let mut given_back = Vec::new();
        for (request, frame) in self.down.end(end) {
            if let Outgoing::Request { head, frame: first, .. } = frame {
                let tunnel = self.tunnel;
                self.registry.take_back(TakeBack { request, tunnel, head, first });
                given_back.push(request);
            }
        }
        given_back
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        count_panic();
        // Whoever closes a tunnel gives the reason before the actor stops; nobody did.
        self.end(TunnelEnd::Panic);
        self.first_registry.tunnel_closed(self.tunnel);
    }
}
