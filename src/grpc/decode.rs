//! Frames that come up a tunnel, as the gateway understands them.

use bytes::Bytes;
use prost::Message as _;

use crate::actors::answering::{AnswerFrame, AnswerMetadata};
use crate::observe::ticks::{self, Tick};
use crate::tunnel::answer::{Form, Step};
use crate::tunnel::code::Code;
use crate::tunnel::id::RequestId;

use super::metadata;
use super::proto::connection_message::MessageType;
use super::proto::connection_status::Status;
use super::proto::{
    ConnectionMessage, ConnectionRegister, EventMessage, ForwardRequest, ForwardResponse,
    ResponseStreamInfo, StreamingInfo, SubscriptionRequest,
};

/// One frame from a peer.
#[derive(Debug)]
pub enum Incoming {
    /// The first frame.
    Register(ConnectionRegister),
    /// A frame of a call that the peer makes.
    Request(ForwardRequest),
    /// A frame of an answer; without an id when it is none that the gateway ever made.
    Answer(Option<RequestId>, Box<AnswerFrame>),
    /// The peer gives up a call that it made.
    Cancel(String),
    /// Alive; with the id that the peer believes to have.
    Heartbeat(String),
    /// The peer wants no new calls.
    Goodbye,
    /// A status that asks for nothing.
    Status,
    /// The peer publishes something.
    Event(EventMessage),
    /// The peer listens to topics, or does so no more.
    Subscription(SubscriptionRequest),
    /// A type that the gateway does not know, or none.
    Unknown,
}

/// What could still be made of a frame that could not be read.
#[derive(Debug)]
pub enum Unreadable {
    /// It answers this call.
    Answer(RequestId),
    /// It is an event or a subscription with a text that is not UTF-8.
    Event,
    /// It is a registration whose key is not even text.
    Register,
    /// Nothing.
    Nothing,
}

/// Reads a frame.
///
/// # Errors
///
/// When it is not valid protobuf (a string that is not UTF-8 makes a frame invalid too).
pub fn incoming(frame: Bytes) -> Result<Incoming, Unreadable> {
    let (wire_bytes, heard) = (frame.len(), ticks::now());
    let decoded = ConnectionMessage::decode(frame.clone());
    let message = decoded.map_err(|_| salvage(frame))?;
    Ok(match message.message_type {
        Some(MessageType::Register(register)) => Incoming::Register(register),
        Some(MessageType::Request(request)) => Incoming::Request(request),
        Some(MessageType::Response(response)) => Incoming::Answer(
            RequestId::parse(&response.request_id),
            Box::new(answer(response, wire_bytes, heard)),
        ),
        Some(MessageType::Cancel(cancel)) => Incoming::Cancel(cancel.request_id),
        Some(MessageType::Heartbeat(heartbeat)) => Incoming::Heartbeat(heartbeat.connection_id),
        Some(MessageType::Status(status)) if status.status() == Status::Disconnected => {
            Incoming::Goodbye
        }
        Some(MessageType::Drain(_)) => Incoming::Goodbye,
        Some(MessageType::Status(_)) => Incoming::Status,
        Some(MessageType::Event(event)) => Incoming::Event(event),
        Some(MessageType::Subscription(subscription)) => Incoming::Subscription(subscription),
        Some(MessageType::EventAck(_)) | None => Incoming::Unknown,
    })
}

fn answer(response: ForwardResponse, wire_bytes: usize, heard: Tick) -> AnswerFrame {
    let form = form(response.streaming_info, response.response_stream_info);
    let exact = !response.metadata.is_empty() || !response.trailers.is_empty();
    let metadata = if exact {
        AnswerMetadata::Exact {
            headers: metadata::from_exact(response.metadata),
            trailers: metadata::from_exact(response.trailers),
        }
    } else {
        AnswerMetadata::Classic(metadata::from_map(response.headers))
    };
    AnswerFrame {
        step: Step { code: Code::from_peer(response.status_code), form, payload: response.payload },
        wire_bytes,
        compressed: response.compressed,
        message: response.error_message,
        metadata,
        heard,
    }
}

fn form(stream: Option<StreamingInfo>, slices: Option<ResponseStreamInfo>) -> Form {
    match (stream, slices) {
        (stream, Some(slice)) if slice.is_streamed => Form::Slice {
            index: slice.chunk_index,
            last: slice.is_final_chunk,
            end: stream.map_or(slice.is_final_chunk, |stream| stream.is_stream_end),
        },
        (Some(stream), _) => Form::Stream { end: stream.is_stream_end },
        (None, _) => Form::Whole,
    }
}

/// The envelope with bytes where the contract has text, so that one bad string does not hide whose
/// frame it is.
#[derive(prost::Message)]
struct Envelope {
    #[prost(message, optional, tag = "1")]
    register: Option<NamedByBytes>,
    #[prost(message, optional, tag = "3")]
    response: Option<NamedByBytes>,
    #[prost(message, optional, tag = "6")]
    event: Option<NamedByBytes>,
    #[prost(message, optional, tag = "7")]
    subscription: Option<Skipped>,
}

/// A message that is not looked into.
#[derive(prost::Message)]
struct Skipped {}

/// The first field of `ConnectionRegister` is the key, of `ForwardResponse` and `EventMessage` the id.
#[derive(prost::Message)]
struct NamedByBytes {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
}

fn salvage(frame: Bytes) -> Unreadable {
    let Ok(envelope) = Envelope::decode(frame) else { return Unreadable::Nothing };
    if envelope.register.is_some() {
        return Unreadable::Register;
    }
    if envelope.event.is_some() || envelope.subscription.is_some() {
        return Unreadable::Event;
    }
    let id = envelope.response.and_then(|response| String::from_utf8(response.name).ok());
    id.and_then(|id| RequestId::parse(&id)).map_or(Unreadable::Nothing, Unreadable::Answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::{Heartbeat, ResponseStreamInfo};

    #[test]
    fn the_three_forms_of_an_answer_are_told_apart() {
        let stream = |is_stream_end| StreamingInfo { is_stream_end, ..StreamingInfo::default() };
        let slice = |is_final_chunk| ResponseStreamInfo {
            is_streamed: true,
            chunk_index: 3,
            is_final_chunk,
            ..ResponseStreamInfo::default()
        };
        assert_eq!(form(None, None), Form::Whole);
        assert_eq!(form(None, Some(ResponseStreamInfo::default())), Form::Whole);
        assert_eq!(form(Some(stream(false)), None), Form::Stream { end: false });
        assert_eq!(form(None, Some(slice(true))), Form::Slice { index: 3, last: true, end: true });
        assert_eq!(
            form(Some(stream(false)), Some(slice(true))),
            Form::Slice { index: 3, last: true, end: false }
        );
    }

    #[test]
    fn a_frame_of_an_unknown_type_or_of_none_is_unknown() {
        assert!(matches!(incoming(Bytes::new()), Ok(Incoming::Unknown)));
        // Field 99, length-delimited, one byte.
        assert!(matches!(
            incoming(Bytes::from_static(&[0x9a, 0x06, 0x01, 0x00])),
            Ok(Incoming::Unknown)
        ));
    }

    #[test]
    fn a_bad_string_does_not_hide_whose_frame_it_is() {
        let id = RequestId::random();
        let mut frame = ConnectionMessage {
            message_type: Some(MessageType::Response(ForwardResponse {
                request_id: id.to_string(),
                error_message: "XX".into(),
                ..ForwardResponse::default()
            })),
        }
        .encode_to_vec();
        let place = frame.windows(2).position(|pair| pair == b"XX").unwrap();
        frame[place] = 0xff;
        assert!(matches!(incoming(frame.into()), Err(Unreadable::Answer(found)) if found == id));

        let key = [0x0a, 0x03, 0x0a, 0x01, 0xff];
        assert!(matches!(incoming(Bytes::copy_from_slice(&key)), Err(Unreadable::Register)));
        assert!(matches!(incoming(Bytes::from_static(b"\xff")), Err(Unreadable::Nothing)));
        for frame in [[0x32, 0x03, 0x12, 0x01, 0xff], [0x3a, 0x03, 0x12, 0x01, 0xff]] {
            assert!(matches!(incoming(Bytes::copy_from_slice(&frame)), Err(Unreadable::Event)));
        }
    }

    #[test]
    fn a_heartbeat_with_any_time_is_a_heartbeat() {
        for timestamp in [0, -1, i64::MAX] {
            let heartbeat = Heartbeat { timestamp, connection_id: "made up".into() };
            let message =
                ConnectionMessage { message_type: Some(MessageType::Heartbeat(heartbeat)) };
            let frame = message.encode_to_vec().into();
            assert!(matches!(incoming(frame), Ok(Incoming::Heartbeat(id)) if id == "made up"));
        }
    }
}
