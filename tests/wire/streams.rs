//! Calls that are more than one message, in either direction.

use adit::grpc::proto::streaming_info::StreamType;
use adit::grpc::proto::{ForwardRequest, ForwardResponse, StreamingInfo};
use bytes::Bytes;
use h2::Reason;

use crate::support::peer::{slice, with_headers};
use crate::support::{Gateway, call_whole, error, ok, stream_end, stream_part};

fn form(request: &ForwardRequest) -> (StreamType, bool, i64) {
    let info = request.streaming_info.unwrap();
    (info.stream_type(), info.is_stream_end, info.sequence_number)
}

#[tokio::test]
async fn one_message_with_its_half_close_is_one_unary_frame() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let _call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    assert_eq!(form(&peer.request().await), (StreamType::Unary, true, 0));
}

#[tokio::test]
async fn every_other_message_is_a_frame_and_so_is_the_half_close() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut call = caller.call("/demo.Echo/Chat").await;
    let mut ids = Vec::new();
    for (sequence, text) in ["a", "b", ""].into_iter().enumerate() {
        call.send(text).await;
        let request = peer.request().await;
        assert_eq!(request.payload, text);
        let sequence = i64::try_from(sequence).unwrap();
        assert_eq!(form(&request), (StreamType::BidirectionalStreaming, false, sequence));
        ids.push(request.request_id);
    }
    call.half_close();
    let end = peer.request().await;
    assert_eq!(form(&end), (StreamType::BidirectionalStreaming, true, 3));
    assert!(end.payload.is_empty());
    assert!(ids.iter().all(|id| *id == end.request_id));
}

#[tokio::test]
async fn a_call_without_a_message_is_its_half_close() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = caller.call("/demo.Echo/Sum").await;
    call.half_close();
    let request = peer.request().await;
    assert_eq!(form(&request), (StreamType::BidirectionalStreaming, true, 0));
    peer.answer(ok(&request, "0")).await;
    assert_eq!(call.message().await, "0");
    call.succeeds().await;
}

#[tokio::test]
async fn a_streamed_answer_is_headers_messages_and_trailers() {
    let gateway = Gateway::start();
    let mut peer = gateway.plain_peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut call = call_whole(&caller, "/demo.Echo/Count", "2").await;
    let request = peer.request().await;
    peer.answer(with_headers(stream_part(&request, "1"), &[("early", "e")])).await;
    // The headers are there before the answer is complete.
    assert_eq!(call.initial().await["early"], "e");
    assert_eq!(call.message().await, "1");
    peer.answer(stream_part(&request, "")).await;
    assert_eq!(call.message().await, "");
    peer.answer(with_headers(stream_end(&request), &[("late", "l")])).await;
    assert_eq!(call.succeeds().await["late"], "l");
}

#[tokio::test]
async fn the_last_frame_of_a_stream_may_bring_a_message_or_an_error() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut call = call_whole(&caller, "/demo.Echo/Count", "").await;
    let request = peer.request().await;
    let last = ForwardResponse { payload: "last".into(), ..stream_end(&request) };
    peer.answer(last).await;
    assert_eq!(call.message().await, "last");
    call.succeeds().await;

    let mut call = call_whole(&caller, "/demo.Echo/Count", "").await;
    let request = peer.request().await;
    peer.answer(stream_part(&request, "1")).await;
    // A code that is not zero ends the call whatever else the frame says.
    let broken = ForwardResponse { status_code: 9, ..stream_part(&request, "") };
    peer.answer(broken).await;
    assert_eq!(call.message().await, "1");
    assert_eq!(call.end().await.code, "9");
}

#[tokio::test]
async fn slices_make_one_message() {
    let gateway = Gateway::start();
    let mut peer = gateway.plain_peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    for (index, text) in ["ab", "cd", "e"].into_iter().enumerate() {
        peer.answer(slice(&request, index, index == 2, text)).await;
    }
    assert_eq!(call.message().await, "abcde");
    call.succeeds().await;

    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    peer.answer(slice(&request, 0, false, "ab")).await;
    peer.answer(slice(&request, 5, false, "cd")).await;
    call.fails(13, "bad_tunnel_frame").await;
}

#[tokio::test]
async fn an_early_answer_ends_the_call_and_the_caller_is_told_to_stop() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut call = caller.call("/demo.Echo/Sum").await;
    call.send("1").await;
    let request = peer.request().await;
    peer.answer(ok(&request, "enough")).await;
    assert_eq!(call.message().await, "enough");
    call.succeeds().await;
    assert_eq!(call.was_reset().await, Reason::NO_ERROR);
    // What the caller still says is discarded quietly: the next frame is the next call's.
    call.send("2").await;
    let _next = call_whole(&caller, "/demo.Echo/Next", "").await;
    assert_eq!(peer.request().await.method_path, "/demo.Echo/Next");
}

#[tokio::test]
async fn the_half_close_comes_before_or_after_the_answer_has_begun() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    for answer_first in [true, false] {
        let mut call = caller.call("/demo.Echo/Chat").await;
        call.send("q").await;
        let request = peer.request().await;
        if answer_first {
            peer.answer(stream_part(&request, "a")).await;
            assert_eq!(call.message().await, "a");
            call.half_close();
            assert!(peer.request().await.streaming_info.unwrap().is_stream_end);
        } else {
            call.half_close();
            assert!(peer.request().await.streaming_info.unwrap().is_stream_end);
            peer.answer(stream_part(&request, "a")).await;
            assert_eq!(call.message().await, "a");
        }
        peer.answer(stream_end(&request)).await;
        call.succeeds().await;
    }
}

/// What happens in a call after its first message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    CallerSends,
    CallerHalfCloses,
    PeerSends,
    PeerEnds,
}

/// Each side keeps its own order; these are all the ways in which two and two can be mixed.
#[tokio::test]
async fn both_sides_may_finish_in_any_order() {
    use Step::{CallerHalfCloses, CallerSends, PeerEnds, PeerSends};

    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    for steps in [
        [CallerSends, CallerHalfCloses, PeerSends, PeerEnds],
        [CallerSends, PeerSends, CallerHalfCloses, PeerEnds],
        [CallerSends, PeerSends, PeerEnds, CallerHalfCloses],
        [PeerSends, CallerSends, CallerHalfCloses, PeerEnds],
        [PeerSends, CallerSends, PeerEnds, CallerHalfCloses],
        [PeerSends, PeerEnds, CallerSends, CallerHalfCloses],
    ] {
        let mut call = caller.call("/demo.Echo/Chat").await;
        call.send("first").await;
        let request = peer.request().await;
        let mut ended = false;
        for step in steps {
            match step {
                CallerSends => call.send("more").await,
                // The gateway has told the caller to stop.
                CallerHalfCloses if ended => {}
                CallerHalfCloses => call.half_close(),
                PeerSends => peer.answer(stream_part(&request, "part")).await,
                PeerEnds => peer.answer(stream_end(&request)).await,
            }
            match step {
                // What comes after the end is discarded: the next frame is the next call's.
                CallerSends | CallerHalfCloses if ended => {}
                CallerSends => assert_eq!(peer.request().await.payload, "more", "{steps:?}"),
                CallerHalfCloses => assert!(form(&peer.request().await).1, "{steps:?}"),
                PeerSends => assert_eq!(call.message().await, "part", "{steps:?}"),
                PeerEnds => {
                    call.succeeds().await;
                    ended = true;
                }
            }
        }
        if steps[3] == CallerHalfCloses {
            assert_eq!(call.was_reset().await, Reason::NO_ERROR, "{steps:?}");
        }
    }
    let _next = call_whole(&caller, "/demo.Echo/Next", "").await;
    assert_eq!(peer.request().await.method_path, "/demo.Echo/Next");
}

#[tokio::test]
async fn ten_thousand_messages_each_way_keep_their_order_and_content() {
    const COUNT: usize = 10_000;
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let text = |n: usize| Bytes::from(format!("{n:0>1024}"));

    let serving = tokio::spawn(async move {
        loop {
            let request = peer.request().await;
            if request.streaming_info.unwrap().is_stream_end {
                peer.answer(stream_end(&request)).await;
                return peer;
            }
            peer.answer(stream_part(&request, request.payload.clone())).await;
        }
    });
    let mut call = caller.call("/demo.Echo/Chat").await;
    for n in 0..COUNT {
        call.send(text(n)).await;
        assert_eq!(call.message().await, text(n));
    }
    call.half_close();
    call.succeeds().await;
    drop(serving.await.unwrap());
}

#[tokio::test]
async fn a_plain_peer_gets_whole_calls_only() {
    let gateway = Gateway::start();
    let mut peer = gateway.plain_peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut none = caller.call("/demo.Echo/Say").await;
    none.half_close();
    none.fails(12, "unary_only").await;

    let mut two = caller.call("/demo.Echo/Say").await;
    two.send("1").await;
    two.send("2").await;
    two.fails(12, "unary_only").await;

    // The half-close may come a little later than the message.
    let mut late = caller.call("/demo.Echo/Say").await;
    late.send("1").await;
    late.half_close();
    let request = peer.request().await;
    assert_eq!(form(&request), (StreamType::Unary, true, 0));
    peer.answer(ok(&request, "one")).await;
    assert_eq!(late.message().await, "one");
}

#[tokio::test]
async fn a_plain_peers_caller_must_half_close_in_time() {
    let gateway = Gateway::with(serde_json::json!({ "limits": { "half_close_timeout": "50ms" } }));
    let _peer = gateway.plain_peer("demo.Echo").await;
    let mut call = gateway.caller().await.call("/demo.Echo/Say").await;
    call.send("1").await;
    call.fails(4, "deadline").await;
}

#[tokio::test]
async fn a_key_can_grant_streams_to_programs_that_do_not_ask() {
    let key = adit::auth::key::KeyDigest::of(crate::support::KEY.as_bytes()).to_string();
    let gateway = Gateway::with(serde_json::json!({
        "keys": [{ "id": "tests", "sha256": key, "features": ["stream"] }]
    }));
    let mut peer = gateway.plain_peer("demo.Echo").await;
    let mut call = gateway.caller().await.call("/demo.Echo/Chat").await;
    call.send("1").await;
    let request = peer.request().await;
    assert_eq!(form(&request), (StreamType::BidirectionalStreaming, false, 0));
    // It still asked for nothing, so a call without a deadline shows as 300 seconds.
    assert_eq!(request.timeout_seconds, 300);
}

#[tokio::test]
async fn an_error_with_a_payload_is_a_message_and_a_status() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    peer.answer(ForwardResponse { payload: "half".into(), ..error(&request, 9, "") }).await;
    assert_eq!(call.message().await, "half");
    assert_eq!(call.end().await.code, "9");
}

#[tokio::test]
async fn frames_after_the_end_of_an_answer_are_dropped() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    let end = StreamingInfo { is_stream_end: true, ..StreamingInfo::default() };
    peer.answer(stream_part(&request, "a")).await;
    peer.answer(ForwardResponse { streaming_info: Some(end), ..ok(&request, "b") }).await;
    peer.answer(stream_part(&request, "late")).await;
    assert_eq!((call.message().await, call.message().await), ("a".into(), "b".into()));
    call.succeeds().await;
    let mut next = call_whole(&caller, "/demo.Echo/Say", "still here").await;
    peer.echo().await;
    assert_eq!(next.message().await, "still here");
}

#[tokio::test]
async fn thousands_of_small_messages_in_frames_of_their_own_are_no_attack() {
    const MESSAGES: usize = 5_000;
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = caller.call("/demo.Echo/Sum").await;
    let send = async {
        for _ in 0..MESSAGES - 1 {
            call.send([7; 20]).await;
        }
        call.send_last([7; 20]).await;
    };
    let receive = async {
        // So many pile up as windows and queues hold before the first is taken.
        let request = peer.request().await;
        for _ in 1..MESSAGES {
            assert_eq!(peer.request().await.payload.len(), 20);
        }
        assert!(peer.request().await.streaming_info.unwrap().is_stream_end);
        peer.answer(ok(&request, "done")).await;
    };
    tokio::join!(send, receive);
    assert_eq!(call.message().await, "done");
    call.succeeds().await;
}
