//! The metrics listener: what can be seen of a running gateway, on a socket and a thread of its own.

mod actors;
mod answer;
mod connections;
mod exposition;
mod facts;
mod lately;
mod listener;
mod page;
mod paging;
mod routes;
mod services;
mod status;
mod topics;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::auth::key::KeyDigest;

pub use facts::{Facts, InForce, Probe, Run, SignOfLife};
pub use lately::Lately;
pub use listener::{Admin, Bound};

/// `OpenTelemetry` exporters for Prometheus listen here by convention.
const PORT: u16 = 9464;

/// Where the metrics listener is, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens; nowhere if there is none. Port 0 is any free port.
    pub address: Option<SocketAddr>,
    /// The bearer token that it asks for, if it asks for one.
    pub token: Option<KeyDigest>,
    /// Series of one metric, each bucket of a histogram among them. What finds no place counts as
    /// `other`.
    pub series_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);
        Self { address: Some(address), token: None, series_max: 2_000 }
    }
}
