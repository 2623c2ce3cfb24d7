//! Who asks a service of the gateway's own, and what that caller may hear of: what its key may call.

use std::sync::Arc;

use http::HeaderMap;
use tonic::Status;

use crate::actors::registry::Admits;
use crate::auth::Admission;
use crate::tunnel::allowance::Hold;
use crate::tunnel::failure::Failure;

use super::wire::{Shared, Wire};
use super::{head, refused_key, status};

/// A caller of a service of the gateway's own.
#[derive(Debug)]
pub struct Asker(Result<Option<Admission>, Failure>);

impl Asker {
    /// Whoever sent these headers. Without a good key, where callers need one, it may still ask what
    /// everybody may know; a wrong key costs it as much as with a call.
    pub async fn of(headers: &HeaderMap, shared: &Shared, wire: &Wire) -> Self {
        let admission = head::check_key(headers, shared, wire);
        if matches!(admission, Err(Failure::BadCredentials)) {
            refused_key::shown("call", shared.remote, wire).await;
        }
        Self(admission)
    }

    /// Which services it may hear of.
    ///
    /// # Errors
    ///
    /// It has shown no good key, so it may hear of none.
    pub fn admits(&self) -> Result<Admits, Status> {
        let grant = self.admission().map_err(status::refusal)?;
        let grant = grant.map(|admission| admission.grant.clone());
        Ok(Arc::new(move |service| grant.as_ref().is_none_or(|grant| grant.call.allows(service))))
    }

    /// What its key is good for, if it needs one.
    ///
    /// # Errors
    ///
    /// It has shown no good key.
    pub fn admission(&self) -> Result<Option<&Admission>, Failure> {
        self.0.as_ref().map(Option::as_ref).map_err(|failure| *failure)
    }

    /// A place among the calls of its key, if it needs one.
    ///
    /// # Errors
    ///
    /// There is none left, or there is no good key.
    pub fn place_of_call(&self) -> Result<Option<Hold>, Failure> {
        let Some(admission) = self.admission()? else { return Ok(None) };
        head::place_of_key(&admission.grant).map(Some)
    }
}
