//! What one actor is doing, written by its senders and by itself, read by whoever looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use uuid::Uuid;

use super::counts::KindCounts;
use super::{Arbiter, Role};
use crate::observe::ticks::{Tick, now};

/// Set among the messages sent once the actor has ended: who sends one more sees it in the same
/// step, so that each message is either left in the mailbox or known as dead by its sender.
const GONE: u64 = 1 << 63;

/// Nothing is handled; else the number of a message and one.
const NOTHING: u64 = 0;

/// A reader that meets a writer so often gives up: the actor is busy, but with nothing for long.
const READS_MAX: usize = 4;

/// What one actor is doing.
#[derive(Debug)]
pub struct Gauge {
    pub(super) arbiter: Arc<Arbiter>,
    pub(super) role: &'static Role,
    /// The id of a call or a tunnel; permanent actors have none but their worker's number.
    id: Option<Uuid>,
    pub(super) started: Tick,
    /// Messages sent to it, and [`GONE`].
    sent: AtomicU64,
    /// Messages that it has begun to handle. Written by the actor alone, as what follows.
    taken: AtomicU64,
    handling: AtomicU64,
    since: AtomicU64,
}

/// What an actor does at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Messages that wait for it, or will not be handled if it is gone.
    pub(super) depth: u64,
    /// Messages whose handling has begun.
    pub(super) taken: u64,
    /// Its name and its beginning, if one is being handled.
    pub(super) handling: Option<(&'static str, Tick)>,
    pub(super) gone: bool,
}

impl Gauge {
    pub(super) fn new(arbiter: Arc<Arbiter>, role: &'static Role, id: Option<Uuid>) -> Self {
        let [sent, taken, handling, since] = [const { AtomicU64::new(0) }; 4];
        Self { arbiter, role, id, started: now(), sent, taken, handling, since }
    }

    /// Counts a message that is about to be sent to the actor. Whether it is still there: if not,
    /// the message is counted as a dead letter and must not be sent.
    #[inline]
    pub fn post(&self) -> bool {
        let before = self.sent.fetch_add(1, Ordering::Relaxed);
        let alive = before & GONE == 0;
        if !alive {
            self.counts().count_gone();
        }
        alive
    }

    /// Whether the actor has not ended.
    #[inline]
    pub fn is_alive(&self) -> bool {
        self.sent.load(Ordering::Relaxed) & GONE == 0
    }

    #[inline]
    pub(super) fn begin(&self, message: usize, now: Tick) {
        // This first: a reader that sees what follows sees that this has changed.
        let taken = self.taken.load(Ordering::Relaxed) + 1;
        self.taken.store(taken, Ordering::Relaxed);
        self.since.store(now.0, Ordering::Release);
        self.handling.store(message as u64 + 1, Ordering::Release);
    }

    #[inline]
    pub(super) fn end(&self) {
        self.handling.store(NOTHING, Ordering::Release);
    }

    /// The message that is being handled, by number, and since when. For the actor itself.
    pub(super) fn in_hand(&self) -> Option<(usize, Tick)> {
        let place = self.handling.load(Ordering::Relaxed).checked_sub(1)?;
        let since = Tick(self.since.load(Ordering::Relaxed));
        Some((usize::try_from(place).ok()?, since))
    }

    /// The actor has ended. How many messages it leaves in its mailbox.
    pub(super) fn leave(&self) -> u64 {
        let sent = self.sent.fetch_or(GONE, Ordering::Relaxed) & !GONE;
        sent - self.taken.load(Ordering::Relaxed)
    }

    /// What the actor does now. For any thread.
    pub(super) fn read(&self) -> Reading {
        let mut taken = self.taken.load(Ordering::Acquire);
        let (mut handling, mut sent) = (None, 0);
        for _ in 0..READS_MAX {
            let message = self.handling.load(Ordering::Acquire);
            let since = Tick(self.since.load(Ordering::Acquire));
            sent = self.sent.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            let still = self.taken.load(Ordering::Acquire);
            if still == taken {
                handling = self.name_of(message).map(|name| (name, since));
                break;
            }
            taken = still;
        }
        let depth = (sent & !GONE).saturating_sub(taken);
        Reading { depth, taken, handling, gone: sent & GONE != 0 }
    }

    /// The id of its call or tunnel, or the number of its worker.
    pub(super) fn id(&self) -> String {
        match self.id {
            Some(id) => id.to_string(),
            None => self.arbiter.number.to_string(),
        }
    }

    #[inline]
    pub(super) fn counts(&self) -> &KindCounts {
        self.arbiter.counts(self.role.kind)
    }

    fn name_of(&self, message: u64) -> Option<&'static str> {
        let place = usize::try_from(message.checked_sub(1)?).ok()?;
        self.role.messages.get(place).copied()
    }
}
