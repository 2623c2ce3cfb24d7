//! The one table from what went wrong inside to what is seen outside.

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::observe::calls::STATUSES;
use crate::tunnel::admission::Rejection;
use crate::tunnel::code::Code;
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::failure::Failure;
use crate::tunnel::topic::BadTopic;
use crate::tunnel::topic::refusal::EventRefusal;

/// The trailer that tells the gateway's own status from a service's.
pub const REASON: HeaderName = HeaderName::from_static("x-gateway-error");

/// gRPC's own trailers.
pub(super) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// The reason of what is no event or no topic.
const BAD_EVENT: &str = "bad_event";

/// How long a caller that retries should wait after an overload (gRFC A6): long enough that a
/// burst has passed, short against a person's patience.
const PUSHBACK_MS: HeaderValue = HeaderValue::from_static("1000");

/// The encodings that the gateway can undo.
const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,deflate,gzip");

/// What grpc-message leaves unescaped: %x20-24 and %x26-7E (gRPC over HTTP/2, "Responses").
const UNSAFE: &AsciiSet = &CONTROLS.add(b'%');

/// The status and the reason of a failed call. The reasons are a closed set; they are the same in
/// the trailer, in the log and in metrics.
pub fn of_failure(failure: Failure) -> (Code, &'static str) {
    match failure {
        Failure::UnknownService => (Code::UNIMPLEMENTED, "unknown_service"),
        Failure::UnaryOnly => (Code::UNIMPLEMENTED, "unary_only"),
        Failure::UnsupportedEncoding => (Code::UNIMPLEMENTED, "unsupported_encoding"),
        Failure::NoTunnel => (Code::UNAVAILABLE, "no_tunnel"),
        Failure::TunnelLost => (Code::UNAVAILABLE, "tunnel_lost"),
        Failure::Draining => (Code::UNAVAILABLE, "draining"),
        Failure::Deadline | Failure::HalfCloseOverdue | Failure::MessageOverdue => {
            (Code::DEADLINE_EXCEEDED, "deadline")
        }
        Failure::Idle => (Code::DEADLINE_EXCEEDED, "idle"),
        Failure::Cancelled => (Code::CANCELLED, "cancelled"),
        Failure::MessageTooLarge | Failure::FrameTooLarge => {
            (Code::RESOURCE_EXHAUSTED, "message_too_large")
        }
        Failure::MetadataTooLarge => (Code::RESOURCE_EXHAUSTED, "metadata_too_large"),
        Failure::InflightLimit => (Code::RESOURCE_EXHAUSTED, "inflight_limit"),
        Failure::QueueFull | Failure::TooManyWaiting | Failure::NoRoom | Failure::BufferFull => {
            (Code::RESOURCE_EXHAUSTED, "queue_full")
        }
        Failure::Protocol | Failure::BadTimeout => (Code::INTERNAL, "protocol"),
        Failure::BadTunnelFrame => (Code::INTERNAL, "bad_tunnel_frame"),
        Failure::NoCredentials => (Code::UNAUTHENTICATED, "no_credentials"),
        Failure::BadCredentials | Failure::ExpiredCredentials => {
            (Code::UNAUTHENTICATED, "bad_credentials")
        }
        Failure::Scope | Failure::CertificateMismatch => (Code::PERMISSION_DENIED, "scope"),
        Failure::Panic => (Code::INTERNAL, "panic"),
    }
}

/// The status and the reason that end a tunnel's stream.
pub fn of_tunnel_end(end: &TunnelEnd) -> (Code, &'static str) {
    match end {
        // Nobody hears any of them.
        TunnelEnd::PeerLeft | TunnelEnd::ConnectionLost | TunnelEnd::ConnectionDead => {
            (Code::OK, "peer_left")
        }
        TunnelEnd::Silent => (Code::DEADLINE_EXCEEDED, "heartbeat_timeout"),
        TunnelEnd::RegisterTimeout => (Code::DEADLINE_EXCEEDED, "register_timeout"),
        TunnelEnd::RegisterFirst => (Code::INVALID_ARGUMENT, "register_first"),
        TunnelEnd::RegisteredTwice | TunnelEnd::BadFrames => (Code::INVALID_ARGUMENT, "protocol"),
        TunnelEnd::BadKey | TunnelEnd::KeyExpired | TunnelEnd::KeyRevoked => {
            (Code::UNAUTHENTICATED, "bad_credentials")
        }
        TunnelEnd::CertificateMismatch => (Code::PERMISSION_DENIED, "scope"),
        TunnelEnd::Rejected(rejection) | TunnelEnd::KeyNarrowed(rejection) => {
            of_rejection(rejection)
        }
        TunnelEnd::NoRoom => (Code::RESOURCE_EXHAUSTED, "queue_full"),
        TunnelEnd::TooManyHeartbeats => (Code::RESOURCE_EXHAUSTED, "rate_limited"),
        TunnelEnd::FrameTooLarge { .. } => (Code::RESOURCE_EXHAUSTED, "message_too_large"),
        TunnelEnd::SlowConsumer => (Code::RESOURCE_EXHAUSTED, "slow_consumer"),
        TunnelEnd::Draining => (Code::UNAVAILABLE, "draining"),
        TunnelEnd::Panic => (Code::INTERNAL, "panic"),
    }
}

/// Why a tunnel that was connected has ended, as it is counted: another closed set, for who watches.
pub fn of_disconnect(end: &TunnelEnd) -> &'static str {
    match end {
        TunnelEnd::PeerLeft => "peer_left",
        TunnelEnd::ConnectionLost => "connection_reset",
        TunnelEnd::ConnectionDead => "connection_timed_out",
        TunnelEnd::Silent => "heartbeat_timeout",
        TunnelEnd::BadKey
        | TunnelEnd::KeyExpired
        | TunnelEnd::KeyRevoked
        | TunnelEnd::KeyNarrowed(_)
        | TunnelEnd::CertificateMismatch => "auth_revoked",
        TunnelEnd::RegisterTimeout
        | TunnelEnd::RegisterFirst
        | TunnelEnd::RegisteredTwice
        | TunnelEnd::BadFrames => "protocol",
        TunnelEnd::FrameTooLarge { .. } => "message_too_large",
        TunnelEnd::NoRoom => "queue_full",
        TunnelEnd::TooManyHeartbeats => "rate_limited",
        TunnelEnd::Rejected(_) => "rejected",
        TunnelEnd::SlowConsumer => "slow_consumer",
        TunnelEnd::Draining => "draining",
        TunnelEnd::Panic => "panic",
    }
}

/// The code and the reason of what is refused of events: another closed set.
fn of_event_refusal(why: &EventRefusal) -> (Code, &'static str) {
    match why {
        EventRefusal::BadTopic(BadTopic::Reserved) | EventRefusal::OutOfScope => {
            (Code::PERMISSION_DENIED, "scope")
        }
        EventRefusal::BadTopic(_) | EventRefusal::BadId { .. } | EventRefusal::NotText => {
            (Code::INVALID_ARGUMENT, BAD_EVENT)
        }
        EventRefusal::Subscriptions { .. } | EventRefusal::Topics { .. } => {
            (Code::RESOURCE_EXHAUSTED, "topic_limit")
        }
        EventRefusal::TooLarge { .. } => (Code::RESOURCE_EXHAUSTED, "message_too_large"),
        EventRefusal::MetadataTooLarge => (Code::RESOURCE_EXHAUSTED, "metadata_too_large"),
        EventRefusal::NoRoom | EventRefusal::NoneHadRoom => {
            (Code::RESOURCE_EXHAUSTED, "queue_full")
        }
        EventRefusal::Lost => (Code::INTERNAL, "panic"),
    }
}

/// What a peer is told of an event or a subscription that is refused.
pub fn event_refusal(why: &EventRefusal, topic: &str) -> String {
    let (code, reason) = of_event_refusal(why);
    format!("{} {reason}: {}", name_of(code), event_told(why, topic))
}

/// What a caller is told of the same.
pub fn event_status(why: &EventRefusal, topic: &str) -> Status {
    let (code, reason) = of_event_refusal(why);
    own_status(code, reason, event_told(why, topic))
}

/// A code by its name, as statuses are counted.
fn name_of(code: Code) -> &'static str {
    let place = usize::try_from(code.number()).ok();
    place.and_then(|place| STATUSES.get(place)).map_or("UNKNOWN", |name| *name)
}

fn event_told(why: &EventRefusal, topic: &str) -> String {
    format!("topic \"{topic}\": {why}")
}

/// What a caller sent as an event is none.
pub fn bad_event(message: String) -> Status {
    own_status(Code::INVALID_ARGUMENT, BAD_EVENT, message)
}

/// The caller compresses what it says to a service of the gateway's own that takes it as it is.
pub fn takes_no_compression() -> Status {
    let message = "the messages of this service are not compressed".to_owned();
    let mut status = own_status(Code::UNIMPLEMENTED, "unsupported_encoding", message);
    status.metadata_mut().insert("grpc-accept-encoding", MetadataValue::from_static("identity"));
    status
}

/// The caller says none or several messages where there is one (gRPC `doc/statuscodes.md`).
pub fn not_one_message() -> Status {
    let message = "there must be exactly one message".to_owned();
    own_status(Code::UNIMPLEMENTED, "protocol", message)
}

/// A subscriber has taken nothing for too long.
pub fn slow_consumer() -> Status {
    let (code, reason) = of_tunnel_end(&TunnelEnd::SlowConsumer);
    own_status(code, reason, TunnelEnd::SlowConsumer.to_string())
}

/// The gateway stops while a caller publishes that has published so many events.
pub fn cut_off(events: u64) -> Status {
    let (code, reason) = of_failure(Failure::Draining);
    own_status(code, reason, format!("the gateway is shutting down; {events} events were taken"))
}

/// A status of a service of the gateway's own.
fn own_status(code: Code, reason: &'static str, message: String) -> Status {
    let reason = HeaderMap::from_iter([(REASON, HeaderValue::from_static(reason))]);
    Status::with_metadata(code.number().into(), message, MetadataMap::from_headers(reason))
}

fn of_rejection(rejection: &Rejection) -> (Code, &'static str) {
    match rejection {
        Rejection::BadName(_) | Rejection::NameTooLong { .. } => {
            (Code::INVALID_ARGUMENT, "bad_service_name")
        }
        Rejection::ReservedName(_) | Rejection::OutOfScope(_) | Rejection::Owned(_) => {
            (Code::PERMISSION_DENIED, "scope")
        }
        Rejection::TooManyServices { .. }
        | Rejection::TunnelsPerKey { .. }
        | Rejection::ServicesPerKey { .. }
        | Rejection::TunnelsPerService { .. } => (Code::RESOURCE_EXHAUSTED, "tunnel_limit"),
        Rejection::Draining => (Code::UNAVAILABLE, "draining"),
    }
}

/// The trailers of a tunnel's stream that the gateway ends.
pub fn tunnel_trailers(end: &TunnelEnd) -> HeaderMap {
    let (code, reason) = of_tunnel_end(end);
    let mut trailers = HeaderMap::with_capacity(3);
    put_status(&mut trailers, code, &end.to_string());
    if code != Code::OK {
        trailers.insert(REASON, HeaderValue::from_static(reason));
    }
    trailers
}

/// The trailers of a call that the gateway ends.
pub fn failure_trailers(failure: Failure) -> HeaderMap {
    let (code, reason) = of_failure(failure);
    let mut trailers = HeaderMap::with_capacity(4);
    put_status(&mut trailers, code, &failure.to_string());
    trailers.insert(REASON, HeaderValue::from_static(reason));
    if matches!(code, Code::RESOURCE_EXHAUSTED | Code::UNAVAILABLE) && did_not_run(failure) {
        trailers.insert(PUSHBACK, PUSHBACK_MS);
    }
    if failure == Failure::UnsupportedEncoding {
        trailers.insert(ACCEPT_ENCODING, ACCEPTED);
    }
    trailers
}

/// The same for a service of the gateway's own.
pub fn refusal(failure: Failure) -> Status {
    let (code, _) = of_failure(failure);
    let metadata = MetadataMap::from_headers(failure_trailers(failure));
    Status::with_metadata(code.number().into(), failure.to_string(), metadata)
}

/// Overload and shutdown: the same call can succeed a little later.
fn did_not_run(failure: Failure) -> bool {
    matches!(
        failure,
        Failure::InflightLimit | Failure::QueueFull | Failure::TooManyWaiting | Failure::Draining
    )
}

/// Sets a call's final status.
pub fn put_status(trailers: &mut HeaderMap, code: Code, message: &str) {
    trailers.insert(STATUS, HeaderValue::from(code.number()));
    if !message.is_empty() {
        let escaped = percent_encode(message.as_bytes(), UNSAFE).to_string();
        if let Ok(value) = HeaderValue::try_from(escaped) {
            trailers.insert(MESSAGE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::calls::REASONS;
    use std::collections::BTreeSet;

    #[test]
    fn every_failure_has_a_reason_of_the_closed_set() {
        let reasons: BTreeSet<_> = Failure::ALL.iter().map(|f| of_failure(*f).1).collect();
        let expected: BTreeSet<_> = REASONS.into_iter().collect();
        assert_eq!(reasons, expected);
    }

    /// The ends of tunnels as who watches sees them, each with an end that is one.
    #[test]
    fn every_end_of_a_tunnel_has_a_reason_of_the_closed_set() {
        let rejection = || Rejection::Draining;
        let ends = [
            (TunnelEnd::PeerLeft, "peer_left"),
            (TunnelEnd::ConnectionLost, "connection_reset"),
            (TunnelEnd::ConnectionDead, "connection_timed_out"),
            (TunnelEnd::Silent, "heartbeat_timeout"),
            (TunnelEnd::RegisterTimeout, "protocol"),
            (TunnelEnd::RegisterFirst, "protocol"),
            (TunnelEnd::RegisteredTwice, "protocol"),
            (TunnelEnd::BadKey, "auth_revoked"),
            (TunnelEnd::KeyExpired, "auth_revoked"),
            (TunnelEnd::KeyRevoked, "auth_revoked"),
            (TunnelEnd::KeyNarrowed(rejection()), "auth_revoked"),
            (TunnelEnd::CertificateMismatch, "auth_revoked"),
            (TunnelEnd::Rejected(rejection()), "rejected"),
            (TunnelEnd::FrameTooLarge { max: 1 }, "message_too_large"),
            (TunnelEnd::NoRoom, "queue_full"),
            (TunnelEnd::BadFrames, "protocol"),
            (TunnelEnd::TooManyHeartbeats, "rate_limited"),
            (TunnelEnd::SlowConsumer, "slow_consumer"),
            (TunnelEnd::Draining, "draining"),
            (TunnelEnd::Panic, "panic"),
        ];
        for (place, (end, reason)) in ends.iter().enumerate() {
            assert_eq!(of_disconnect(end), *reason, "{end:?}");
            let kind = std::mem::discriminant(end);
            let same = |(other, _): &(TunnelEnd, _)| std::mem::discriminant(other) == kind;
            assert_eq!(ends.iter().position(same), Some(place), "{end:?} is here once");
        }
    }

    #[test]
    fn statuses_are_counted_under_the_names_of_their_numbers() {
        for (number, name) in STATUSES.iter().enumerate() {
            let code = tonic::Code::from(i32::try_from(number).unwrap());
            let camel = format!("{code:?}").to_uppercase();
            assert_eq!(name.replace('_', ""), camel);
        }
    }

    #[test]
    fn what_is_refused_of_events_is_told_with_a_code_a_reason_and_the_topic() {
        let max = 7;
        let table = [
            (EventRefusal::BadTopic(BadTopic::Empty), "INVALID_ARGUMENT bad_event"),
            (EventRefusal::BadTopic(BadTopic::Reserved), "PERMISSION_DENIED scope"),
            (EventRefusal::BadId { max }, "INVALID_ARGUMENT bad_event"),
            (EventRefusal::NotText, "INVALID_ARGUMENT bad_event"),
            (EventRefusal::OutOfScope, "PERMISSION_DENIED scope"),
            (EventRefusal::Subscriptions { max }, "RESOURCE_EXHAUSTED topic_limit"),
            (EventRefusal::Topics { max }, "RESOURCE_EXHAUSTED topic_limit"),
            (EventRefusal::TooLarge { max }, "RESOURCE_EXHAUSTED message_too_large"),
            (EventRefusal::MetadataTooLarge, "RESOURCE_EXHAUSTED metadata_too_large"),
            (EventRefusal::NoRoom, "RESOURCE_EXHAUSTED queue_full"),
            (EventRefusal::NoneHadRoom, "RESOURCE_EXHAUSTED queue_full"),
            (EventRefusal::Lost, "INTERNAL panic"),
        ];
        for (why, told) in table {
            assert_eq!(event_refusal(&why, "a.b"), format!("{told}: topic \"a.b\": {why}"));
        }
    }

    #[test]
    fn the_gateway_never_makes_a_status_that_belongs_to_the_application() {
        for failure in Failure::ALL {
            let code = of_failure(failure).0.number();
            assert!(![0, 2, 3, 5, 6, 9, 10, 11, 15].contains(&code), "{failure:?}: {code}");
        }
    }

    #[test]
    fn a_message_is_percent_encoded_in_upper_case() {
        let mut trailers = HeaderMap::new();
        put_status(&mut trailers, Code::NOT_FOUND, "50% ü\n~");
        assert_eq!(trailers["grpc-message"], "50%25 %C3%BC%0A~");
        assert_eq!(trailers["grpc-status"], "5");
    }

    #[test]
    fn overload_tells_when_to_come_back_and_a_lost_tunnel_does_not() {
        assert!(failure_trailers(Failure::InflightLimit).contains_key("grpc-retry-pushback-ms"));
        assert!(!failure_trailers(Failure::TunnelLost).contains_key("grpc-retry-pushback-ms"));
        let trailers = failure_trailers(Failure::UnsupportedEncoding);
        assert_eq!(trailers["grpc-accept-encoding"], "identity,deflate,gzip");
    }
}
