//! What is written by hand must read back as the generated types say.

use super::*;
use crate::actors::traffic::Marks;
use crate::grpc::framing::PREFIX_BYTES;
use crate::grpc::proto::{ForwardRequest, Header};
use crate::tunnel::allowance::Allowance;
use crate::tunnel::code::Code;
use crate::tunnel::id::MethodPath;
use proptest::prelude::*;
use std::io::Write;

const ALL: [&str; 4] = ["stream", "cancel", "headers", "compression"];

// === Requests ===

#[test]
fn a_whole_call_to_a_plain_peer() {
    let head = head(&[("x-tag", "a"), ("x-tag", "b"), ("grpc-encoding", "gzip")], None);
    let request = read(&rules(&[]), &head, &Frame::Whole(message("hi")));
    assert_eq!(
        (request.method_path.as_str(), &request.payload[..]),
        ("/demo.Echo/Say", &b"hi"[..])
    );
    assert_eq!(request.timeout_seconds, 300, "what a plain peer is told without a deadline");
    assert_eq!(request.headers.len(), 1, "an encoding concerns only peers that know of it");
    assert_eq!(request.headers["x-tag"], "a,b");
    let info = request.streaming_info.unwrap();
    assert_eq!((info.stream_type(), info.is_stream_end), (StreamType::Unary, true));
    assert!(request.metadata.is_empty() && !request.compressed);
}

#[test]
fn exact_metadata_keeps_order_and_repetition() {
    let head = head(&[("x-tag", "a"), ("x-tag", "b"), ("grpc-encoding", "gzip")], None);
    let request = read(&rules(&ALL), &head, &Frame::Whole(message("hi")));
    let expected = [("x-tag", "a"), ("x-tag", "b"), ("grpc-encoding", "gzip")];
    assert_eq!(request.metadata, expected.map(|(name, value)| pair(name, value)));
    assert!(request.headers.is_empty());
    assert_eq!(request.timeout_seconds, 0, "no deadline");
}

#[test]
fn what_remains_of_a_deadline_goes_along_rounded_up() {
    let now = Instant::now();
    let head = head(&[("grpc-timeout", "9S")], Some(now + Duration::from_millis(1_500)));
    let whole = Frame::Whole(message("hi"));
    let request = read_at(&rules(&["headers"]), &head, &whole, now);
    assert_eq!(request.timeout_seconds, 2);
    let [timeout] = &request.metadata[..] else { panic!("one entry: {:?}", request.metadata) };
    assert_eq!(timeout.name, "grpc-timeout");
    let told = timeout::parse(str::from_utf8(&timeout.value).unwrap().as_bytes()).unwrap();
    assert_eq!(told, Duration::from_millis(1_500), "what remains, not what the caller said");

    let late = read_at(&rules(&["headers"]), &head, &whole, now + Duration::from_mins(1));
    assert_eq!(late.timeout_seconds, 1, "0 would mean that there is no deadline");
}

#[test]
fn only_the_first_frame_of_a_stream_carries_metadata() {
    let head = head(&[("x-tag", "a")], None);
    for (frame, sequence, entries) in [
        (Frame::Message { sequence: 0, message: message("a") }, 0, 1),
        (Frame::Message { sequence: 1, message: message("b") }, 1, 0),
        (Frame::HalfClose { sequence: 2 }, 2, 0),
        (Frame::HalfClose { sequence: 0 }, 0, 1),
    ] {
        let request = read(&rules(&ALL), &head, &frame);
        let info = request.streaming_info.unwrap();
        assert_eq!(info.stream_type(), StreamType::BidirectionalStreaming);
        assert_eq!((info.sequence_number, info.is_stream_end), (sequence, frame.is_last()));
        assert_eq!(request.metadata.len(), entries, "{frame:?}");
    }
}

#[test]
fn a_compressed_message_is_inflated_for_a_peer_that_did_not_ask_for_it() {
    let head = head(&[("grpc-encoding", "gzip")], None);
    let whole = || Frame::Whole(Message { payload: gzip(b"hi"), compressed: true, ..message("") });
    let inflated = read(&rules(&["stream"]), &head, &whole());
    assert_eq!((&inflated.payload[..], inflated.compressed), (&b"hi"[..], false));
    let kept = read(&rules(&ALL), &head, &whole());
    assert_eq!((kept.payload, kept.compressed), (gzip(b"hi"), true));
}

#[test]
fn a_frame_that_the_peer_would_not_take_leaves_nothing_behind() {
    let rules = Rules { frame_bytes_max: 100, ..rules(&[]) };
    let mut out = BytesMut::from(&b"before"[..]);
    let (head, frame) = (head(&[], None), Frame::Whole(large(100)));
    let written = request(&rules, RequestId::random(), &head, &frame, Instant::now(), &mut out);
    assert_eq!(written, Err(Failure::FrameTooLarge));
    assert_eq!(&out[..], b"before");
}

proptest! {
    /// Whatever the sizes, the frame reads back as what went in, copied or chained.
    #[test]
    fn any_payload_and_metadata_read_back(
        size in 0_usize..20_000,
        entries in prop::collection::vec(("[a-z]{1,8}", "[ -~]{0,300}"), 0..5),
        exact in any::<bool>(),
    ) {
        let features: &[&str] = if exact { &["headers"] } else { &["stream"] };
        let mut head = head(&[], None);
        for (place, (name, value)) in entries.iter().enumerate() {
            let name = format!("x-{place}-{name}");
            head.headers.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
        }
        let request = read(&rules(features), &head, &Frame::Whole(large(size)));
        prop_assert_eq!(request.payload.len(), size);
        let count = if exact { request.metadata.len() } else { request.headers.len() };
        prop_assert_eq!(count, entries.len());
    }
}

// === Answers to calls of peers ===

#[test]
fn an_answer_in_one_frame_has_everything() {
    let trailers = HeaderMap::from_iter([header("x-after", "t")]);
    let part = Part {
        headers: Some(HeaderMap::from_iter([header("x-before", "h")])),
        message: Some(message("hi")),
        ending: Some(Ending::Answered { code: Code::OK, message: "fine".to_owned(), trailers }),
        ..Part::default()
    };
    let exact = response(&rules(&ALL), "7", false, None, &part).unwrap();
    assert_eq!((exact.request_id.as_str(), &exact.payload[..]), ("7", &b"hi"[..]));
    assert_eq!(exact.metadata, [pair("x-before", "h")]);
    assert_eq!(exact.trailers, [pair("x-after", "t")]);
    assert_eq!((exact.status_code, exact.error_message.as_str()), (0, "fine"));
    assert!(exact.streaming_info.is_none());
    let classic = response(&rules(&[]), "7", false, None, &part).unwrap();
    assert_eq!(
        (classic.headers["x-before"].as_str(), classic.headers["x-after"].as_str()),
        ("h", "t")
    );
}

#[test]
fn the_end_of_a_streamed_answer_by_the_gateway_says_why() {
    let part = Part::failed(Failure::Deadline);
    let end = response(&rules(&[]), "7", true, None, &part).unwrap();
    assert_eq!((end.status_code, end.headers["x-gateway-error"].as_str()), (4, "deadline"));
    assert!(end.streaming_info.unwrap().is_stream_end);
}

#[test]
fn an_answer_is_inflated_for_a_peer_that_did_not_ask_for_compression() {
    let message = Message { payload: gzip(b"hi"), compressed: true, ..message("") };
    let part = Part { message: Some(message), ..Part::default() };
    let inflated = response(&rules(&[]), "7", true, Some(b"gzip"), &part).unwrap();
    assert_eq!((&inflated.payload[..], inflated.compressed), (&b"hi"[..], false));
    let unknown = response(&rules(&[]), "7", true, Some(b"zstd"), &part);
    assert!(unknown.is_err(), "{unknown:?}");
}

// === Helpers ===

fn rules(features: &[&str]) -> Rules {
    let asked: Vec<_> = features.iter().map(|name| (*name).to_owned()).collect();
    Rules {
        features: Features::asked(&asked),
        frame_bytes_max: 1 << 20,
        message_bytes_max: 1 << 20,
        plain_call_timeout: Duration::from_mins(5),
    }
}

fn head(entries: &[(&'static str, &str)], deadline: Option<Instant>) -> RequestHead {
    let path = MethodPath::parse("/demo.Echo/Say").unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in entries {
        headers.append(*name, value.parse().unwrap());
    }
    let unread = Allowance::new(usize::MAX);
    let (session, only) = (None, None);
    let (call_buffer, wait_end) = (Allowance::new(usize::MAX), std::sync::OnceLock::new());
    RequestHead {
        path,
        headers,
        deadline,
        session,
        only,
        unread,
        call_buffer,
        wait_end,
        slot_of_key: None,
        request: RequestId::random(),
        marks: Marks::default(),
    }
}

fn header(name: &'static str, value: &'static str) -> (http::HeaderName, http::HeaderValue) {
    (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
}

fn pair(name: &str, value: &str) -> Header {
    Header { name: name.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
}

fn message(text: &'static str) -> Message {
    Message { payload: Bytes::from_static(text.as_bytes()), ..Message::default() }
}

fn large(bytes: usize) -> Message {
    Message { payload: vec![b'x'; bytes].into(), ..Message::default() }
}

fn gzip(data: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap().into()
}

fn read(rules: &Rules, head: &RequestHead, frame: &Frame<Message>) -> ForwardRequest {
    read_at(rules, head, frame, Instant::now())
}

/// Writes a frame and reads it back.
fn read_at(
    rules: &Rules,
    head: &RequestHead,
    frame: &Frame<Message>,
    now: Instant,
) -> ForwardRequest {
    let (id, mut out) = (RequestId::random(), BytesMut::new());
    let tail = request(rules, id, head, frame, now, &mut out).unwrap();
    out.extend(tail);
    let length = u32::from_be_bytes(out[1..PREFIX_BYTES].try_into().unwrap()) as usize;
    assert_eq!((out[0], length), (0, out.len() - PREFIX_BYTES));
    let envelope = ConnectionMessage::decode(&out[PREFIX_BYTES..]).unwrap();
    let Some(MessageType::Request(request)) = envelope.message_type else { panic!("{envelope:?}") };
    assert_eq!(request.request_id, id.to_string());
    request
}
