//! Limits that may change while the gateway runs.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::tunnel::limits::Limits;

/// The limits in force. Clones share them.
#[derive(Clone, Debug)]
pub struct LiveLimits(Arc<ArcSwap<Limits>>);

impl LiveLimits {
    /// These limits, until others take their place.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(limits)))
    }

    /// The limits at this moment. Not to be kept: what lives on asks again.
    pub fn now(&self) -> Guard<Arc<Limits>> {
        self.0.load()
    }

    /// Puts others in their place.
    pub fn replace(&self, limits: Limits) {
        self.0.store(Arc::new(limits));
    }
}
