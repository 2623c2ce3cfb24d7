//! TLS as transcripts: whose hand is shaken, what is said on the way, and what a certificate opens.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::match_wild_err_arm,
    clippy::large_futures,
    reason = "a test that meets what it did not expect fails there, and may take what room it likes"
)]

mod certificates;
mod clients;
mod handshake;
mod identity;
mod reload;
#[path = "../wire/support/mod.rs"]
mod support;
