//! The actors of the gateway: what each is doing, and what all of a kind have done.
//!
//! Everything is counted where it happens, by the arbiter that does it, and read by whoever looks,
//! without asking an arbiter: one that is stuck is seen from outside.
//!
//! ```text
//!   sender                        mailbox                 actor
//!     | Gauge::post (one more sent)                          |
//!     |------------ message, posted at ------------------->  | Presence::begin (one more taken; wait)
//!     |                                                      |   the handler
//!     |                                                      | Presence::end (handle time, by name)
//!     '- dead letter if the actor is gone                    '- Presence dropped: the rest is dead
//! ```

mod arbiter;
mod counts;
mod gauge;
mod presence;
mod roster;
mod snapshot;
mod survey;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use arbiter::Arbiter;
pub use gauge::Gauge;
pub use presence::Presence;
pub use snapshot::{
    ActorSnapshot, ArbiterTotals, CastSnapshot, CastTotals, Handling, KindTotals, Panicked,
};

/// Who handles one message longer than this is stuck. Handlers take microseconds; everybody else on
/// the arbiter waits so long.
pub const STUCK_AFTER: Duration = Duration::from_secs(1);

/// So many messages may a kind of actor know.
pub const MESSAGES_MAX: usize = 32;

/// So many panics are kept, the last ones.
pub const PANICKED_MAX: usize = 100;

macro_rules! kinds {
    ($($(#[$about:meta])* $kind:ident = $name:literal,)*) => {
        /// The kinds of actors.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$about])* $kind,)*
        }

        impl Kind {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// What they are called.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// Knows the tunnels, owns the calls of its worker's.
    Registry = "registry",
    /// Admits calls.
    Entry = "entry",
    /// Watches tunnels for silence.
    Heartbeat = "heartbeat",
    /// One tunnel.
    Connection = "connection",
    /// One call.
    Pending = "pending",
    /// Knows who listens to what.
    Bus = "bus",
    /// One topic that somebody listens to.
    Topic = "topic",
}

/// What an actor is, and which messages it knows by their numbers.
#[derive(Debug)]
pub struct Role {
    /// Its kind.
    pub kind: Kind,
    /// The names of the messages, at most [`MESSAGES_MAX`].
    pub messages: &'static [&'static str],
}

/// The actors of the gateway, by kind and one by one.
#[derive(Debug)]
pub struct Cast {
    arbiters: Vec<Arc<Arbiter>>,
}

impl Cast {
    /// Nobody is there yet.
    pub fn new(workers: usize) -> Self {
        Self { arbiters: (0..workers).map(|number| Arc::new(Arbiter::new(number))).collect() }
    }

    /// The actors of one worker, by its number.
    pub fn arbiter(&self, worker: usize) -> Arc<Arbiter> {
        self.arbiters[worker].clone()
    }

    /// Everything, with every actor. On the thread of whoever looks: no arbiter is asked, and none
    /// waits for more than the taking of a few hundred references.
    pub fn look(&self) -> CastSnapshot {
        survey::look(&self.arbiters)
    }

    /// The same without the actors one by one.
    pub fn totals(&self) -> CastTotals {
        survey::totals(&self.arbiters)
    }
}
