//! What all actors of one kind on one arbiter have done.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{MESSAGES_MAX, Role};
use crate::observe::histogram::{Histogram, add};

/// What all actors of one kind on one arbiter have done. Written by that arbiter, but for the dead
/// letters that senders anywhere find.
#[derive(Debug)]
pub(super) struct KindCounts {
    /// Known once there has been one.
    role: OnceLock<&'static Role>,
    pub(super) started: AtomicU64,
    pub(super) stopped: AtomicU64,
    pub(super) panics: AtomicU64,
    /// Messages left in the mailboxes of those that ended.
    pub(super) left: AtomicU64,
    /// Messages sent to those that had ended.
    pub(super) gone: AtomicU64,
    /// Messages handled, by number.
    messages: [AtomicU64; MESSAGES_MAX],
    pub(super) handle: Histogram,
    pub(super) wait: Histogram,
}

impl KindCounts {
    pub(super) fn new() -> Self {
        let [started, stopped, panics, left, gone] = [const { AtomicU64::new(0) }; 5];
        let messages = [const { AtomicU64::new(0) }; MESSAGES_MAX];
        let (handle, wait) = (Histogram::new(), Histogram::new());
        Self { role: OnceLock::new(), started, stopped, panics, left, gone, messages, handle, wait }
    }

    pub(super) fn count_started(&self, role: &'static Role) {
        self.role.get_or_init(|| role);
        add(&self.started, 1);
    }

    pub(super) fn count_gone(&self) {
        self.gone.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn count_handled(&self, message: usize, nanoseconds: u64) {
        add(&self.messages[message], 1);
        self.handle.record(nanoseconds);
    }

    /// How many messages were handled.
    pub(super) fn handled(&self) -> u64 {
        self.messages.iter().map(|handled| handled.load(Ordering::Relaxed)).sum()
    }

    /// Messages handled, by name.
    pub(super) fn messages(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let names = self.role.get().map_or(&[][..], |role| role.messages);
        names.iter().copied().zip(self.messages.iter().map(|n| n.load(Ordering::Relaxed)))
    }
}
