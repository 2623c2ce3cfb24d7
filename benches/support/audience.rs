//! Subscribers, and what each of them has heard.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::Outcome;

/// Under this topic everything is published that is measured.
pub(crate) const TOPIC: &str = "bench.fanout";
/// Longer than any burst takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// All subscribers of one server.
pub(crate) struct Audience {
    heard: Vec<AtomicUsize>,
    missing: AtomicUsize,
    complete: Notify,
}

impl Audience {
    pub(crate) fn new(subscribers: usize) -> Self {
        let heard = std::iter::repeat_with(AtomicUsize::default).take(subscribers).collect();
        Self { heard, missing: AtomicUsize::new(0), complete: Notify::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.heard.len()
    }

    /// So many events are published now.
    pub(crate) fn expect(&self, events: usize) {
        self.heard.iter().for_each(|heard| heard.store(0, Ordering::Relaxed));
        self.missing.store(events * self.len(), Ordering::Relaxed);
    }

    /// A subscriber has got one of them.
    pub(crate) fn hear(&self, subscriber: usize) {
        self.heard[subscriber].fetch_add(1, Ordering::Relaxed);
        if self.missing.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.complete.notify_one();
        }
    }

    /// Waits until each subscriber has got each of them.
    pub(crate) async fn all_heard(&self, events: usize) -> Outcome<()> {
        let complete = timeout(PATIENCE, self.complete.notified()).await;
        let heard = |heard: &AtomicUsize| heard.load(Ordering::Relaxed);
        if complete.is_ok() && self.heard.iter().all(|each| heard(each) == events) {
            return Ok(());
        }
        let all: usize = self.heard.iter().map(heard).sum();
        Err(format!("{all} deliveries of {} came", events * self.len()).into())
    }
}
