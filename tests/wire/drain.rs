//! Asked to stop, the gateway lets calls in flight finish.

use adit::app::Ended;
use adit::grpc::proto::connection_message::MessageType;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Gateway, Peer, call_whole, ok, soon, until};

#[tokio::test]
async fn an_idle_gateway_stops_at_once() {
    let gateway = Gateway::start();
    gateway.ask_to_stop();
    assert_eq!(gateway.ended().await, Ended::Drained);
}

#[tokio::test]
async fn calls_in_flight_finish_and_new_ones_are_refused() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let address = gateway.address();

    let mut call = call_whole(&caller, "/demo.Echo/Say", "finish me").await;
    let request = peer.request().await;
    gateway.ask_to_stop();
    // New connections are not taken once the drain has begun.
    until("the listener to close", || async { TcpStream::connect(address).await.is_err() }).await;
    peer.answer(ok(&request, "finished")).await;
    assert_eq!(call.message().await, "finished");
    call.succeeds().await;
    peer.ends(14, "draining").await;
    assert_eq!(gateway.ended().await, Ended::Drained);
}

#[tokio::test]
async fn a_call_that_outlives_the_grace_is_ended() {
    let gateway = Gateway::with(json!({ "drain": { "grace": "50ms" } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    peer.request().await;
    gateway.ask_to_stop();
    assert_eq!(call.end().await.code, "14");
    assert_eq!(gateway.ended().await, Ended::GraceOver);
}

#[tokio::test]
async fn a_second_request_to_stop_does_not_wait() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let _call = call_whole(&caller, "/demo.Echo/Say", "").await;
    peer.request().await;
    gateway.ask_to_stop();
    gateway.ask_to_stop();
    assert_eq!(gateway.ended().await, Ended::Forced);
}

#[tokio::test]
async fn a_peer_that_takes_drain_is_asked_to_leave_and_finishes_its_calls() {
    let gateway = Gateway::with(json!({ "drain": { "grace": "20s" } }));
    let mut peer = gateway.peer_with(&["demo.Echo"], &["stream", "cancel", "drain"]).await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    gateway.ask_to_stop();
    let MessageType::Drain(drain) = peer.receive().await else { panic!("a drain") };
    assert_eq!(drain.grace_seconds, 20);
    peer.answer(ok(&request, "finished")).await;
    assert_eq!(call.message().await, "finished");
    call.succeeds().await;
    peer.ends(14, "draining").await;
    assert_eq!(gateway.ended().await, Ended::Drained);
}

#[tokio::test]
async fn a_tunnel_without_calls_ends_while_those_of_another_go_on() {
    let gateway = Gateway::start();
    let mut busy = gateway.peer("demo.Echo").await;
    let mut idle = gateway.peer("demo.Idle").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = busy.request().await;
    gateway.ask_to_stop();
    idle.ends(14, "draining").await;
    busy.answer(ok(&request, "finished")).await;
    assert_eq!(call.message().await, "finished");
    busy.ends(14, "draining").await;
}

#[tokio::test]
async fn a_peer_is_cancelled_before_its_tunnel_is_cut() {
    let gateway = Gateway::with(json!({ "drain": { "grace": "50ms" } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    gateway.ask_to_stop();
    assert_eq!(peer.cancel().await.request_id, request.request_id);
    peer.ends(14, "draining").await;
    call.fails(14, "tunnel_lost").await;
}

#[tokio::test]
async fn a_drain_reaches_a_peer_that_is_behind_with_its_data() {
    let gateway = Gateway::start();
    let mut peer = Peer::dial_narrow(gateway.address(), 64 * 1024).await;
    peer.register(crate::support::KEY, &["demo.Echo"], &["stream", "cancel", "drain"]).await;
    peer.connected().await;
    let caller = gateway.caller().await;
    let mut calls = Vec::new();
    for _ in 0..60 {
        calls.push(call_whole(&caller, "/demo.Echo/Say", vec![0; 60_000]).await);
    }
    let first = peer.receive().await;
    assert!(matches!(first, MessageType::Request(_)));
    let address = gateway.address();
    gateway.ask_to_stop();
    until("the listener to close", async || TcpStream::connect(address).await.is_err()).await;
    // What is on its way already comes first; of the rest of the queue little does.
    let mut before = 1;
    while !matches!(peer.receive().await, MessageType::Drain(_)) {
        before += 1;
    }
    assert!(before < 30, "{before} frames went before it");
}

#[tokio::test]
async fn a_peer_without_a_call_is_told_that_the_gateway_drains() {
    let gateway = Gateway::start();
    let mut peer: Peer = gateway.peer("demo.Echo").await;
    gateway.ask_to_stop();
    peer.ends(14, "draining").await;
}

#[tokio::test]
async fn calls_that_have_not_begun_do_not_hold_up_a_drain_and_are_told_that_they_did_not_run() {
    let gateway = Gateway::with(json!({ "drain": { "grace": "1h" } }));
    let mut peer = gateway.peer_with(&["demo.Echo"], &["stream", "cancel", "drain"]).await;
    let plain = gateway.plain_peer("demo.Plain").await;
    let caller = gateway.caller().await;
    let mut silent = caller.call("/demo.Echo/Say").await;
    let mut half = caller.call("/demo.Echo/Say").await;
    half.send_raw(b"\0\0\0\0\x05he", false).await;
    let mut gathering = caller.call("/demo.Plain/Say").await;
    gathering.send("one").await;
    // All have been admitted once a later call of the connection has been carried.
    let mut last = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    gateway.ask_to_stop();
    for call in [&mut silent, &mut half, &mut gathering] {
        call.fails(14, "draining").await;
    }
    assert!(matches!(peer.receive().await, MessageType::Drain(_)));
    peer.answer(ok(&request, "finished")).await;
    assert_eq!(last.message().await, "finished");
    last.succeeds().await;
    peer.ends(14, "draining").await;
    drop(plain);
    assert_eq!(gateway.ended().await, Ended::Drained);
}

#[tokio::test]
async fn a_caller_is_told_to_go_elsewhere_while_its_call_finishes() {
    // Types of frames and a flag (RFC 9113 section 6).
    let (settings, goaway, ack) = (4, 7, 1);
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let mut call = call_whole(&gateway.caller().await, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = async || {
        let mut head = [0; 9];
        soon("a frame", socket.read_exact(&mut head)).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        soon("its payload", socket.read_exact(&mut payload)).await.unwrap();
        ((head[3], head[4]), payload)
    };
    while frame().await.0 != (settings, ack) {}
    gateway.ask_to_stop();
    let said = loop {
        let ((kind, _), payload) = frame().await;
        if kind == goaway {
            break payload;
        }
    };
    // All streams that there are may finish (RFC 9113 section 6.8), and nothing was wrong.
    assert_eq!(said[..8], [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    peer.answer(ok(&request, "finished")).await;
    assert_eq!(call.message().await, "finished");
    call.succeeds().await;
}
