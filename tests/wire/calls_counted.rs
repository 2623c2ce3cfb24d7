//! What the window shows of calls, against calls that are known.

use std::time::{Duration, Instant};

use adit::observe::calls::{MethodSnapshot, ServiceCalls};
use serde_json::json;

use crate::support::stream::frame;
use crate::support::{
    Caller, Gateway, KEY, Peer, call_whole, error, key, ok, stream_end, stream_part, until,
};

const SAY: &str = "demo.Echo/Say";
const UNAVAILABLE: i32 = 14;

/// The numbers are counted when an end has been written, which its caller may see before.
async fn ended(gateway: &Gateway, count: u64) {
    let calls = &gateway.window().calls;
    until("the calls to be counted", async || calls.totals().ended == count).await;
}

fn method(gateway: &Gateway, name: &str) -> MethodSnapshot {
    let all = gateway.window().calls.methods();
    all.into_iter().find(|method| method.method == name).expect("the method")
}

fn service(gateway: &Gateway, name: &str) -> ServiceCalls {
    let all = gateway.window().calls.services();
    all.into_iter().find(|service| service.service == name).expect("the service")
}

fn statuses(method: &MethodSnapshot) -> Vec<(&'static str, u64)> {
    method.by_status.iter().map(|status| (status.status, status.duration.count())).collect()
}

async fn fails(caller: &Caller, path: &str, reason: &str) {
    let mut call = call_whole(caller, path, "hi").await;
    assert_eq!(call.end().await.reason.as_deref(), Some(reason));
}

#[tokio::test]
async fn each_call_is_counted_with_its_status_its_bytes_and_its_messages() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    for _ in 0..3 {
        let mut call = call_whole(&caller, "/demo.Echo/Say", [b'x'; 1500]).await;
        let request = peer.request().await;
        peer.answer(ok(&request, "four")).await;
        call.message().await;
        call.succeeds().await;
    }
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    peer.answer(error(&request, UNAVAILABLE, "not now")).await;
    call.end().await;
    ended(&gateway, 4).await;

    let say = method(&gateway, SAY);
    assert_eq!((say.started, statuses(&say)), (4, vec![("OK", 3), ("UNAVAILABLE", 1)]));
    assert_eq!(say.overhead.count(), 4);
    let ok = &say.by_status[0];
    assert_eq!((ok.received_bytes.sum, ok.sent_bytes.sum), (4_500.0, 12.0));
    assert_eq!((ok.received_bytes.counts[2], ok.sent_bytes.counts[1]), (3, 3));
    assert_eq!(say.by_status[1].sent_bytes.counts[0], 1);
    let echo = service(&gateway, "demo.Echo");
    assert_eq!((echo.started, echo.ended, echo.by_reason.len()), (4, 4, 0));
    assert_eq!(echo.by_status, [("OK", 3), ("UNAVAILABLE", 1)]);
    assert_eq!((echo.messages_in, echo.messages_out), (4, 3));
    assert!(echo.per_second > 0.0 && echo.duration.quantile(0.5).is_some());
    assert!(gateway.window().calls.local_errors().is_empty(), "the service ended them itself");
}

#[tokio::test]
async fn a_stream_is_in_flight_until_it_ends_and_its_messages_count_as_they_pass() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = caller.call("/demo.Echo/Chat").await;
    for number in 1..=5 {
        call.send("three").await;
        let request = peer.request().await;
        peer.answer(stream_part(&request, "1234567")).await;
        call.message().await;
        let seen = async || {
            let echo = service(&gateway, "demo.Echo");
            (echo.started, echo.ended, echo.messages_in, echo.messages_out)
                == (1, 0, number, number)
        };
        until("the messages to be counted", seen).await;
    }
    call.half_close();
    let request = peer.request().await;
    peer.answer(stream_end(&request)).await;
    call.succeeds().await;
    ended(&gateway, 1).await;
    let chat = method(&gateway, "demo.Echo/Chat");
    let ok = &chat.by_status[0];
    assert_eq!((ok.received_bytes.sum, ok.sent_bytes.sum), (25.0, 35.0));
}

#[tokio::test]
async fn what_the_gateway_ends_counts_by_reason() {
    let settings = json!({
        "callers": { "require_key": true },
        "keys": [key("tests", KEY, json!({})),
                 key("narrow", "a-key-that-may-call-nothing-0123456789-0", json!({ "call": [] }))],
        "limits": { "metadata_entries_max": 4 },
    });
    let gateway = Gateway::with(settings);
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let with = async |path: &str, headers: &[(&str, &str)]| {
        let mut call = caller.call_headers(path, headers).await;
        call.send_last("hi").await;
        call
    };
    let good = ("x-adit-key", KEY);
    fails(&caller, "/demo.Echo/Say", "no_credentials").await;
    let narrow = [("x-adit-key", "a-key-that-may-call-nothing-0123456789-0")];
    with("/demo.Echo/Say", &narrow).await.fails(7, "scope").await;
    with("/demo.Nobody/Say", &[good]).await.fails(12, "unknown_service").await;
    with("/nonsense", &[good]).await.fails(12, "unknown_service").await;
    let many = [good, ("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", "")];
    with("/demo.Echo/Say", &many).await.fails(8, "metadata_too_large").await;
    with("/demo.Echo/Say", &[good, ("grpc-timeout", "nonsense")]).await.fails(13, "protocol").await;
    let mut timed = with("/demo.Echo/Say", &[good, ("grpc-timeout", "50m")]).await;
    timed.fails(4, "deadline").await;
    peer.request().await;
    peer.cancel().await;
    let mut lost = with("/demo.Echo/Say", &[good]).await;
    peer.request().await;
    peer.reset();
    lost.fails(14, "tunnel_lost").await;
    with("/demo.Echo/Say", &[good]).await.fails(14, "no_tunnel").await;
    ended(&gateway, 9).await;

    assert_eq!(
        gateway.window().calls.local_errors(),
        [
            ("deadline", "DEADLINE_EXCEEDED", 1),
            ("metadata_too_large", "RESOURCE_EXHAUSTED", 1),
            ("no_credentials", "UNAUTHENTICATED", 1),
            ("no_tunnel", "UNAVAILABLE", 1),
            ("protocol", "INTERNAL", 1),
            ("scope", "PERMISSION_DENIED", 1),
            ("tunnel_lost", "UNAVAILABLE", 1),
            ("unknown_service", "UNIMPLEMENTED", 2),
        ]
    );
    let say = method(&gateway, SAY);
    assert_eq!((say.started, say.overhead.count()), (7, 0), "the service answered none of them");
    let other = method(&gateway, "other");
    assert_eq!((other.started, statuses(&other)), (2, vec![("UNIMPLEMENTED", 2)]));
    let echo = service(&gateway, "demo.Echo");
    assert_eq!((echo.started, echo.ended), (7, 7));
    assert!(echo.by_reason.contains(&("no_tunnel", 1)));
}

#[tokio::test]
async fn a_caller_that_goes_away_has_cancelled() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    peer.request().await;
    call.cancel();
    peer.cancel().await;
    let mut streaming = caller.call("/demo.Echo/Say").await;
    streaming.send("hi").await;
    peer.request().await;
    drop(streaming);
    peer.cancel().await;
    ended(&gateway, 2).await;
    let say = method(&gateway, SAY);
    assert_eq!(statuses(&say), [("CANCELLED", 2)]);
    assert_eq!(gateway.window().calls.local_errors(), [("cancelled", "CANCELLED", 2)]);
}

#[tokio::test]
async fn calls_by_peers_count_like_any_other() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let mut calling = gateway.plain_peer("demo.Calling").await;
    let request = |id: &str, path: &str| adit::grpc::proto::ForwardRequest {
        request_id: id.to_owned(),
        method_path: path.to_owned(),
        payload: "hello".into(),
        ..Default::default()
    };
    let send = adit::grpc::proto::connection_message::MessageType::Request;
    calling.send(send(request("1", "/demo.Echo/Say"))).await;
    peer.echo().await;
    let answered = calling.response().await;
    assert_eq!((answered.status_code, &answered.payload[..]), (0, &b"hello"[..]));
    calling.send(send(request("2", "/demo.Nobody/Say"))).await;
    assert_eq!(calling.response().await.status_code, 12);
    calling.send(send(request("3", "/demo.Echo/Say"))).await;
    peer.request().await;
    calling.reset();
    ended(&gateway, 3).await;

    let say = method(&gateway, SAY);
    assert_eq!((say.started, statuses(&say)), (2, vec![("OK", 1), ("CANCELLED", 1)]));
    assert_eq!((say.by_status[0].sent_bytes.sum, say.by_status[0].received_bytes.sum), (5.0, 5.0));
    assert_eq!(say.overhead.count(), 1);
    let errors = gateway.window().calls.local_errors();
    assert_eq!(errors, [("cancelled", "CANCELLED", 1), ("unknown_service", "UNIMPLEMENTED", 1)]);
}

/// Longer than the gateway itself ever takes over a call.
const SLOW: Duration = Duration::from_millis(300);

async fn slowly() {
    let since = Instant::now();
    until("who is slow to go on", async || since.elapsed() >= SLOW).await;
}

/// The one call of the gateway took so many times [`SLOW`], and the gateway next to nothing of that.
async fn only_others_were_slow(gateway: &Gateway, times: u32) {
    ended(gateway, 1).await;
    let say = method(gateway, SAY);
    assert_eq!((statuses(&say), say.overhead.count()), (vec![("OK", 1)], 1));
    // Who was slow began to be so a moment before the gateway knew of the call.
    let most = SLOW.as_secs_f64() / 2.0;
    let took = say.by_status[0].duration.sum;
    assert!(took >= (times * SLOW).as_secs_f64() - most, "{took}");
    assert!(say.overhead.sum > 0.0 && say.overhead.sum < most, "{:?}", say.overhead);
}

#[tokio::test]
async fn the_time_of_the_service_is_no_overhead() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    let request = peer.request().await;
    slowly().await;
    peer.answer(ok(&request, "hi")).await;
    call.message().await;
    call.succeeds().await;
    only_others_were_slow(&gateway, 1).await;
}

#[tokio::test]
async fn the_time_until_a_caller_has_spoken_is_no_overhead() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = caller.call("/demo.Echo/Say").await;
    slowly().await;
    let message = frame(0, b"hello");
    call.send_raw(&message[..7], false).await;
    slowly().await;
    call.send_raw(&message[7..], true).await;
    peer.echo().await;
    call.message().await;
    call.succeeds().await;
    only_others_were_slow(&gateway, 2).await;
}

#[tokio::test]
async fn the_time_until_a_caller_has_said_all_is_no_overhead_where_the_peer_takes_whole_calls() {
    let gateway = Gateway::start();
    let mut peer = gateway.plain_peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = caller.call("/demo.Echo/Say").await;
    call.send("hi").await;
    slowly().await;
    call.half_close();
    peer.echo().await;
    call.message().await;
    call.succeeds().await;
    only_others_were_slow(&gateway, 1).await;
}

#[tokio::test]
async fn the_time_until_a_caller_takes_its_answer_is_no_overhead() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = Caller::connect_narrow(gateway.address(), 100).await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    let request = peer.request().await;
    peer.answer(ok(&request, "x".repeat(1_000))).await;
    slowly().await;
    call.message().await;
    call.succeeds().await;
    only_others_were_slow(&gateway, 1).await;
}

#[tokio::test]
async fn the_time_until_a_calling_peer_has_room_for_its_answers_is_no_overhead() {
    const CALLS: u64 = 6;
    let queues = json!({ "tunnel_queue_bytes_max": "4KiB", "call_queue_bytes_max": "4KiB" });
    let gateway = Gateway::with(json!({ "limits": queues }));
    let mut peer = gateway.peer("demo.Echo").await;
    let mut calling = Peer::dial_narrow(gateway.address(), 100).await;
    calling.register(KEY, &["demo.Calling"], &[]).await;
    calling.connected().await;
    for number in 0..CALLS {
        let request = adit::grpc::proto::ForwardRequest {
            request_id: number.to_string(),
            method_path: "/demo.Echo/Say".to_owned(),
            ..Default::default()
        };
        calling.send(adit::grpc::proto::connection_message::MessageType::Request(request)).await;
        let request = peer.request().await;
        peer.answer(ok(&request, "x".repeat(3_000))).await;
    }
    slowly().await;
    for _ in 0..CALLS {
        assert_eq!(calling.response().await.payload.len(), 3_000);
    }
    ended(&gateway, CALLS).await;
    let say = method(&gateway, SAY);
    let took = say.by_status[0].duration.sum;
    assert!(took >= SLOW.as_secs_f64(), "some have waited: {took}");
    assert!(say.overhead.sum < SLOW.as_secs_f64() / 2.0, "{:?}", say.overhead);
}

#[tokio::test]
async fn the_time_until_there_is_a_tunnel_is_no_overhead() {
    let gateway = Gateway::with(json!({
        "keys": [key("tests", KEY, json!({ "register": ["demo.Echo"] }))],
        "routing": { "wait_for_tunnel": "20s" },
    }));
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    slowly().await;
    let mut peer = gateway.peer("demo.Echo").await;
    peer.echo().await;
    call.message().await;
    call.succeeds().await;
    only_others_were_slow(&gateway, 1).await;
}

#[tokio::test]
async fn a_name_that_a_key_writes_out_is_counted_before_anybody_has_registered_it() {
    let gateway = Gateway::with(json!({
        "callers": { "require_key": false },
        "keys": [key("tests", KEY, json!({ "register": ["demo.Later", "demo.any.*"] }))],
    }));
    let caller = gateway.caller().await;
    fails(&caller, "/demo.Later/Say", "no_tunnel").await;
    ended(&gateway, 1).await;
    assert_eq!(method(&gateway, "demo.Later/Say").started, 1);
    assert_eq!(service(&gateway, "demo.Later").by_reason, [("no_tunnel", 1)]);
}

#[tokio::test]
async fn made_up_names_stay_within_the_room() {
    let gateway = Gateway::with(json!({ "metrics": { "series_max": 1000 } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    for number in 0..200 {
        fails(&caller, &format!("/demo.Made{number}/Say"), "unknown_service").await;
        let mut call = call_whole(&caller, &format!("/demo.Echo/Made{number}"), "").await;
        let request = peer.request().await;
        peer.answer(error(&request, 12, "")).await;
        call.end().await;
    }
    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    peer.echo().await;
    call.message().await;
    call.succeeds().await;
    ended(&gateway, 401).await;
    let all = gateway.window().calls.methods();
    let lines: usize = all.iter().map(|method| method.by_status.len() * 44).sum();
    assert!(lines <= 1000, "{lines} lines");
    assert_eq!(all.iter().map(|method| method.started).sum::<u64>(), 401);
    assert_eq!(method(&gateway, SAY).started, 1);
}

#[tokio::test]
async fn the_gateways_own_services_are_no_calls() {
    let gateway = Gateway::start();
    gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/grpc.health.v1.Health/Check", "").await;
    call.message().await;
    call.succeeds().await;
    assert_eq!(gateway.window().calls.totals().started, 0);
}
