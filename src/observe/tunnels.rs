//! The tunnels of the gateway, open and closed.

/// The tunnels of the gateway, open and closed.
#[derive(Debug)]
pub struct Tunnels {}

impl Tunnels {
    /// Nothing has happened yet.
    pub fn new(_workers: usize, _series_max: usize) -> Self {
        Self {}
    }
}
