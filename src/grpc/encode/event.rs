//! Events on their way down a tunnel, as bytes.
//!
//! An event is encoded once, by the first tunnel that writes it, and all others share the bytes.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};

use super::{COPIED_BYTES_MAX, put_frame, put_number, put_pair, put_text};
use crate::actors::event::{Event, Outcome, Published};
use crate::grpc::framing::PREFIX_BYTES;
use crate::grpc::proto::{EventAck, EventMessage};
use crate::grpc::status;
use crate::tunnel::topic::queue::Gap;

/// Field numbers of `EventMessage` (proto/registry.proto).
mod field {
    pub(super) const ENVELOPE: u32 = 6;
    pub(super) const ID: u32 = 1;
    pub(super) const TYPE: u32 = 2;
    pub(super) const PUBLISHER: u32 = 3;
    pub(super) const PAYLOAD: u32 = 4;
    pub(super) const TIMESTAMP: u32 = 5;
    pub(super) const METADATA: u32 = 6;
}

/// The type of the event that tells of a gap.
const GAP: &str = "adit.gap";

/// A frame with an event, and its payload if that is a large one, to be written after it.
pub fn event(event: &Event) -> (Bytes, Option<Bytes>) {
    let head = event.frame.get_or_init(|| encoded(event)).clone();
    let is_large = event.payload.len() > COPIED_BYTES_MAX;
    (head, is_large.then(|| event.payload.clone()))
}

/// How long that frame is, gRPC's prefix not counted.
pub fn event_len((head, payload): &(Bytes, Option<Bytes>)) -> usize {
    head.len() - PREFIX_BYTES + payload.as_ref().map_or(0, Bytes::len)
}

fn encoded(event: &Event) -> Bytes {
    let mut fields = BytesMut::with_capacity(256);
    put_text(&mut fields, field::ID, event.id.as_bytes());
    put_text(&mut fields, field::TYPE, event.name.as_str().as_bytes());
    put_text(&mut fields, field::PUBLISHER, event.publisher.to_string().as_bytes());
    // A negative number is written as the large one with the same bits.
    put_number(&mut fields, field::TIMESTAMP, event.timestamp.cast_unsigned());
    for (name, value) in &event.metadata {
        put_pair(&mut fields, field::METADATA, name, value.as_bytes());
    }
    let small = if event.payload.len() > COPIED_BYTES_MAX { 0 } else { event.payload.len() };
    let mut frame = BytesMut::with_capacity(fields.len() + small + 32);
    put_frame((field::ENVELOPE, field::PAYLOAD), &fields, event.payload.clone(), &mut frame);
    frame.freeze()
}

/// That events are missing here.
pub fn missed(gap: &Gap) -> EventMessage {
    let metadata = [("topic", gap.topic.to_string()), ("missed", gap.missed.to_string())];
    EventMessage {
        event_type: GAP.to_owned(),
        timestamp: unix_seconds(),
        metadata: HashMap::from(metadata.map(|(name, value)| (name.to_owned(), value))),
        ..EventMessage::default()
    }
}

/// What became of an event, for its publisher.
pub fn event_ack(published: &Published) -> EventAck {
    let (result, message, subscribers) = match published.outcome {
        Outcome::Accepted { subscribers } => ("accepted", String::new(), subscribers),
        Outcome::Duplicate => ("accepted", "duplicate: it came before".to_owned(), 0),
        Outcome::NoSubscriber => ("no_subscriber", String::new(), 0),
        Outcome::Refused(why) => ("rejected", status::event_refusal(&why, &published.topic), 0),
    };
    EventAck {
        event_id: published.id.to_string(),
        result: result.to_owned(),
        message,
        subscribers: u32::try_from(subscribers).unwrap_or(u32::MAX),
    }
}

/// The time of events that came without one. Nothing depends on it, so a clock before 1970 may say 0.
pub fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::ConnectionMessage;
    use crate::grpc::proto::connection_message::MessageType;
    use crate::tunnel::id::MemberId;
    use crate::tunnel::topic::TopicName;
    use prost::Message;
    use std::sync::OnceLock;

    #[test]
    fn an_event_reads_back_as_it_was_whatever_its_size() {
        for length in [0, 1, COPIED_BYTES_MAX, COPIED_BYTES_MAX + 1, 1 << 20] {
            for timestamp in [1, -1, i64::MIN] {
                let sent = sample(length, timestamp);
                let frame = event(&sent);
                assert_eq!(frame.1.is_some(), length > COPIED_BYTES_MAX);
                let bytes = [&frame.0[..], frame.1.as_deref().unwrap_or_default()].concat();
                assert_eq!(bytes.len() - PREFIX_BYTES, event_len(&frame));
                let announced = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
                assert_eq!(announced as usize, event_len(&frame));
                let read = ConnectionMessage::decode(&bytes[PREFIX_BYTES..]).unwrap();
                let expected = EventMessage {
                    event_id: "e-1".to_owned(),
                    event_type: "orders.eu".to_owned(),
                    publisher_id: sent.publisher.to_string(),
                    payload: sent.payload.clone(),
                    timestamp,
                    metadata: sent.metadata.clone(),
                };
                assert_eq!(read.message_type, Some(MessageType::Event(expected)));
            }
        }
    }

    #[test]
    fn all_who_write_an_event_share_its_bytes() {
        let sent = sample(10, 1);
        assert_eq!(event(&sent).0.as_ptr(), event(&sent).0.as_ptr());
    }

    fn sample(length: usize, timestamp: i64) -> Event {
        Event {
            id: "e-1".into(),
            is_named: true,
            name: TopicName::parse("orders.eu", 255).unwrap(),
            publisher: MemberId::random(),
            timestamp,
            metadata: HashMap::from([("ce-type".to_owned(), "x".to_owned()), Default::default()]),
            payload: vec![7; length].into(),
            frame: OnceLock::new(),
        }
    }
}
