//! What may be published: from what a publisher sent to an event.

use std::collections::HashMap;
use std::sync::OnceLock;

use bytes::Bytes;
use uuid::Uuid;

use super::encode::event::unix_seconds;
use crate::actors::event::Event;
use crate::actors::traffic::PAIR_OVERHEAD_BYTES;
use crate::tunnel::id::MemberId;
use crate::tunnel::limits::Limits;
use crate::tunnel::topic::TopicName;
use crate::tunnel::topic::refusal::EventRefusal;

/// An id that a publisher gives an event: any UUID or hash fits.
const EVENT_ID_BYTES_MAX: usize = 128;

/// What a publisher sent, unchecked.
#[derive(Debug)]
pub(super) struct Submitted {
    /// What it calls the event; empty if it leaves that to the gateway.
    pub(super) id: String,
    /// What it publishes it under.
    pub(super) topic: String,
    /// The payload.
    pub(super) payload: Bytes,
    /// When, as it says; 0 if it leaves that to the gateway.
    pub(super) timestamp: i64,
    /// Its own metadata.
    pub(super) metadata: HashMap<String, String>,
}

impl Submitted {
    /// What it may be published under, by a publisher who `may` use that topic.
    ///
    /// # Errors
    ///
    /// Why it cannot be published.
    pub(super) fn check(
        &self,
        limits: &Limits,
        may: impl FnOnce(&TopicName) -> bool,
    ) -> Result<TopicName, EventRefusal> {
        let name = TopicName::parse(&self.topic, limits.topic_bytes_max)?;
        if self.id.len() > EVENT_ID_BYTES_MAX {
            return Err(EventRefusal::BadId { max: EVENT_ID_BYTES_MAX });
        }
        if self.payload.len() > limits.event_bytes_max {
            return Err(EventRefusal::TooLarge { max: limits.event_bytes_max });
        }
        if !is_admitted(&self.metadata, limits) {
            return Err(EventRefusal::MetadataTooLarge);
        }
        if !may(&name) {
            return Err(EventRefusal::OutOfScope);
        }
        Ok(name)
    }

    /// The event that this is, once it is checked.
    pub(super) fn event(self, name: TopicName, publisher: MemberId) -> Event {
        let Self { id, payload, timestamp, metadata, .. } = self;
        let is_named = !id.is_empty();
        Event {
            id: if is_named { id.into() } else { Uuid::new_v4().to_string().into() },
            is_named,
            name,
            publisher,
            timestamp: if timestamp == 0 { unix_seconds() } else { timestamp },
            metadata,
            // A slice would keep all that was read together with it, as long as anybody has the event.
            payload: Bytes::copy_from_slice(&payload),
            frame: OnceLock::new(),
        }
    }
}

/// As much of a text that may be no topic as is told back.
pub(super) fn told(topic: &str) -> &str {
    const TOLD_BYTES_MAX: usize = 255;
    &topic[..topic.floor_char_boundary(TOLD_BYTES_MAX)]
}

fn is_admitted(metadata: &HashMap<String, String>, limits: &Limits) -> bool {
    let pair = |(name, value): (&String, &String)| name.len() + value.len() + PAIR_OVERHEAD_BYTES;
    metadata.len() <= limits.metadata_entries_max
        && metadata.iter().map(pair).sum::<usize>() <= limits.metadata_bytes_max
}
