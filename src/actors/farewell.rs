//! Guards whose drop reports a departure.
//!
//! An actor owns its farewell as a field. Whether the actor stops, panics or is shut down, its
//! fields are dropped, so the farewell is said once on every road and no handler has to remember.
//! Here is the one that permanent actors share; those of a call and of a tunnel are with them.

use tokio::sync::mpsc;

use crate::observe::tally::{Count, count};

/// Says that an actor is gone that should live as long as the gateway.
#[derive(Debug)]
pub struct PermanentFarewell {
    /// What the actor is called.
    pub kind: &'static str,
    /// Who drains the gateway then. Nobody listens any more once it drains on purpose.
    pub died: mpsc::UnboundedSender<&'static str>,
}

impl Drop for PermanentFarewell {
    fn drop(&mut self) {
        count_panic();
        // Nobody listens any more when the gateway is going down anyway.
        let _ = self.died.send(self.kind);
    }
}

/// Counts when it is called while an actor's fields are dropped by a panic.
pub(super) fn count_panic() {
    if std::thread::panicking() {
        count(Count::Panic);
    }
}
