//! The key of an open tunnel: it may expire, be taken away, or come to allow less.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::auth::certificate::CertificateNames;
use crate::auth::{BadKey, Credential, Keyring};
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::id::ServiceName;

use super::registration::may_register;

/// How often a key with a date is looked at, at least: a step of the wall clock is noticed within
/// the five seconds in which a revocation takes effect.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Waits until the key does not allow the tunnel any more; says why.
pub(super) async fn until_refused(
    credential: Credential,
    services: Vec<ServiceName>,
    certificate: CertificateNames,
    mut keys: watch::Receiver<Arc<Keyring>>,
) -> TunnelEnd {
    loop {
        let ring = keys.borrow_and_update().clone();
        let now = SystemTime::now();
        let expires = match judge(&ring, credential, &services, &certificate, now) {
            Ok(expires) => expires,
            Err(end) => return end,
        };
        let changed = keys.changed();
        let changed = match expires {
            None => changed.await,
            Some(expires) => {
                let left = expires.duration_since(now).unwrap_or_default();
                match tokio::time::timeout(left.min(LOOK_INTERVAL), changed).await {
                    Ok(changed) => changed,
                    Err(_) => continue,
                }
            }
        };
        if changed.is_err() {
            // The gateway is gone; so is this tunnel in a moment.
            return TunnelEnd::Draining;
        }
    }
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
