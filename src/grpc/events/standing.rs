//! What a caller may publish and hear, as long as its call lasts: its key may come to allow less.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tonic::Status;

use crate::auth::certificate::CertificateNames;
use crate::auth::{Admission, Credential, KeyGrant, Keyring};
use crate::grpc::wire::{Shared, Wire};
use crate::grpc::{revocation, status};
use crate::tunnel::failure::Failure;

/// The key that a caller has shown, if it needs one, and what that allows at each moment.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    keys: watch::Receiver<Arc<Keyring>>,
    shown: Option<Shown>,
}

#[derive(Clone, Debug)]
struct Shown {
    credential: Credential,
    certificate: CertificateNames,
}

impl Standing {
    /// That of a caller who has just been let in.
    pub(super) fn new(admission: Option<&Admission>, shared: &Shared, wire: &Wire) -> Self {
        let shown = admission.map(|admission| Shown {
            credential: admission.credential,
            certificate: shared.certificate.clone(),
        });
        Self { keys: wire.keys.clone(), shown }
    }

    /// What the caller's key allows now; nothing if it needs none.
    ///
    /// # Errors
    ///
    /// That the key is good no more.
    pub(super) fn grant(&self) -> Result<Option<Arc<KeyGrant>>, Failure> {
        let Some(shown) = &self.shown else { return Ok(None) };
        let admission = shown.admission(&self.keys.borrow(), SystemTime::now())?;
        Ok(Some(admission.grant))
    }

    /// Waits until the key is good no more or `judge` refuses what it allows; says what the caller is
    /// told.
    pub(super) async fn until_refused(
        self,
        judge: impl Fn(&KeyGrant) -> Result<(), Status> + Send,
    ) -> Status {
        let Self { keys, shown: Some(shown) } = self else { return std::future::pending().await };
        let judge = |ring: &Keyring, now| {
            let admission = shown.admission(ring, now).map_err(status::refusal)?;
            judge(&admission.grant)?;
            Ok(admission.expires)
        };
        match revocation::until_refused(keys, judge).await {
            Some(refusal) => refusal,
            None => std::future::pending().await,
        }
    }
}

impl Shown {
    fn admission(&self, ring: &Keyring, now: SystemTime) -> Result<Admission, Failure> {
        revocation::still_admitted(ring, self.credential, &self.certificate, now)
    }
}
