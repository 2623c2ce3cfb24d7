//! What is published, on its way to everybody who listens.
//!
//! An event and its payload are held once, however many have it in their queues.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use actix::Message;
use bytes::Bytes;

use crate::observe::topics::{Publishing, Topics};
use crate::tunnel::allowance::Hold;
use crate::tunnel::id::MemberId;
use crate::tunnel::topic::TopicName;
use crate::tunnel::topic::refusal::EventRefusal;

use super::mailbox::Mailbox;

/// What an event counts for beside its payload and its metadata: about what an empty one takes in memory.
const OVERHEAD_BYTES: usize = 256;

/// A larger payload is not copied into the frame that is sent.
pub const FRAMED_BYTES_MAX: usize = 4 * 1024;

/// Something that was published.
#[derive(Debug)]
pub struct Event {
    /// What its publisher calls it.
    pub id: Arc<str>,
    /// The publisher gave that id itself, so that it can come again.
    pub is_named: bool,
    /// What it was published under.
    pub name: TopicName,
    /// Who published it.
    pub publisher: MemberId,
    /// When, as the publisher says.
    pub timestamp: i64,
    /// The publisher's own, untouched.
    pub metadata: HashMap<String, String>,
    /// The payload, never looked into.
    pub payload: Bytes,
    /// The frame as it goes down tunnels, without a large payload: made for the first, shared by all.
    pub frame: OnceLock<Bytes>,
}

/// An event and what becomes of it. Whoever still has to hand it on holds a share; when the last one
/// is dropped, the publisher is told.
#[derive(Debug)]
pub struct Publication {
    /// The event.
    pub event: Arc<Event>,
    accepted: AtomicUsize,
    dropped: AtomicUsize,
    stage: AtomicU8,
    place: AtomicU64,
    outcome: Option<Mailbox<Published>>,
    counted: Arc<Topics>,
    room: Option<Hold>,
    /// Hears if nobody has it.
    in_vain: OnceLock<Mailbox<InVain>>,
}

/// To a bus that knows events by their ids: nobody has this one, so that it may come again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct InVain(pub Arc<Event>);

/// No bus has looked at it.
const NEW: u8 = 0;
/// It is on its way to all who listen.
const ROUTED: u8 = 1;
/// It came before, and goes to nobody.
const DUPLICATE: u8 = 2;

/// To a publisher: what became of an event.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Published {
    /// Which.
    pub id: Arc<str>,
    /// What it was published under, valid or not.
    pub topic: Arc<str>,
    /// What became of it.
    pub outcome: Outcome,
    /// The room that the event took among what its publisher has sent.
    pub room: Option<Hold>,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many subscribers have it in their queues.
    Accepted {
        /// How many.
        subscribers: usize,
    },
    /// Nobody listens.
    NoSubscriber,
    /// It came before and was not delivered again.
    Duplicate,
    /// It goes nowhere.
    Refused(EventRefusal),
}

impl Event {
    /// What it counts for in queues and buffers, in bytes.
    pub fn cost(&self) -> usize {
        let pairs = self.metadata.iter();
        let metadata: usize = pairs.map(|(name, value)| name.len() + value.len()).sum();
        self.payload.len() + metadata + OVERHEAD_BYTES
    }

    /// What it counts for where it is kept, in bytes: its id and its topic are there several times, and
    /// all but a large payload once more as the frame that is sent.
    pub fn kept_cost(&self) -> usize {
        let texts = 3 * self.id.len() + 3 * self.name.as_str().len();
        let rest = self.cost() - self.payload.len();
        self.cost() + rest + self.payload.len().min(FRAMED_BYTES_MAX) + texts
    }
}

impl Publication {
    /// An event that takes so much room of its publisher's. What becomes of it is counted, and told
    /// to who asks for it.
    pub fn new(
        event: Event,
        room: Option<Hold>,
        outcome: Option<Mailbox<Published>>,
        counted: Arc<Topics>,
    ) -> Self {
        Self {
            event: Arc::new(event),
            accepted: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            stage: AtomicU8::new(NEW),
            place: AtomicU64::new(0),
            outcome,
            counted,
            room,
            in_vain: OnceLock::new(),
        }
    }

    /// Tells somebody if nobody has it in the end.
    pub(super) fn tells_if_in_vain(&self, in_vain: Mailbox<InVain>) {
        // The bus of its publisher is the only one that asks.
        let _ = self.in_vain.set(in_vain);
    }

    /// It goes to all who listen, in this place among all events.
    pub(super) fn is_routed(&self, place: u64) {
        self.place.store(place, Ordering::Relaxed);
        self.stage.store(ROUTED, Ordering::Relaxed);
    }

    /// Its place among all events; 0 where none is kept.
    pub(super) fn place(&self) -> u64 {
        // Whoever has it was sent it after that was stored.
        self.place.load(Ordering::Relaxed)
    }

    pub(super) fn is_duplicate(&self) {
        self.stage.store(DUPLICATE, Ordering::Relaxed);
    }

    /// So many subscribers took it, so many had no room.
    pub(super) fn went(&self, accepted: usize, dropped: usize) {
        self.accepted.fetch_add(accepted, Ordering::Relaxed);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    fn outcome(&mut self) -> Outcome {
        let (accepted, dropped) = (*self.accepted.get_mut(), *self.dropped.get_mut());
        match (*self.stage.get_mut(), accepted, dropped) {
            (NEW, ..) => Outcome::Refused(EventRefusal::Lost),
            (DUPLICATE, ..) => Outcome::Duplicate,
            (_, 0, 0) => Outcome::NoSubscriber,
            (_, 0, _) => Outcome::Refused(EventRefusal::NoneHadRoom),
            (_, subscribers, _) => Outcome::Accepted { subscribers },
        }
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        let outcome = self.outcome();
        self.counted.published(match outcome {
            Outcome::Accepted { .. } | Outcome::Duplicate => Publishing::Accepted,
            Outcome::NoSubscriber => Publishing::NoSubscriber,
            Outcome::Refused(_) => Publishing::Rejected,
        });
        // Before its publisher, who may try again at once.
        if let (Outcome::NoSubscriber | Outcome::Refused(_), Some(bus)) =
            (outcome, self.in_vain.get())
        {
            bus.tell(InVain(self.event.clone()));
        }
        if let Some(publisher) = &self.outcome {
            let (id, topic) = (self.event.id.clone(), self.event.name.as_str().into());
            publisher.tell(Published { id, topic, outcome, room: self.room.take() });
        }
    }
}
