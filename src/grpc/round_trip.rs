//! How long the way to a peer and back takes: who wants to know, and how it is told.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::observe::tunnels::TunnelGauge;

/// The tunnels of one connection, which all want to know.
#[derive(Debug, Default)]
pub struct RoundTrips {
    gauges: RefCell<Vec<Arc<TunnelGauge>>>,
    wanted: Notify,
}

/// A tunnel that wants to know, until this is dropped.
#[derive(Debug)]
pub struct Interest<'a> {
    round_trips: &'a RoundTrips,
    gauge: Arc<TunnelGauge>,
}

impl RoundTrips {
    /// A tunnel wants to know at once, and from time to time.
    pub fn interest(&self, gauge: Arc<TunnelGauge>) -> Interest<'_> {
        self.gauges.borrow_mut().push(gauge.clone());
        self.wanted.notify_one();
        Interest { round_trips: self, gauge }
    }

    /// Whether anybody wants to know.
    pub(super) fn are_wanted(&self) -> bool {
        !self.gauges.borrow().is_empty()
    }

    /// Waits until somebody wants to know at once.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// It took so long.
    pub(super) fn measured(&self, took: Duration) {
        for gauge in self.gauges.borrow().iter() {
            gauge.round_trip(took);
        }
    }
}

impl Drop for Interest<'_> {
    fn drop(&mut self) {
        let mut gauges = self.round_trips.gauges.borrow_mut();
        gauges.retain(|gauge| !Arc::ptr_eq(gauge, &self.gauge));
    }
}
