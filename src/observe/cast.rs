//! The actors of the gateway, by kind and one by one.

/// The actors of the gateway, by kind and one by one.
#[derive(Debug)]
pub struct Cast {}

impl Cast {
    /// Nothing has happened yet.
    pub fn new(_workers: usize) -> Self {
        Self {}
    }
}
