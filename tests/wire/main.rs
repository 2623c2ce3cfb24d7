//! The wire as transcripts: who sends, who receives, what is left.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::match_wild_err_arm,
    clippy::large_futures,
    clippy::large_stack_arrays,
    reason = "a test that meets what it did not expect fails there, and may take what room it likes"
)]

mod calls_by_peers;
mod calls_counted;
mod compression;
mod drain;
mod event_service;
mod events;
mod events_under_load;
mod failures;
mod flapping;
mod health;
mod isolation;
mod keys;
mod limits;
mod liveness;
mod metadata;
mod protocol;
mod reflection;
mod registration;
mod request_ids;
mod routing;
mod streams;
mod support;
mod unary;
mod watched;
