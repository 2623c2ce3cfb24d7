//! Callers that change their minds too often: calls cancelled before their answer began.
//!
//! HTTP/2 limits the streams that are open, not how fast they are opened and reset, and each costs
//! the gateway and a service work (CVE-2023-44487). What h2 limits itself are only the streams that
//! were reset before they were accepted, which a caller with a little patience never meets.

use std::cell::RefCell;

use tokio::sync::Notify;

use crate::actors::now;
use crate::tunnel::limits::Limits;
use crate::tunnel::token_bucket::TokenBucket;

/// The early cancels of one connection.
#[derive(Debug)]
pub struct EarlyCancels {
    bucket: RefCell<TokenBucket>,
    too_many: Notify,
}

impl EarlyCancels {
    /// A connection on which nothing has been cancelled yet.
    pub fn new(limits: &Limits) -> Self {
        let (burst, rate) = (limits.early_cancels_burst, limits.early_cancels_per_second);
        let bucket = RefCell::new(TokenBucket::new(burst, rate, now()));
        Self { bucket, too_many: Notify::new() }
    }

    /// One more.
    pub(super) fn one_more(&self) {
        if !self.bucket.borrow_mut().take(now()) {
            self.too_many.notify_one();
        }
    }

    /// Waits until there are too many.
    pub(super) async fn too_many(&self) {
        self.too_many.notified().await;
    }
}
