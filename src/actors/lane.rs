//! The way of events to one subscriber.
//!
//! Topics push into it without waiting and without a message to the subscriber: all of them are on the
//! arbiter of who takes, so that the lock is never waited for. What there is no room for is dropped,
//! for this subscriber alone.

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
    wake: Arc<Notify>,
    patience: Duration,
}

#[derive(Debug)]
struct Lane {
    queue: EventQueue<QueuedEvent>,
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

/// What became of an event that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Taken,
    /// There was no room.
    Dropped,
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
        let lane = Mutex::new(Lane { queue: EventQueue::new(room), is_closed: false });
        Self(Arc::new(Shared { lane, wake, patience: limits.slow_consumer_timeout }))
    }

    /// Wakes who takes, for that and for what else it waits.
    pub(super) fn wake(&self) -> &Arc<Notify> {
        &self.0.wake
    }

    pub(super) fn push(&self, queued: &QueuedEvent, cost: usize, now: Instant) -> Pushed {
        let mut lane = self.lane();
        if lane.is_closed {
            return Pushed::Gone;
        }
        let was_empty = lane.queue.is_empty();
        let has_room = lane.queue.push(queued.event.name.as_str(), queued.clone(), cost, now);
        drop(lane);
        if was_empty {
            self.0.wake.notify_one();
        }
        if has_room { Pushed::Taken } else { Pushed::Dropped }
    }

    /// What is next, an event or that some are missing here.
    pub fn pop(&self) -> Option<Heard<QueuedEvent>> {
        self.lane().queue.pop()
    }

    /// Whether nothing is left to be told.
    pub fn is_empty(&self) -> bool {
        self.lane().queue.is_empty()
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
    }

    fn lane(&self) -> MutexGuard<'_, Lane> {
        // A queue is changed in one step or not: a panic in between leaves it usable.
        self.0.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
