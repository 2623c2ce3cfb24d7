//! Who asks a service of the gateway's own, and what that caller may hear of: what its key may call.

use std::sync::Arc;

use http::HeaderMap;
use tonic::Status;

use crate::actors::registry::Admits;
use crate::auth::KeyGrant;
use crate::tunnel::allowance::Hold;
use crate::tunnel::failure::Failure;

use super::wire::{Shared, Wire};
use super::{head, refused_key, status};

/// A caller of a service of the gateway's own.
#[derive(Debug)]
pub struct Asker(Result<Option<Arc<KeyGrant>>, Failure>);

impl Asker {
    /// Whoever sent these headers. Without a good key, where callers need one, it may still ask what
    /// everybody may know; a wrong key costs it as much as with a call.
    pub async fn of(headers: &HeaderMap, shared: &Shared, wire: &Wire) -> Self {
        let grant = head::check_key(headers, shared, wire);
        if matches!(grant, Err(Failure::BadCredentials)) {
            refused_key::shown("call", shared.remote, wire).await;
        }
        Self(grant.map(|admission| admission.map(|admission| admission.grant)))
    }

    /// Which services it may hear of.
    ///
    /// # Errors
    ///
    /// It has shown no good key, so it may hear of none.
    pub fn admits(&self) -> Result<Admits, Status> {
        let grant = self.0.clone().map_err(status::refusal)?;
        Ok(Arc::new(move |service| grant.as_ref().is_none_or(|grant| grant.call.allows(service))))
    }

    /// A place among the calls of its key, if it needs one.
    ///
    /// # Errors
    ///
    /// There is none left, or there is no good key.
    pub fn place_of_call(&self) -> Result<Option<Hold>, Failure> {
        let Some(grant) = self.0.as_ref().map_err(|failure| *failure)? else { return Ok(None) };
        head::place_of_key(grant).map(Some)
    }
}
