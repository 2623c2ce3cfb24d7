//! The calls of the gateway, by method and by service.

/// The calls of the gateway, by method and by service.
#[derive(Debug)]
pub struct Calls {}

impl Calls {
    /// Nothing has happened yet.
    pub fn new(_workers: usize, _series_max: usize) -> Self {
        Self {}
    }
}
