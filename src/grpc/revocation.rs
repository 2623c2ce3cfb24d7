//! A key that is in use: it may expire, be taken away, or come to allow less.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::actors::traffic::RequestHead;
use crate::auth::certificate::CertificateNames;
use crate::auth::{Admission, BadKey, Credential, Keyring};
use crate::tunnel::failure::Failure;

/// How often a key with a date is looked at, at least: a step of the wall clock is noticed within
/// the five seconds in which a revocation takes effect.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Waits until `judge`, which says until when the key is good, refuses it; `None` when the gateway
/// is gone.
pub async fn until_refused<E>(
    mut keys: watch::Receiver<Arc<Keyring>>,
    judge: impl Fn(&Keyring, SystemTime) -> Result<Option<SystemTime>, E>,
) -> Option<E> {
    loop {
        let ring = keys.borrow_and_update().clone();
        let now = SystemTime::now();
        let expires = match judge(&ring, now) {
            Ok(expires) => expires,
            Err(refusal) => return Some(refusal),
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
            return None;
        }
    }
}

/// Waits until the key of a call's caller does not allow it any more; says what the caller is told.
pub async fn of_call(
    keys: watch::Receiver<Arc<Keyring>>,
    credential: Credential,
    certificate: CertificateNames,
    head: Arc<RequestHead>,
) -> Failure {
    let judge = |ring: &Keyring, now| {
        let admission = still_admitted(ring, credential, &certificate, now)?;
        let allowed = admission.grant.call.allows(head.path.service());
        if allowed { Ok(admission.expires) } else { Err(Failure::Scope) }
    };
    match until_refused(keys, judge).await {
        Some(failure) => failure,
        None => std::future::pending().await,
    }
}

/// What the key of a caller allows at this moment, beside the certificate that it came with.
///
/// # Errors
///
/// That the key is good no more, or not with that certificate.
pub fn still_admitted(
    ring: &Keyring,
    credential: Credential,
    certificate: &CertificateNames,
    now: SystemTime,
) -> Result<Admission, Failure> {
    let admission = ring.look_up(credential, now).map_err(failure_of)?;
    if !admission.grant.admits_certificate(certificate) {
        return Err(Failure::CertificateMismatch);
    }
    Ok(admission)
}

/// What a caller is told of its key.
pub fn failure_of(bad: BadKey) -> Failure {
    match bad {
        BadKey::Unknown => Failure::BadCredentials,
        BadKey::Expired => Failure::ExpiredCredentials,
    }
}
