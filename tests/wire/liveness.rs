//! Silence makes a tunnel late, then dead; anything it says keeps it alive.

use adit::grpc::proto::connection_message::MessageType;
use serde_json::{Value, json};

use crate::support::{Gateway, call_whole, until};

fn impatient() -> Value {
    json!({ "heartbeat": { "interval": "100ms", "late_after": "200ms", "dead_after": "400ms" } })
}

#[tokio::test]
async fn a_silent_tunnel_is_closed_and_its_calls_end_at_once() {
    let gateway = Gateway::with(impatient());
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    call.fails(14, "tunnel_lost").await;
    // Heartbeats into the silence come before the end, and a cancel of what was still running.
    let mut cancelled = Vec::new();
    while let Some(frame) = peer.try_receive().await {
        match frame {
            MessageType::Cancel(cancel) => cancelled.push(cancel.request_id),
            other => assert!(matches!(other, MessageType::Heartbeat(_)), "{other:?}"),
        }
    }
    assert_eq!(cancelled, [request.request_id]);
    peer.ends(4, "heartbeat_timeout").await;
}

#[tokio::test]
async fn a_late_tunnel_gets_no_new_calls_and_recovers_with_any_frame() {
    let gateway = Gateway::with(json!({ "heartbeat": {
        "interval": "100ms", "late_after": "200ms", "dead_after": "1h"
    } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let probe = || async {
        let mut probe = caller.call_headers("/demo.Echo/Say", &[("grpc-timeout", "50m")]).await;
        probe.send_last("").await;
        probe.end().await.reason.unwrap()
    };
    until("the tunnel to be late", || async { probe().await == "no_tunnel" }).await;
    for timestamp in [0, -1, i64::MAX] {
        peer.beat(timestamp).await;
    }
    until("the tunnel to be chosen again", || async { probe().await == "deadline" }).await;
}

#[tokio::test]
async fn the_gateway_says_something_into_a_quiet_tunnel() {
    let gateway = Gateway::with(json!({ "heartbeat": {
        "interval": "50ms", "late_after": "1h", "dead_after": "2h"
    } }));
    let mut peer = gateway.peer("demo.Echo").await;
    for _ in 0..3 {
        assert_eq!(peer.heartbeat().await.connection_id, peer.id);
    }
}

#[tokio::test]
async fn a_connection_that_answers_no_ping_is_dead() {
    let gateway = Gateway::with(json!({ "keepalive": { "interval": "50ms", "timeout": "100ms" } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    peer.request().await;
    // From here on nobody reads the peer's socket: a black hole, as the gateway sees it.
    peer.freeze();
    call.fails(14, "tunnel_lost").await;
}
