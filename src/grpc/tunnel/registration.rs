//! The first frame of a tunnel: who is it, and what may it serve.

use crate::grpc::decode::{self, Incoming, Unreadable};
use crate::grpc::features::Features;
use crate::grpc::proto::ConnectionRegister;
use crate::grpc::stream::{MessageStream, Next};
use crate::grpc::wire::Wire;
use crate::observe::tally::{Count, count};
use crate::tunnel::admission;
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::id::ServiceName;

/// The first frame: whoever sends it has shown no key yet. Far more than names and a key need.
pub(super) const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A peer that may open a tunnel.
#[derive(Debug)]
pub(super) struct Registration {
    /// The id of its key.
    pub(super) key: String,
    /// The names it may serve.
    pub(super) services: Vec<ServiceName>,
    /// What it asked for, or its key grants it.
    pub(super) features: Features,
}

/// Waits for the first frame and judges it.
pub(super) async fn wait(
    frames: &mut MessageStream,
    wire: &Wire,
) -> Result<Registration, TunnelEnd> {
    let timeout = wire.worker.tunnels.limits.register_timeout;
    let Ok(next) = tokio::time::timeout(timeout, frames.next()).await else {
        return Err(TunnelEnd::RegisterTimeout);
    };
    let frame = match next {
        Next::Message { message, .. } if message.flag == 0 => message.payload,
        Next::Message { .. } => return Err(TunnelEnd::RegisterFirst),
        Next::TooLarge => return Err(TunnelEnd::FrameTooLarge { max: FRAME_BYTES_MAX }),
        Next::NoRoom => return Err(TunnelEnd::NoRoom),
        Next::End | Next::CutOff | Next::Broken => return Err(TunnelEnd::PeerLeft),
    };
    match decode::incoming(frame) {
        Ok(Incoming::Register(register)) => judge(register, wire),
        // A key that is not text is a wrong key like any other.
        Err(Unreadable::Register) => Err(TunnelEnd::BadKey),
        Ok(_) | Err(_) => Err(TunnelEnd::RegisterFirst),
    }
}

fn judge(register: ConnectionRegister, wire: &Wire) -> Result<Registration, TunnelEnd> {
    let ConnectionRegister { api_key, services, connection_id, features } = register;
    if !connection_id.is_empty() {
        count(Count::IdentityIgnored);
    }
    let grant = wire.keyring.check(api_key.as_bytes()).ok_or(TunnelEnd::BadKey)?;
    let limits = &wire.worker.tunnels.limits;
    let services = admission::check_names(&services, limits, |name| grant.allows(name))
        .map_err(TunnelEnd::Rejected)?;
    let mut features = Features::asked(&features);
    features.stream |= grant.stream;
    Ok(Registration { key: grant.id.clone(), services, features })
}
