//! What the gateway says of itself: log lines and counts.

pub mod log;
pub mod tally;
