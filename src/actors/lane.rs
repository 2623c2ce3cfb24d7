//! The way of events to one subscriber.
//!
//! Topics push into it without waiting and without a message to the subscriber: all of them are on the
//! arbiter of who takes, so that the lock is never waited for. What there is no room for is dropped,
//! for this subscriber alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::observe::topics::TopicCount;
use crate::tunnel::limits::Limits;
use crate::tunnel::topic::queue::{EventQueue, Heard, Room};

use super::event::Event;

/// The queue of one subscriber. Clones share it.
#[derive(Clone, Debug)]
pub struct EventLane(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lane: Mutex<Lane>,
    /// Whether something waits. Written with the lock held, so that who asks need not take it: a writer
    /// asks each time that it has nothing else to write, and hardly ever is there an event.
    waits: AtomicBool,
    wake: Arc<Notify>,
    patience: Duration,
}

#[derive(Debug)]
struct Lane {
    queue: EventQueue<QueuedEvent>,
    /// Its subscriber reads events before this place from what is kept.
    from: u64,
    is_closed: bool,
}

/// An event in a queue, and the topic that brought it.
#[derive(Clone, Debug)]
pub struct QueuedEvent {
    /// The event.
    pub event: Arc<Event>,
    /// Where it is counted.
    pub topic: Arc<TopicCount>,
}

/// What a lane asks of an event that is pushed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Its place among all events.
    pub(super) place: u64,
    /// What it counts for, in bytes.
    pub(super) cost: usize,
    pub(super) now: Instant,
}

/// What became of an event that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Taken,
    /// There was no room.
    Dropped,
    /// The subscriber reads it from what is kept.
    Kept,
    /// The subscriber has gone.
    Gone,
}

impl EventLane {
    /// A queue in which nothing waits, as large as the limits say. Who takes is woken by `wake`.
    pub fn new(limits: &Limits, wake: Arc<Notify>) -> Self {
        let room = Room {
            events_max: limits.subscriber_queue_events_max,
            bytes_max: limits.subscriber_queue_bytes_max,
        };
        let lane = Mutex::new(Lane { queue: EventQueue::new(room), from: 0, is_closed: false });
        let (waits, patience) = (AtomicBool::new(false), limits.slow_consumer_timeout);
        Self(Arc::new(Shared { lane, waits, wake, patience }))
    }

    /// Wakes who takes, for that and for what else it waits.
    pub(super) fn wake(&self) -> &Arc<Notify> {
        &self.0.wake
    }

    /// From now on it takes events from this place on: its subscriber reads those before it from what
    /// is kept.
    pub(super) fn hear_from(&self, place: u64) {
        self.lane().from = place;
    }

    pub(super) fn push(&self, queued: &QueuedEvent, terms: Terms) -> Pushed {
        let Terms { place, cost, now } = terms;
        let mut lane = self.lane();
        if lane.is_closed {
            return Pushed::Gone;
        }
        if place < lane.from {
            return Pushed::Kept;
        }
        let was_empty = lane.queue.is_empty();
        let has_room = lane.queue.push(queued.event.name.as_str(), queued.clone(), cost, now);
        self.mark(&lane);
        drop(lane);
        // After the mark: who is woken must see it.
        if was_empty {
            self.0.wake.notify_one();
        }
        if has_room { Pushed::Taken } else { Pushed::Dropped }
    }

    /// What is next, an event or that some are missing here.
    pub fn pop(&self) -> Option<Heard<QueuedEvent>> {
        let mut lane = self.lane();
        let heard = lane.queue.pop();
        self.mark(&lane);
        heard
    }

    /// Whether nothing is left to be told.
    pub fn is_empty(&self) -> bool {
        !self.0.waits.load(Ordering::Acquire)
    }

    /// Whether there has been no room for too long.
    pub fn is_stuck(&self, now: Instant) -> bool {
        self.lane().queue.is_stuck(now, self.0.patience)
    }

    /// Nobody takes any more: what waits is dropped, what comes is not taken.
    pub fn close(&self) {
        let mut lane = self.lane();
        lane.is_closed = true;
        while let Some(heard) = lane.queue.pop() {
            if let Heard::Event(QueuedEvent { topic, .. }) = heard {
                topic.subscriber_gone();
            }
        }
        self.mark(&lane);
    }

    /// Notes whether something waits, after a change and with the lock still held.
    fn mark(&self, lane: &Lane) {
        self.0.waits.store(!lane.queue.is_empty(), Ordering::Release);
    }

    fn lane(&self) -> MutexGuard<'_, Lane> {
        // A queue is changed in one step or not: a panic in between leaves it usable.
        self.0.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::testing::event;
    use crate::observe::topics::Topics;
    use crate::tunnel::id::MemberId;

    #[test]
    fn it_is_empty_exactly_while_there_is_nothing_to_take() {
        let limits = Limits { subscriber_queue_events_max: 1, ..Limits::default() };
        let lane = EventLane::new(&limits, Arc::default());
        let topic = Arc::new(Topics::default()).begin("orders", 0);
        let push = || {
            let event = Arc::new(event(MemberId::random(), "orders", "1"));
            lane.push(
                &QueuedEvent { event, topic: topic.clone() },
                Terms { place: 0, cost: 1, now: Instant::now() },
            )
        };
        assert!(lane.is_empty());
        assert_eq!(push(), Pushed::Taken);
        assert_eq!(push(), Pushed::Dropped);
        assert!(!lane.is_empty());
        assert!(matches!(lane.pop(), Some(Heard::Event(_))));
        assert!(!lane.is_empty(), "that one is missing is still to be told");
        assert!(matches!(lane.pop(), Some(Heard::Gap(_))));
        assert!(lane.is_empty());

        assert_eq!(push(), Pushed::Taken);
        lane.close();
        assert!(lane.is_empty());
        assert_eq!(push(), Pushed::Gone);
        assert!(lane.is_empty());
    }
}
