//! The cast. Each actor is a thin shell over a rule book in [`crate::tunnel`].
//!
//! | actor | how many | started by | owned by | ends when |
//! |---|---|---|---|---|
//! | [`registry`] | one a worker | `app` | `app` | the gateway ends |
//! | [`entry`] | one a worker | `app` | `app` | the gateway ends |
//! | [`heartbeat`] | one a worker | `app` | `app` | the gateway ends |
//! | [`bus`] | one a worker | `app` | `app` | the gateway ends |
//! | [`topic`] | one a pattern that somebody listens to, on each worker that has subscribers of it | its worker's [`bus`], for the first subscriber | its bus | the last subscriber is gone |
//! | [`connection`] | one a tunnel | `grpc::tunnel`, when a peer has registered | its tunnel's stream | the stream ends, or the tunnel is closed |
//! | [`pending`] | one a call | [`entry`] | itself | the call ends |
//!
//! | actor | on stop | on panic | on drain |
//! |---|---|---|---|
//! | registry, entry, heartbeat, bus | never stopped on its own | the gateway drains and exits non-zero | registry admits no tunnel and lets no call wait, entry admits no call |
//! | topic | nobody listened any more | the bus tells each subscriber that its subscription has ended | goes on until its subscribers' tunnels have ended |
//! | connection | registries forget the tunnel, its calls end `tunnel_lost`, its stream ends with the reason | the same, with the reason INTERNAL | closed UNAVAILABLE after the last call |
//! | pending | its caller has been told an end; its slot and alarms are freed | its caller gets INTERNAL `panic`, its tunnel is told that the caller left | goes on until its end or the end of the grace |
//!
//! A stop, a panic and a shutdown all drop an actor's fields; what must be said then is said by a
//! guard among them ([`farewell`], [`pending::CallerLine`]). No actor is restarted: a peer redials
//! and a caller is told.
//!
//! Every message goes by [`mailbox`], which counts it and knows how long it waited; each actor owns a
//! [`Presence`](crate::observe::cast::Presence) that says what it handles and that it is there. An
//! actor has no address but that.
//!
//! The rest are not actors: [`traffic`] is what travels between them, [`credit`] and [`down`] are
//! a tunnel's outgoing queue, [`lane`] is a subscriber's queue of [`event`]s, [`kept`]
//! what is kept of them, [`taker`] the task that takes from both, [`answering`] puts one answer
//! together, [`alarm`] is the one timer
//! of a worker, [`live`] the limits in force, [`worker`] is one of each permanent actor.

pub mod alarm;
pub mod answering;
pub mod bus;
pub mod connection;
pub mod credit;
pub mod down;
pub mod entry;
pub mod event;
pub mod farewell;
pub mod heartbeat;
pub mod kept;
pub mod lane;
pub mod live;
pub mod mailbox;
pub mod pending;
pub mod registry;
pub mod taker;
#[cfg(test)]
pub(crate) mod testing;
pub mod topic;
pub mod traffic;
pub mod worker;

/// The runtime's clock, which tests can pause.
pub(crate) fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

/// How long a timer is set for that must not go off before the moment: its own resolution is a
/// millisecond.
pub(crate) fn wait_past(due: std::time::Instant) -> std::time::Duration {
    due.saturating_duration_since(now()) + std::time::Duration::from_millis(1)
}
