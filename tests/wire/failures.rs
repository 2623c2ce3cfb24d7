//! What a caller sees when something is missing, lost or late.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use serde_json::json;

use crate::support::{Gateway, call_whole, error, ok, stream_part, until};

#[tokio::test]
async fn a_name_that_was_never_seen_is_unimplemented_before_the_call_has_a_message() {
    let gateway = Gateway::start();
    let caller = gateway.caller().await;
    let mut call = caller.call("/demo.Nobody/Say").await;
    call.fails(12, "unknown_service").await;
}

#[tokio::test]
async fn a_name_that_was_served_a_while_ago_is_unavailable() {
    let gateway = Gateway::start();
    let caller = gateway.caller().await;
    drop(gateway.peer("demo.Echo").await);
    until("the tunnel to be gone", || async {
        let mut call = caller.call_headers("/demo.Echo/Say", &[("grpc-timeout", "1S")]).await;
        call.send_last("").await;
        let end = call.end().await;
        assert_eq!(end.code, "14");
        end.reason.as_deref() == Some("no_tunnel")
    })
    .await;
}

#[tokio::test]
async fn every_name_is_known_in_the_grace_after_a_start() {
    let gateway = Gateway::with(json!({ "routing": { "startup_grace": "1h" } }));
    let caller = gateway.caller().await;
    call_whole(&caller, "/demo.Nobody/Say", "").await.fails(14, "no_tunnel").await;
}

#[tokio::test]
async fn a_lost_tunnel_ends_its_calls_at_once_and_what_came_stays_a_prefix() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut waiting = call_whole(&caller, "/demo.Echo/Say", "").await;
    peer.request().await;
    let mut streaming = call_whole(&caller, "/demo.Echo/Count", "").await;
    let request = peer.request().await;
    peer.answer(stream_part(&request, "1")).await;
    assert_eq!(streaming.message().await, "1");
    peer.reset();
    waiting.fails(14, "tunnel_lost").await;
    streaming.fails(14, "tunnel_lost").await;
}

#[tokio::test]
async fn a_peer_that_half_closes_its_stream_has_left() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut waiting = call_whole(&caller, "/demo.Echo/Say", "").await;
    peer.request().await;
    peer.half_close();
    waiting.fails(14, "tunnel_lost").await;
    assert_eq!(peer.end().await["grpc-status"], "0");
}

#[tokio::test]
async fn answers_to_unknown_or_finished_calls_are_dropped() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    for id in ["", "not-an-id", "00000000-0000-4000-8000-000000000000"] {
        let mut stranger = request.clone();
        stranger.request_id = id.to_owned();
        peer.answer(ok(&stranger, "nobody asked")).await;
    }
    peer.answer(ok(&request, "asked")).await;
    peer.answer(ok(&request, "again")).await;
    assert_eq!(call.message().await, "asked");
    call.succeeds().await;
}

#[tokio::test]
async fn a_call_is_answered_only_by_the_tunnel_that_carries_it() {
    let gateway = Gateway::start();
    let mut carrier = gateway.peer("demo.Echo").await;
    let mut thief = gateway.peer("demo.Other").await;
    let caller = gateway.caller().await;

    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = carrier.request().await;
    thief.answer(ok(&request, "stolen")).await;
    // The thief's own call proves that its answer has been read and dropped.
    let mut own = call_whole(&caller, "/demo.Other/Say", "own").await;
    thief.echo().await;
    assert_eq!(own.message().await, "own");
    carrier.answer(ok(&request, "earned")).await;
    assert_eq!(call.message().await, "earned");
}

#[tokio::test]
async fn a_peer_that_never_answers_is_cancelled_at_the_deadline() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let started = Instant::now();
    let mut call = caller.call_headers("/demo.Echo/Say", &[("grpc-timeout", "300m")]).await;
    call.send_last("").await;
    let request = peer.request().await;
    call.fails(4, "deadline").await;
    // Only the lower bound says something about the gateway; the upper one is for a busy machine.
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
    let cancel = peer.cancel().await;
    assert_eq!((cancel.request_id, cancel.status_code), (request.request_id, 4));
}

#[tokio::test]
async fn a_deadline_also_ends_a_call_that_has_not_said_anything() {
    let gateway = Gateway::start();
    let _peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = caller.call_headers("/demo.Echo/Say", &[("grpc-timeout", "50m")]).await;
    call.fails(4, "deadline").await;
}

#[tokio::test]
async fn a_plain_peers_call_without_a_deadline_has_one_all_the_same() {
    let gateway = Gateway::with(json!({ "limits": { "plain_call_timeout": "50ms" } }));
    let mut peer = gateway.plain_peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    peer.request().await;
    call.fails(4, "deadline").await;
}

#[tokio::test]
async fn a_caller_that_cancels_is_told_to_the_peer_and_its_late_answer_is_dropped() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    call.cancel();
    let cancel = peer.cancel().await;
    assert_eq!((cancel.request_id.as_str(), cancel.status_code), (&request.request_id[..], 1));
    peer.answer(ok(&request, "too late")).await;
    let mut next = call_whole(&caller, "/demo.Echo/Say", "next").await;
    peer.echo().await;
    assert_eq!(next.message().await, "next");
}

#[tokio::test]
async fn a_cancel_in_the_middle_of_a_stream_is_not_a_half_close() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    for reason in [Reason::CANCEL, Reason::NO_ERROR] {
        let mut call = caller.call("/demo.Echo/Chat").await;
        call.send("1").await;
        let request = peer.request().await;
        call.reset(reason);
        assert_eq!(peer.cancel().await.request_id, request.request_id, "{reason:?}");
    }
}

#[tokio::test]
async fn a_callers_connection_that_breaks_cancels_all_its_calls() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut calls = Vec::new();
    let mut asked = std::collections::BTreeSet::new();
    for _ in 0..100 {
        calls.push(call_whole(&caller, "/demo.Echo/Say", "").await);
        asked.insert(peer.request().await.request_id);
    }
    drop((calls, caller));
    let mut cancelled = std::collections::BTreeSet::new();
    for _ in 0..100 {
        cancelled.insert(peer.cancel().await.request_id);
    }
    assert_eq!(cancelled, asked);
}

#[tokio::test]
async fn a_cancelled_call_to_a_plain_peer_frees_its_slot_after_the_cancel_timeout() {
    let gateway = Gateway::with(json!({ "limits": {
        "calls_per_tunnel_max": 1, "cancel_timeout": "50ms"
    } }));
    let mut peer = gateway.plain_peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    peer.request().await;
    call_whole(&caller, "/demo.Echo/Say", "").await.fails(8, "inflight_limit").await;
    call.cancel();
    until("the slot to be free", || async {
        let headers = [("grpc-timeout", "50m")];
        let mut probe = caller.call_headers("/demo.Echo/Say", &headers).await;
        probe.send_last("").await;
        probe.end().await.reason.as_deref() == Some("deadline")
    })
    .await;
}

#[tokio::test]
async fn http_codes_of_deployed_services_are_translated() {
    let gateway = Gateway::start();
    let mut peer = gateway.plain_peer("demo.Echo").await;
    let caller = gateway.caller().await;
    for (sent, seen) in [(404, "5"), (429, "8"), (503, "14"), (200, "0"), (77, "2"), (-3, "2")] {
        let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
        let request = peer.request().await;
        peer.answer(error(&request, sent, "as it came")).await;
        if seen == "0" {
            assert_eq!(call.message().await, "");
        }
        assert_eq!(call.end().await.code, seen, "{sent}");
    }
}

#[tokio::test]
async fn a_frame_that_cannot_be_read_fails_only_its_own_call() {
    use adit::grpc::proto::ConnectionMessage;
    use adit::grpc::proto::connection_message::MessageType;
    use prost::Message;

    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut broken = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    let response = error(&request, 0, "XX");
    let message = ConnectionMessage { message_type: Some(MessageType::Response(response)) };
    let mut bytes = message.encode_to_vec();
    let place = bytes.windows(2).position(|pair| pair == b"XX").unwrap();
    bytes[place] = 0xff;
    peer.send_bytes(&bytes).await;
    broken.fails(13, "bad_tunnel_frame").await;
    assert_eq!(peer.cancel().await.request_id, request.request_id);

    let mut sound = call_whole(&caller, "/demo.Echo/Say", "sound").await;
    peer.echo().await;
    assert_eq!(sound.message().await, "sound");
}

#[tokio::test]
async fn an_answer_over_the_message_limit_fails_only_its_own_call() {
    let gateway = Gateway::with(json!({ "limits": { "message_bytes_max": "1000B" } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut large = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    peer.answer(ok(&request, Bytes::from(vec![7; 1001]))).await;
    large.fails(8, "message_too_large").await;
    // That was its whole answer: there is nothing to cancel.
    let mut small = call_whole(&caller, "/demo.Echo/Say", "small").await;
    peer.echo().await;
    assert_eq!(small.message().await, "small");
}

/// A caller that tries three times is heard three times, whatever the gateway thinks of the answers.
#[tokio::test]
async fn the_gateway_adds_no_attempts_of_its_own() {
    let gateway = Gateway::start();
    let mut one = gateway.peer("demo.Echo").await;
    let mut two = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    for _ in 0..3 {
        let mut call = call_whole(&caller, "/demo.Echo/Say", "down").await;
        let (peer, request) = tokio::select! {
            request = one.request() => (&mut one, request),
            request = two.request() => (&mut two, request),
        };
        peer.answer(error(&request, 14, "my own backend is down")).await;
        let end = call.end().await;
        assert_eq!((end.code.as_str(), end.reason), ("14", None));
    }
    // Nor when a tunnel ends under a call that its peer has seen.
    let mut call = call_whole(&caller, "/demo.Echo/Say", "seen").await;
    let (lost, mut other) = tokio::select! {
        _ = one.request() => (one, two),
        _ = two.request() => (two, one),
    };
    drop(lost);
    call.fails(14, "tunnel_lost").await;
    let _next = call_whole(&caller, "/demo.Echo/Say", "the next frame").await;
    assert_eq!(other.request().await.payload, "the next frame");
}
