//! Attacks, bounded, on a gateway that runs as a process of its own: what each gets, that nobody else
//! notices, and that nothing is left behind.
//!
//! Where a test says "CVE" or "RUSTSEC", servers have fallen to it.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::match_wild_err_arm,
    clippy::large_futures,
    clippy::large_stack_arrays,
    reason = "a test that meets what it did not expect fails there, and may take what room it likes"
)]

mod crowds;
mod floods;
mod headers;
mod resets;
mod slow;
mod support;
#[path = "../wire/support/mod.rs"]
mod words;
mod wrong;
