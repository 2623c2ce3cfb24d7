//! What the metrics endpoint looks through: everything that the gateway counts of its parts, kept where
//! they count it and read from another thread without asking them.

use std::sync::Arc;

use super::calls::Calls;
use super::cast::Cast;
use super::topics::Topics;
use super::tunnels::Tunnels;

/// The window of one gateway. Clones share it.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its actors.
    pub cast: Arc<Cast>,
    /// Its calls, by method and by service.
    pub calls: Arc<Calls>,
    /// Its tunnels, open and closed.
    pub tunnels: Arc<Tunnels>,
    /// Its topics, and what was published.
    pub topics: Arc<Topics>,
}

impl Window {
    /// A gateway of so many workers, in which nothing has happened. `series_max` is how many series a
    /// metric may have.
    pub fn new(workers: usize, series_max: usize) -> Self {
        Self {
            cast: Arc::new(Cast::new(workers)),
            calls: Arc::new(Calls::new(workers, series_max)),
            tunnels: Arc::new(Tunnels::new(series_max)),
            topics: Arc::default(),
        }
    }
}
