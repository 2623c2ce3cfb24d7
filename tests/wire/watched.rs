//! What can be seen of tunnels from inside the gateway, against what their peers have counted themselves.

use std::time::Duration;

use adit::grpc::proto::connection_message::MessageType;
use adit::grpc::proto::connection_status::Status;
use adit::grpc::proto::{Cancel, ConnectionStatus, ForwardRequest, StreamingInfo};
use adit::observe::tunnels::{
    ClosedTunnel, FrameSeen, OpenOrClosed, ServiceTunnels, TunnelSnapshot,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::stream::Connection;
use crate::support::{Counted, Gateway, KEY, Peer, call_whole, key, ok, stream_end, until};

const SAY: &str = "/demo.Echo/Say";

#[tokio::test]
async fn every_frame_and_byte_of_a_tunnel_is_counted() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    for text in ["", "a", &"b".repeat(5_000), &"c".repeat(100_000)] {
        let mut call = call_whole(&caller, SAY, text).await;
        peer.echo().await;
        assert_eq!(call.message().await, *text);
        call.succeeds().await;
    }
    peer.beat(1).await;
    peer.send_bytes(b"\xff no frame").await;
    let mut call = caller.call(SAY).await;
    call.send("one").await;
    let request = peer.request().await;
    call.send_last("two").await;
    peer.request().await;
    peer.request().await;
    peer.answer(stream_end(&request)).await;
    call.succeeds().await;
    peer.send(own_call("mine", "/demo.Echo/Say")).await;
    let to_itself = peer.request().await;
    peer.answer(ok(&to_itself, "to myself")).await;
    assert_eq!(peer.response().await.payload, "to myself");

    is_told(&gateway, &peer).await;
    let tunnel = open(&gateway, &peer);
    let calls = (tunnel.calls_started, tunnel.calls_in_flight, tunnel.own_calls_in_flight);
    assert_eq!(calls, (6, 0, 0));
    assert_eq!(
        (tunnel.dialect, tunnel.key_id.as_str(), tunnel.queued_bytes),
        ("extended", "tests", 0)
    );
    assert_eq!(tunnel.services, ["demo.Echo"]);
    assert_eq!(tunnel.features, ["stream", "cancel", "headers", "compression"]);
    let row = row(&gateway, "demo.Echo");
    assert_eq!((row.ready, row.connects, row.handshake.count()), (1, 1, 1));
    let (received, sent) = (peer.received, peer.sent);
    assert_eq!((row.bytes_in, row.bytes_out), (sent.bytes, received.bytes));
    let mut frames = row.frames.clone();
    frames.sort_unstable();
    assert_eq!(
        frames,
        [
            ("heartbeat", true, 1),
            ("register", true, 1),
            ("request", false, 8),
            ("request", true, 1),
            ("response", false, 1),
            ("response", true, 6),
            ("status", false, 1),
            ("unknown", true, 1),
        ]
    );
}

#[tokio::test]
async fn the_last_frames_are_told_by_their_headers() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, SAY, "hi").await;
    let request = peer.request().await;
    peer.answer(ok(&request, "hi")).await;
    call.message().await;
    peer.send(own_call("made-up-by-the-peer", "/nobody.Knows/It")).await;
    peer.response().await;
    let request_id = "also made up".to_owned();
    peer.send(MessageType::Cancel(Cancel { request_id, ..Cancel::default() })).await;

    is_told(&gateway, &peer).await;
    let frames = frames(&gateway, &peer);
    let told: Vec<_> = frames
        .iter()
        .map(|frame| (frame.inbound, frame.kind, frame.request_id.as_deref()))
        .collect();
    let id = Some(&*request.request_id);
    let mine = Some("made-up-by-the-peer");
    assert_eq!(
        told,
        [
            (true, "register", None),
            (false, "status", None),
            (false, "request", id),
            (true, "response", id),
            (true, "request", mine),
            (false, "response", mine),
            (true, "cancel", Some("also made up")),
        ]
    );
    assert!(frames.windows(2).all(|pair| pair[0].at <= pair[1].at));
    let bytes = |inbound| frames.iter().filter(|f| f.inbound == inbound).map(|f| f.bytes).sum();
    assert_eq!((peer.sent.bytes, peer.received.bytes), (bytes(true), bytes(false)));

    for _ in 0..100 {
        peer.beat(1).await;
    }
    is_told(&gateway, &peer).await;
    let frames = self::frames(&gateway, &peer);
    assert_eq!(frames.len(), 64);
    assert!(frames.iter().all(|frame| frame.kind == "heartbeat"));
}

#[tokio::test]
async fn calls_in_flight_and_what_waits_for_the_peer_are_told() {
    let gateway = Gateway::start();
    // Room for the CONNECTED, and not for a large frame.
    let mut peer = Peer::dial_narrow(gateway.address(), 1_000).await;
    peer.register(KEY, &["demo.Echo"], &["stream"]).await;
    peer.connected().await;
    assert_eq!(open(&gateway, &peer).queued_bytes, 0);
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, SAY, &"x".repeat(50_000)).await;
    until("the writer to wait", async || {
        let tunnel = open(&gateway, &peer);
        tunnel.stalled > Duration::from_millis(1) && tunnel.queued_bytes > 0
    })
    .await;
    let tunnel = open(&gateway, &peer);
    assert_eq!((tunnel.calls_in_flight, tunnel.calls_started), (1, 1));
    assert_eq!((tunnel.queued_bytes, row(&gateway, "demo.Echo").queued_bytes), (50_256, 50_256));

    peer.echo().await;
    call.message().await;
    call.succeeds().await;
    until("the slot to be free", async || open(&gateway, &peer).calls_in_flight == 0).await;
    let tunnel = open(&gateway, &peer);
    assert_eq!(tunnel.queued_bytes, 0);
    assert_eq!(open(&gateway, &peer).stalled, tunnel.stalled, "nobody waits any more");
    assert!(row(&gateway, "demo.Echo").stalled_seconds >= 0.001);
}

#[tokio::test]
async fn the_calls_that_a_peer_makes_are_told() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    peer.send(own_call("mine", SAY)).await;
    let request = peer.request().await;
    assert_eq!(open(&gateway, &peer).own_calls_in_flight, 1);
    peer.answer(ok(&request, "done")).await;
    peer.response().await;
    until("it to end", async || open(&gateway, &peer).own_calls_in_flight == 0).await;
}

#[tokio::test]
async fn the_round_trip_is_measured_at_once_and_again() {
    let gateway = Gateway::with(json!({ "keepalive": { "interval": "30ms", "timeout": "1m" } }));
    let peer = gateway.peer("demo.Echo").await;
    until("a round trip", async || open(&gateway, &peer).round_trip.is_some()).await;
    until("more of them", async || row(&gateway, "demo.Echo").round_trip.count() >= 3).await;
    let gateway = Gateway::start();
    let peer = gateway.plain_peer("demo.Echo").await;
    until("one without an interval", async || open(&gateway, &peer).round_trip.is_some()).await;
    assert_eq!(open(&gateway, &peer).dialect, "plain");
}

// === How it stands ===

#[tokio::test]
async fn a_tunnel_is_ready_late_and_draining_as_its_peer_behaves() {
    let gateway = Gateway::with(json!({ "heartbeat": {
        "interval": "200ms", "late_after": "500ms", "dead_after": "1h"
    } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let stands = async |peer: &Peer, state| {
        until(state, async || open(&gateway, peer).state == state).await;
    };
    let counts = async |state, counts| {
        until(state, async || {
            let row = row(&gateway, "demo.Echo");
            (row.ready, row.late, row.draining) == counts
        })
        .await;
    };
    stands(&peer, "ready").await;
    stands(&peer, "late").await;
    counts("late", (0, 1, 0)).await;
    assert!(open(&gateway, &peer).last_heard >= Duration::from_millis(500));
    peer.beat(1).await;
    stands(&peer, "ready").await;
    peer.beat(1).await;
    counts("ready", (1, 0, 0)).await;
    let goodbye = ConnectionStatus { status: Status::Disconnected.into(), ..Default::default() };
    peer.send(MessageType::Status(goodbye)).await;
    stands(&peer, "draining").await;
    counts("draining", (0, 0, 1)).await;
    peer.half_close();
    assert_eq!(closed(&gateway, &peer).await.reason, "peer_left");
}

#[tokio::test]
async fn a_gateway_that_drains_shows_its_tunnels_draining() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer_with(&["demo.Echo"], &["drain"]).await;
    let window = gateway.window();
    gateway.ask_to_stop();
    while !matches!(peer.receive().await, MessageType::Drain(_)) {}
    assert_eq!(open(&gateway, &peer).state, "draining");
    peer.ends(14, "draining").await;
    gateway.ended().await;
    assert_eq!(window.tunnels.disconnects(), [("draining", 1)]);
    let frames = (window.tunnels.closed()[0].tunnel.frames_out, peer.received.frames);
    assert_eq!(frames.0, frames.1);
}

// === How it ends ===

#[tokio::test]
async fn a_closed_tunnel_keeps_its_numbers_and_its_reason() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    peer.beat(1).await;
    peer.half_close();
    let closed = closed(&gateway, &peer).await;
    assert_eq!((closed.reason, closed.detail.as_str()), ("peer_left", "the peer left"));
    assert_eq!(counted(&closed.tunnel), (peer.sent, peer.received));
    assert!(closed.closed_at >= closed.tunnel.opened_at);
    assert!(gateway.window().tunnels.open().is_empty());
    let kinds: Vec<_> = frames(&gateway, &peer).iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, ["register", "status", "heartbeat"]);
    let row = row(&gateway, "demo.Echo");
    assert_eq!((row.ready, row.connects, row.bytes_in), (0, 1, peer.sent.bytes));
}

#[tokio::test]
async fn a_peer_that_resets_has_left_and_one_whose_connection_broke_was_lost() {
    let gateway = Gateway::start();
    let mut resets = gateway.peer("demo.Echo").await;
    resets.reset();
    assert_eq!(closed(&gateway, &resets).await.reason, "peer_left");
    let lost = gateway.peer("demo.Echo").await;
    let id = lost.id.clone();
    drop(lost);
    assert_eq!(closed_by_id(&gateway, &id).await.reason, "connection_reset");
}

#[tokio::test]
async fn silence_bad_frames_and_a_dead_connection_are_told_apart() {
    let gateway = Gateway::with(json!({ "heartbeat": {
        "interval": "50ms", "late_after": "100ms", "dead_after": "200ms"
    } }));
    let silent = gateway.peer("demo.Echo").await;
    assert_eq!(closed(&gateway, &silent).await.reason, "heartbeat_timeout");

    let gateway = Gateway::with(json!({ "keepalive": { "interval": "50ms", "timeout": "100ms" } }));
    let mut wrong = gateway.peer("demo.Echo").await;
    for _ in 0..=100 {
        wrong.send_bytes(b"\xff").await;
    }
    assert_eq!(closed(&gateway, &wrong).await.reason, "protocol");
    let mut twice = gateway.peer("demo.Echo").await;
    twice.register(KEY, &[], &[]).await;
    assert_eq!(closed(&gateway, &twice).await.reason, "protocol");
    let frozen = gateway.peer("demo.Echo").await;
    frozen.freeze();
    assert_eq!(closed(&gateway, &frozen).await.reason, "connection_timed_out");
    let mut disconnects = gateway.window().tunnels.disconnects();
    disconnects.sort_unstable();
    assert_eq!(disconnects, [("connection_timed_out", 1), ("protocol", 2)]);
}

#[tokio::test]
async fn a_key_that_is_taken_away_is_told() {
    let gateway = Gateway::start();
    let peer = gateway.peer("demo.Echo").await;
    let other = key("another", "another-key-0123456789-0123456789-0123456789", json!({}));
    gateway.reload(json!({ "keys": [other] })).await;
    assert_eq!(closed(&gateway, &peer).await.reason, "auth_revoked");
}

#[tokio::test]
async fn refusals_are_counted_by_their_reason() {
    let gateway = Gateway::with(json!({ "limits": { "tunnels_per_service_max": 1 } }));
    let _peer = gateway.peer("demo.Echo").await;
    let connection = Connection::open(gateway.address(), None).await;
    for (key, service, code, reason) in [
        ("a-wrong-key-0123456789-0123456789-0123456789", "demo.Echo", 16, "bad_credentials"),
        (KEY, "registry.Mine", 7, "scope"),
        (KEY, "demo.Echo", 8, "tunnel_limit"),
    ] {
        let mut refused = Peer::dial_on(&connection, gateway.address()).await;
        refused.register(key, &[service], &[]).await;
        refused.ends(code, reason).await;
    }
    until("all to be counted", async || gateway.window().tunnels.connects().len() == 4).await;
    let mut connects = gateway.window().tunnels.connects();
    connects.sort_unstable();
    let expected = [("bad_credentials", 1), ("ok", 1), ("scope", 1), ("tunnel_limit", 1)];
    assert_eq!(connects, expected);
    // It had registered, so there was a tunnel for a moment, but never a connected one.
    let closed: Vec<_> = gateway.window().tunnels.closed();
    assert_eq!(closed.iter().map(|it| it.reason).collect::<Vec<_>>(), ["tunnel_limit"]);
    assert!(gateway.window().tunnels.disconnects().is_empty());
}

// === Looking ===

/// All that was said has been counted.
async fn is_told(gateway: &Gateway, peer: &Peer) {
    until("all frames to be counted", async || open(gateway, peer).frames_in >= peer.sent.frames)
        .await;
    assert_eq!(counted(&open(gateway, peer)), (peer.sent, peer.received));
}

fn counted(tunnel: &TunnelSnapshot) -> (Counted, Counted) {
    (
        Counted { frames: tunnel.frames_in, bytes: tunnel.bytes_in },
        Counted { frames: tunnel.frames_out, bytes: tunnel.bytes_out },
    )
}

fn open(gateway: &Gateway, peer: &Peer) -> TunnelSnapshot {
    let open = gateway.window().tunnels.open();
    open.into_iter().find(|tunnel| tunnel.id == peer.id).expect("the tunnel is open")
}

async fn closed(gateway: &Gateway, peer: &Peer) -> ClosedTunnel {
    closed_by_id(gateway, &peer.id).await
}

async fn closed_by_id(gateway: &Gateway, id: &str) -> ClosedTunnel {
    let tunnels = gateway.window().tunnels;
    let find = || tunnels.closed().into_iter().find(|closed| closed.tunnel.id == id);
    until("the tunnel to be closed", async || find().is_some()).await;
    find().unwrap()
}

fn frames(gateway: &Gateway, peer: &Peer) -> Vec<FrameSeen> {
    let one = gateway.window().tunnels.one(Uuid::parse_str(&peer.id).unwrap().as_u128()).unwrap();
    let id = match one.tunnel {
        OpenOrClosed::Open(tunnel) => tunnel.id,
        OpenOrClosed::Closed(closed) => closed.tunnel.id,
    };
    assert_eq!(id, peer.id);
    one.frames
}

fn row(gateway: &Gateway, service: &str) -> ServiceTunnels {
    let rows = gateway.window().tunnels.by_service();
    rows.into_iter().find(|row| row.service == service).expect("the service has a row")
}

fn own_call(id: &str, path: &str) -> MessageType {
    MessageType::Request(ForwardRequest {
        request_id: id.to_owned(),
        method_path: path.to_owned(),
        payload: "to myself".into(),
        streaming_info: Some(StreamingInfo { is_stream_end: true, ..StreamingInfo::default() }),
        ..ForwardRequest::default()
    })
}
