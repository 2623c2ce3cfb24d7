//! A tunnel comes under the eyes of who watches: what is known of it, and where it is counted.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::actors::credit::Credit;
use crate::grpc::framing::PREFIX_BYTES;
use crate::grpc::wire::{Shared, Wire};
use crate::observe::ticks::Tick;
use crate::observe::tunnels::{About, FrameCall, FrameKind, Held, Listing, Reading, Watched};
use crate::tunnel::allowance::Allowance;
use crate::tunnel::id::{ServiceName, TunnelId};

use super::registration::Registration;

/// What of a tunnel is counted by others than its wire, and where.
pub(super) struct Counted {
    pub(super) credit: Credit,
    pub(super) own_calls: Allowance,
    pub(super) load: Arc<AtomicUsize>,
}

/// Puts the tunnel on the list of those that are open.
pub(super) fn watch(
    tunnel: TunnelId,
    registration: &Registration,
    arrived: Tick,
    shared: &Shared,
    wire: &Wire,
) -> (Watched, Counted) {
    let queue_bytes_max = wire.worker.tunnels.limits.now().tunnel_queue_bytes_max;
    let credit = Credit::new(queue_bytes_max);
    // How many there may be is said by who takes a place.
    let own_calls = Allowance::new(usize::MAX);
    let load = Arc::new(AtomicUsize::new(0));
    let (topics, id) = (wire.worker.window.topics.clone(), tunnel.uuid().as_u128());
    let held = Held {
        calls: load.clone(),
        own_calls: reading(&own_calls, Allowance::used),
        queued_bytes: reading(&credit, Credit::used),
        topics: Listing::new(move || topics.of(id)),
    };
    let watched = wire.worker.window.tunnels.watch(About {
        id,
        key_id: registration.quota.key.clone(),
        peer_address: shared.remote,
        plain: registration.features.is_plain(),
        features: registration.features.granted(),
        services: registration.services.iter().map(ServiceName::to_string).collect(),
        worker: wire.worker.id.0,
        arrived,
        held,
    });
    let frame_bytes = PREFIX_BYTES + registration.frame_bytes;
    watched.gauge().came(FrameKind::Register, frame_bytes, FrameCall::None);
    (watched, Counted { credit, own_calls, load })
}

fn reading<T>(of: &T, read: fn(&T) -> usize) -> Reading
where
    T: Clone + Send + Sync + 'static,
{
    let of = of.clone();
    Reading::new(move || read(&of))
}
