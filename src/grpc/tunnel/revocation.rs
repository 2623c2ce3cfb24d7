//! The key of an open tunnel: why it does not allow the tunnel any more.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::auth::certificate::CertificateNames;
use crate::auth::{BadKey, Credential, Keyring};
use crate::grpc::revocation;
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::id::ServiceName;

use super::registration::may_register;

/// Waits until the key does not allow the tunnel any more; says why.
pub(super) async fn until_refused(
    credential: Credential,
    services: Vec<ServiceName>,
    certificate: CertificateNames,
    keys: watch::Receiver<Arc<Keyring>>,
) -> TunnelEnd {
    let judge = |ring: &Keyring, now| judge(ring, credential, &services, &certificate, now);
    // When the gateway is gone, so is this tunnel in a moment.
    revocation::until_refused(keys, judge).await.unwrap_or(TunnelEnd::Draining)
}

/// Until when the key allows the tunnel.
fn judge(
    ring: &Keyring,
    credential: Credential,
    services: &[ServiceName],
    certificate: &CertificateNames,
    now: SystemTime,
) -> Result<Option<SystemTime>, TunnelEnd> {
    let admission = ring.look_up(credential, now).map_err(|bad| match bad {
        BadKey::Unknown => TunnelEnd::KeyRevoked,
        BadKey::Expired => TunnelEnd::KeyExpired,
    })?;
    if !admission.grant.admits_certificate(certificate) {
        return Err(TunnelEnd::CertificateMismatch);
    }
    for service in services {
        may_register(ring, &admission.grant, service.as_str()).map_err(TunnelEnd::KeyNarrowed)?;
    }
    Ok(admission.expires)
}
