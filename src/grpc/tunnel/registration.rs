//! The first frame of a tunnel: who is it, and what may it serve.

use std::time::SystemTime;

use crate::auth::{Admission, BadKey, Credential, KeyGrant, Keyring, NotForThisKey};
use crate::grpc::decode::{self, Incoming, Unreadable};
use crate::grpc::features::Features;
use crate::grpc::proto::ConnectionRegister;
use crate::grpc::stream::{MessageStream, Next};
use crate::grpc::wire::{Shared, Wire};
use crate::observe::tally::{Count, count};
use crate::tunnel::admission::{self, Rejection};
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::id::ServiceName;
use crate::tunnel::quota::KeyQuota;

/// The first frame: whoever sends it has shown no key yet. Far more than names and a key need.
pub(super) const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A peer that may open a tunnel.
#[derive(Debug)]
pub(super) struct Registration {
    /// Its key.
    pub(super) credential: Credential,
    /// What the key is called, and how much it may have.
    pub(super) quota: KeyQuota,
    /// The names it may serve.
    pub(super) services: Vec<ServiceName>,
    /// What it asked for, or its key grants it.
    pub(super) features: Features,
    /// How large the frame was.
    pub(super) frame_bytes: usize,
}

/// Waits for the first frame and judges it.
pub(super) async fn wait(
    frames: &mut MessageStream,
    shared: &Shared,
    wire: &Wire,
) -> Result<Registration, TunnelEnd> {
    let timeout = wire.worker.tunnels.limits.now().register_timeout;
    let Ok(next) = tokio::time::timeout(timeout, frames.next()).await else {
        return Err(TunnelEnd::RegisterTimeout);
    };
    let frame = match next {
        Next::Message { message, .. } if message.flag == 0 => message.payload,
        Next::Message { .. } => return Err(TunnelEnd::RegisterFirst),
        Next::TooLarge => return Err(TunnelEnd::FrameTooLarge { max: FRAME_BYTES_MAX }),
        Next::NoRoom => return Err(TunnelEnd::NoRoom),
        Next::End | Next::CutOff | Next::Broken(_) => return Err(TunnelEnd::PeerLeft),
    };
    let frame_bytes = frame.len();
    match decode::incoming(frame) {
        Ok(Incoming::Register(register)) => judge(register, frame_bytes, shared, wire),
        // A key that is not text is a wrong key like any other.
        Err(Unreadable::Register) => Err(TunnelEnd::BadKey),
        Ok(_) | Err(_) => Err(TunnelEnd::RegisterFirst),
    }
}

fn judge(
    register: ConnectionRegister,
    frame_bytes: usize,
    shared: &Shared,
    wire: &Wire,
) -> Result<Registration, TunnelEnd> {
    let ConnectionRegister { api_key, services, connection_id, features } = register;
    if !connection_id.is_empty() {
        count(Count::IdentityIgnored);
    }
    let ring = wire.keys.borrow().clone();
    let admission = ring.check(api_key.as_bytes(), SystemTime::now());
    let Admission { credential, grant, .. } = admission.map_err(|bad| match bad {
        BadKey::Unknown => TunnelEnd::BadKey,
        BadKey::Expired => TunnelEnd::KeyExpired,
    })?;
    if !grant.admits_certificate(&shared.certificate) {
        count(Count::AuthFailed);
        return Err(TunnelEnd::CertificateMismatch);
    }
    let limits = wire.worker.tunnels.limits.now();
    let judge = |name: &str| may_register(&ring, &grant, name);
    let services =
        admission::check_names(&services, &limits, judge).map_err(TunnelEnd::Rejected)?;
    let mut features = Features::asked(&features);
    features.stream |= grant.stream;
    Ok(Registration { credential, quota: grant.quota.clone(), services, features, frame_bytes })
}

/// Whether a key allows a name.
pub(super) fn may_register(ring: &Keyring, grant: &KeyGrant, name: &str) -> Result<(), Rejection> {
    ring.may_register(grant, name).map_err(|why| match why {
        NotForThisKey::OutOfScope => Rejection::OutOfScope(name.to_owned()),
        NotForThisKey::Owned => Rejection::Owned(name.to_owned()),
    })
}
