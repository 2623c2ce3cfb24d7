//! What the gateway says of itself: log lines and counts.

pub mod buckets;
pub mod calls;
pub mod cast;
pub mod histogram;
pub mod limits;
pub mod log;
pub mod tally;
pub mod ticks;
pub mod topics;
pub mod tunnels;
pub mod window;
