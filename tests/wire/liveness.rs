//! Silence makes a tunnel late, then dead; anything it says keeps it alive.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adit::grpc::proto::connection_message::MessageType;
use adit::grpc::proto::{ConnectionStatus, EventMessage, ForwardResponse, Heartbeat};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Gateway, KEY, Peer, call_whole, ok, until};

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
    let in_ten_years =
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 315_576_000;
    let times = [0, -1, i64::MIN, i64::MAX, i64::try_from(in_ten_years).unwrap()];
    let beat = |timestamp| Heartbeat { timestamp, connection_id: "made up".to_owned() };
    let heartbeats = times.map(|timestamp| MessageType::Heartbeat(beat(timestamp)));
    let others = [
        MessageType::Response(ForwardResponse::default()),
        MessageType::Status(ConnectionStatus::default()),
        MessageType::Event(EventMessage::default()),
    ];
    for frame in heartbeats.into_iter().chain(others) {
        until("the tunnel to be late", || async { probe().await == "no_tunnel" }).await;
        peer.send(frame).await;
        until("the tunnel to be chosen again", || async { probe().await == "deadline" }).await;
    }
}

#[tokio::test]
async fn heartbeats_by_the_thousand_end_the_tunnel_and_what_a_stall_held_back_does_not() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    for _ in 0..100 {
        peer.beat(0).await;
    }
    let mut call = call_whole(&caller, "/demo.Echo/Say", "alive").await;
    peer.echo().await;
    assert_eq!(call.message().await, "alive");

    for _ in 0..10_000 {
        peer.beat(0).await;
    }
    peer.ends(8, "rate_limited").await;
}

/// A path that carries nothing any more, of which neither side hears: the peer dials again.
///
/// Nothing tells the gateway that both are one peer. On the worker of the half-open tunnel, the new
/// one on another worker has to be clearly less busy before it is chosen, so a few calls are lost.
#[tokio::test]
async fn a_peer_that_dials_again_is_called_at_once_and_its_half_open_tunnel_goes() {
    let gateway = Gateway::with(json!({
        "heartbeat": { "interval": "100ms", "late_after": "5s", "dead_after": "6s" },
        "limits": { "tunnels_per_service_max": 2 },
    }));
    let mut old = gateway.peer("demo.Echo").await;
    let (caller, near_the_old_one) = (gateway.caller().await, gateway.caller().await);
    let mut lost = call_whole(&caller, "/demo.Echo/Say", "").await;
    old.request().await;
    old.freeze();

    let mut new = gateway.peer("demo.Echo").await;
    assert_ne!(new.id, old.id);
    let mut third = Peer::dial(gateway.address()).await;
    third.register(KEY, &["demo.Echo"], &[]).await;
    third.ends(8, "tunnel_limit").await;

    let serving = tokio::spawn(async move {
        // Its answers are all that keeps the new tunnel alive.
        while let Some(frame) = new.try_receive().await {
            if let MessageType::Request(request) = frame {
                new.answer(ok(&request, "at once")).await;
            }
        }
    });
    // This one's worker has the new tunnel.
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    assert_eq!(call.message().await, "at once");
    let mut waiting = Vec::new();
    let calls = async {
        loop {
            let mut call = call_whole(&near_the_old_one, "/demo.Echo/Say", "").await;
            let mut answered = tokio::spawn(async move {
                let answered = call.next().await.is_some();
                if !answered {
                    call.fails(14, "tunnel_lost").await;
                }
                answered
            });
            if timeout(Duration::from_millis(100), &mut answered).await.is_err() {
                waiting.push(answered);
            }
        }
    };
    tokio::select! {
        () = calls => {}
        () = lost.fails(14, "tunnel_lost") => {}
    }
    // The old one has one call, and is left when it has more than twice those of the new one and 8.
    // Of the new one's the last may still be counted, and those answered late on a busy machine.
    let (mut gone, mut late) = (0, 0);
    for answered in waiting {
        if answered.await.unwrap() { late += 1 } else { gone += 1 }
    }
    assert!(
        gone <= 8 + 2 * (1 + late),
        "{gone} more calls waited in the half-open tunnel, {late} late"
    );
    // It is counted no more.
    gateway.peer("demo.Echo").await;
    serving.abort();
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
