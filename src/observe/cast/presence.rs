//! That an actor is there: a guard that it owns and that goes with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use super::Gauge;
use crate::observe::histogram::add;
use crate::observe::ticks::{Tick, now};

/// That an actor is there. It says when a message is handled; its drop, by a panic or not, says that
/// the actor has ended.
#[derive(Debug)]
pub struct Presence {
    gauge: Arc<Gauge>,
    place: usize,
}

impl Presence {
    pub(super) fn new(gauge: Arc<Gauge>, place: usize) -> Self {
        Self { gauge, place }
    }

    /// What senders count on.
    pub fn gauge(&self) -> &Arc<Gauge> {
        &self.gauge
    }

    /// A message is taken out of the mailbox, by its number; the moment is for [`Self::end`].
    #[inline]
    pub fn begin(&self, message: usize, posted_at: Tick) -> Tick {
        let now = now();
        self.gauge.begin(message, now);
        self.gauge.counts().wait.record(posted_at.nanoseconds_until(now));
        now
    }

    /// A timer went off; it never was in the mailbox.
    pub fn begin_timer(&self, message: usize) -> Tick {
        let now = now();
        self.gauge.post();
        self.gauge.begin(message, now);
        now
    }

    /// The message has been handled.
    #[inline]
    pub fn end(&self, message: usize, begun_at: Tick) {
        self.gauge.counts().count_handled(message, begun_at.nanoseconds_until(now()));
        self.gauge.end();
    }

    /// What the panic interrupted counts as handled: it is no dead letter.
    fn fall(&self) {
        let in_hand = self.gauge.in_hand();
        if let Some((message, since)) = in_hand {
            self.end(message, since);
        }
        add(&self.gauge.counts().panics, 1);
        let name = in_hand.and_then(|(message, _)| self.gauge.role.messages.get(message));
        self.gauge.arbiter.remember_panic(&self.gauge, name.copied());
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if thread::panicking() {
            self.fall();
        }
        let (gauge, counts) = (&self.gauge, self.gauge.counts());
        let left = gauge.leave();
        if left > 0 {
            add(&counts.left, left);
        }
        gauge.arbiter.roster.leave(self.place);
        // Released, so that who sees that it stopped sees what it did.
        let stopped = counts.stopped.load(Ordering::Relaxed) + 1;
        counts.stopped.store(stopped, Ordering::Release);
    }
}
