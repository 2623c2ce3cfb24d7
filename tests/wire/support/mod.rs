//! The words of a transcript: a gateway, peers that dial in, callers that call.
//!
//! Both sides speak through `h2` itself, so that a test decides what stands in which frame. Every
//! wait has an end: a gateway that says nothing fails the test instead of hanging it.

#![allow(dead_code, unused_imports, reason = "each test file uses the words that it needs")]

pub(crate) mod caller;
pub(crate) mod gateway;
pub(crate) mod peer;
pub(crate) mod stream;

pub(crate) use caller::{Caller, call_whole};
pub(crate) use gateway::{Gateway, KEY, key};
pub(crate) use peer::{Counted, Peer, error, ok, stream_end, stream_part};

use std::future::Future;
use std::time::Duration;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Looks again until something is so.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
