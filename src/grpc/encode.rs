//! Frames on their way down a tunnel, as bytes.
//!
//! A request is written field by field instead of through the generated type, which would copy
//! every header into a map first. The payload is the last field: a large one is not copied but
//! follows as a chunk of its own.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::actors::event::FRAMED_BYTES_MAX;
use crate::actors::traffic::{Ending, Message, Part, RequestHead, append};
use crate::tunnel::call::Frame;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::RequestId;
use crate::tunnel::limits::Limits;

use super::features::Features;
use super::framing::{PREFIX_BYTES, put_prefix};
use super::proto::connection_message::MessageType;
use super::proto::streaming_info::StreamType;
use super::proto::{ConnectionMessage, ForwardResponse, StreamingInfo};
use super::{compression, metadata, status, timeout};

/// Payloads up to this size are copied behind their head: a small buffer of its own costs a DATA frame
/// and a part of a write, which is dearer than the copy; for a large one the copy is dearer.
pub(super) const COPIED_BYTES_MAX: usize = FRAMED_BYTES_MAX;

/// Field numbers of `ForwardRequest` (proto/registry.proto).
mod field {
    pub(super) const ENVELOPE_REQUEST: u32 = 2;
    pub(super) const REQUEST_ID: u32 = 1;
    pub(super) const METHOD_PATH: u32 = 2;
    pub(super) const HEADERS: u32 = 3;
    pub(super) const PAYLOAD: u32 = 4;
    pub(super) const TIMEOUT_SECONDS: u32 = 5;
    pub(super) const STREAMING_INFO: u32 = 6;
    pub(super) const COMPRESSED: u32 = 7;
    pub(super) const METADATA: u32 = 8;
    /// Both `map` entries and `Header` have their name here and their value next.
    pub(super) const NAME: u32 = 1;
    pub(super) const VALUE: u32 = 2;
}

/// What encoding depends on.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What the peer asked for.
    pub features: Features,
    /// One frame, gRPC's prefix not counted.
    pub frame_bytes_max: usize,
    /// One message after inflating.
    pub message_bytes_max: usize,
    /// What a plain peer is told when the caller gave no deadline.
    pub plain_call_timeout: Duration,
}

impl Rules {
    /// What the limits say at this moment.
    pub fn under(limits: &Limits, features: Features) -> Self {
        Self {
            features,
            frame_bytes_max: limits.classic_frame_bytes_max,
            message_bytes_max: limits.message_bytes_max,
            plain_call_timeout: limits.plain_call_timeout,
        }
    }
}

/// Appends a frame of a call to `out`. A large payload comes back, to be written after `out`.
///
/// # Errors
///
/// When the frame would be larger than the peer accepts, or cannot be inflated for it; nothing has
/// been appended then.
pub fn request(
    rules: &Rules,
    request: RequestId,
    head: &RequestHead,
    frame: &Frame<Message>,
    now: Instant,
    out: &mut BytesMut,
) -> Result<Option<Bytes>, Failure> {
    let message = frame.message();
    let encoding = head.headers.get(metadata::ENCODING).map(http::HeaderValue::as_bytes);
    let payload = message.map_or(Ok(Bytes::new()), |m| for_peer(rules, m, encoding))?;
    let mut fields = BytesMut::with_capacity(512);
    put_text(&mut fields, field::REQUEST_ID, &request.text());
    put_text(&mut fields, field::METHOD_PATH, head.path.as_str().as_bytes());
    if frame.is_first() {
        put_metadata(rules, head, now, &mut fields);
    }
    put_number(&mut fields, field::TIMEOUT_SECONDS, timeout_seconds(rules, head, now));
    put_streaming_info(&mut fields, frame);
    if rules.features.compression && message.is_some_and(|message| message.compressed) {
        put_number(&mut fields, field::COMPRESSED, 1);
    }
    finish(rules, &fields, payload, out)
}

/// Appends a whole frame made of a generated type.
///
/// # Errors
///
/// When the frame would be larger than the peer accepts; nothing has been appended then.
pub fn envelope(rules: &Rules, frame: MessageType, out: &mut BytesMut) -> Result<(), Failure> {
    let message = ConnectionMessage { message_type: Some(frame) };
    let length = message.encoded_len();
    if length > rules.frame_bytes_max {
        return Err(Failure::FrameTooLarge);
    }
    out.reserve(PREFIX_BYTES + length);
    put_prefix(false, length, out);
    // `BytesMut` grows, so there is always room.
    let _ = message.encode(out);
    Ok(())
}

/// A part of an answer to a call that the peer made, as a frame.
///
/// # Errors
///
/// When the message cannot be inflated for the peer, or the frame would be larger than it accepts.
pub fn response_frame(
    rules: &Rules,
    peer_request: &str,
    streamed: bool,
    encoding: Option<&[u8]>,
    part: &Part,
) -> Result<Bytes, Failure> {
    let response = response(rules, peer_request, streamed, encoding, part)?;
    let mut frame = BytesMut::new();
    envelope(rules, MessageType::Response(response), &mut frame)?;
    Ok(frame.freeze())
}

/// A part of an answer to a call that the peer made. `first` if nothing was sent of it before,
/// `encoding` is the answer's grpc-encoding.
///
/// # Errors
///
/// When the message cannot be inflated for the peer.
fn response(
    rules: &Rules,
    peer_request: &str,
    streamed: bool,
    encoding: Option<&[u8]>,
    part: &Part,
) -> Result<ForwardResponse, Failure> {
    let message = part.message.as_ref();
    let payload = message.map_or(Ok(Bytes::new()), |m| for_peer(rules, m, encoding))?;
    let mut response = ForwardResponse {
        request_id: peer_request.to_owned(),
        payload,
        compressed: rules.features.compression && message.is_some_and(|m| m.compressed),
        ..ForwardResponse::default()
    };
    if streamed {
        response.streaming_info = Some(StreamingInfo {
            stream_type: StreamType::BidirectionalStreaming.into(),
            is_stream_end: part.ending.is_some(),
            ..StreamingInfo::default()
        });
    }
    let mut headers = part.headers.clone().unwrap_or_default();
    if !rules.features.compression {
        headers.remove(metadata::ENCODING);
    }
    let trailers = part.ending.as_ref().map(|ending| put_ending(ending, &mut response));
    put_answer_metadata(rules, headers, &trailers.unwrap_or_default(), &mut response);
    Ok(response)
}

fn put_ending(ending: &Ending, response: &mut ForwardResponse) -> HeaderMap {
    match ending {
        Ending::Answered { code, message, trailers } => {
            response.status_code = code.number();
            response.error_message.clone_from(message);
            trailers.clone()
        }
        Ending::Failed(failure) => {
            let (code, reason) = status::of_failure(*failure);
            response.status_code = code.number();
            response.error_message = failure.to_string();
            HeaderMap::from_iter([(status::REASON, http::HeaderValue::from_static(reason))])
        }
    }
}

fn put_answer_metadata(
    rules: &Rules,
    mut headers: HeaderMap,
    trailers: &HeaderMap,
    response: &mut ForwardResponse,
) {
    if rules.features.headers {
        response.metadata = metadata::to_exact(&headers);
        response.trailers = metadata::to_exact(trailers);
    } else {
        append(&mut headers, trailers);
        let joined = metadata::joined(&headers);
        response.headers = joined.map(|(name, value)| (name.to_string(), value)).collect();
    }
}

/// The payload as this peer takes it.
fn for_peer(rules: &Rules, message: &Message, encoding: Option<&[u8]>) -> Result<Bytes, Failure> {
    if message.compressed && !rules.features.compression {
        compression::inflate(encoding, &message.payload, rules.message_bytes_max)
    } else {
        Ok(message.payload.clone())
    }
}

fn put_metadata(rules: &Rules, head: &RequestHead, now: Instant, fields: &mut BytesMut) {
    let skipped = |name: &http::HeaderName| {
        name == metadata::TIMEOUT || (name == metadata::ENCODING && !rules.features.compression)
    };
    if rules.features.headers {
        for (name, value) in head.headers.iter().filter(|(name, _)| !skipped(name)) {
            put_pair(fields, field::METADATA, name.as_str(), value.as_bytes());
        }
    } else {
        for (name, value) in metadata::joined(&head.headers).filter(|(name, _)| !skipped(name)) {
            put_pair(fields, field::HEADERS, name.as_str(), value.as_bytes());
        }
    }
    if let Some(deadline) = head.deadline {
        let remaining = timeout::format(deadline.saturating_duration_since(now));
        let tag = if rules.features.headers { field::METADATA } else { field::HEADERS };
        put_pair(fields, tag, metadata::TIMEOUT.as_str(), remaining.as_bytes());
    }
}

/// The remaining time, rounded up.
fn timeout_seconds(rules: &Rules, head: &RequestHead, now: Instant) -> u64 {
    let remaining = match head.deadline {
        Some(deadline) => deadline.saturating_duration_since(now).max(Duration::from_nanos(1)),
        None if rules.features.is_plain() => rules.plain_call_timeout,
        None => return 0,
    };
    let whole = remaining.as_secs() + u64::from(remaining.subsec_nanos() > 0);
    whole.min(i32::MAX as u64)
}

fn put_streaming_info(fields: &mut BytesMut, frame: &Frame<Message>) {
    let (kind, sequence) = match frame {
        Frame::Whole(_) => (StreamType::Unary, 0),
        Frame::Message { sequence, .. } | Frame::HalfClose { sequence } => {
            (StreamType::BidirectionalStreaming, *sequence)
        }
    };
    let info = StreamingInfo {
        stream_type: kind.into(),
        is_stream_end: frame.is_last(),
        sequence_number: sequence,
        chunk_size: 0,
    };
    prost::encoding::message::encode(field::STREAMING_INFO, &info, fields);
}

fn finish(
    rules: &Rules,
    fields: &BytesMut,
    payload: Bytes,
    out: &mut BytesMut,
) -> Result<Option<Bytes>, Failure> {
    let tags = (field::ENVELOPE_REQUEST, field::PAYLOAD);
    if frame_len(tags, fields, &payload) > rules.frame_bytes_max {
        return Err(Failure::FrameTooLarge);
    }
    Ok(put_frame(tags, fields, payload, out))
}

/// The numbers of a message in its envelope and of the payload in the message.
type Tags = (u32, u32);

fn inner_len((_, tag): Tags, fields: &[u8], payload: &[u8]) -> usize {
    let payload_head = if payload.is_empty() {
        0
    } else {
        key_len(tag) + encoded_len_varint(payload.len() as u64)
    };
    fields.len() + payload_head + payload.len()
}

/// How long a frame will be, gRPC's prefix not counted.
fn frame_len(tags: Tags, fields: &[u8], payload: &[u8]) -> usize {
    let inner = inner_len(tags, fields, payload);
    key_len(tags.0) + encoded_len_varint(inner as u64) + inner
}

/// Appends a frame whose payload comes last; a large one comes back, to be written after it.
fn put_frame(tags: Tags, fields: &[u8], payload: Bytes, out: &mut BytesMut) -> Option<Bytes> {
    put_prefix(false, frame_len(tags, fields, &payload), out);
    encode_key(tags.0, WireType::LengthDelimited, out);
    encode_varint(inner_len(tags, fields, &payload) as u64, out);
    out.put_slice(fields);
    if payload.is_empty() {
        return None;
    }
    encode_key(tags.1, WireType::LengthDelimited, out);
    encode_varint(payload.len() as u64, out);
    if payload.len() > COPIED_BYTES_MAX {
        return Some(payload);
    }
    out.put_slice(&payload);
    None
}

fn put_text(fields: &mut BytesMut, tag: u32, text: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, fields);
    encode_varint(text.len() as u64, fields);
    fields.put_slice(text);
}

fn put_number(fields: &mut BytesMut, tag: u32, number: u64) {
    if number > 0 {
        encode_key(tag, WireType::Varint, fields);
        encode_varint(number, fields);
    }
}

/// One `map` entry or one `Header`: they look the same on the wire.
fn put_pair(fields: &mut BytesMut, tag: u32, name: &str, value: &[u8]) {
    let part = |length: usize| 1 + encoded_len_varint(length as u64) + length;
    encode_key(tag, WireType::LengthDelimited, fields);
    encode_varint((part(name.len()) + part(value.len())) as u64, fields);
    put_text(fields, field::NAME, name.as_bytes());
    put_text(fields, field::VALUE, value);
}

pub mod event;
#[cfg(test)]
mod tests;
