//! Who may open a tunnel, and what happens on it besides calls.

use std::time::{Duration, Instant};

use adit::grpc::proto::connection_message::MessageType;
use adit::grpc::proto::connection_status::Status;
use adit::grpc::proto::registry_service_client::RegistryServiceClient;
use adit::grpc::proto::{
    ConnectionRegister, EventMessage, Heartbeat, RegisterRequest, SubscriptionRequest,
};
use serde_json::json;

use crate::support::stream::Connection;
use crate::support::{Gateway, KEY, Peer, call_whole};

#[tokio::test]
async fn a_peer_is_told_its_id_and_what_it_is_granted() {
    let gateway = Gateway::start();
    let mut peer = Peer::dial(gateway.address()).await;
    peer.register(KEY, &["demo.Echo"], &["stream", "teleport", "cancel"]).await;
    let status = peer.connected().await;
    assert_eq!(status.message, "Successfully registered");
    assert_eq!(status.features, ["stream", "cancel"]);
    assert_eq!(status.workers, 2);
    let id = uuid::Uuid::parse_str(&status.connection_id).unwrap();
    assert_eq!(id.get_version_num(), 4, "not the id that the peer made up");
}

#[tokio::test]
async fn a_plain_peer_sees_nothing_new() {
    let gateway = Gateway::start();
    let mut peer = Peer::dial(gateway.address()).await;
    peer.register(KEY, &["demo.Echo"], &[]).await;
    let status = peer.connected().await;
    assert!(status.features.is_empty());
    assert_eq!(status.workers, 0);
}

#[tokio::test]
async fn too_many_wrong_keys_are_answered_late_and_a_right_one_is_not() {
    let delay = Duration::from_millis(300);
    let gateway = Gateway::with(json!({ "limits": {
        "bad_keys_per_minute_max": 2, "bad_key_delay": "300ms",
    } }));
    let mut waited = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        let mut peer = Peer::dial(gateway.address()).await;
        peer.register("wrong", &["demo.Echo"], &[]).await;
        peer.ends(16, "bad_credentials").await;
        waited.push(begun.elapsed());
    }
    // Only the lower bound says something about the gateway; the upper one about the machine.
    assert!(waited[2] >= delay, "{waited:?}");
    gateway.peer("demo.Echo").await;
}

#[tokio::test]
async fn a_first_frame_that_is_far_too_large_ends_the_stream_before_it_has_come() {
    let gateway = Gateway::start();
    let mut peer = Peer::dial(gateway.address()).await;
    let announced = 2 * 1024 * 1024 + 1_u32;
    peer.send_raw(&[&[0], &announced.to_be_bytes()[..]].concat()).await;
    peer.ends(8, "message_too_large").await;
}

#[tokio::test]
async fn every_bad_key_gets_the_same_answer() {
    let gateway = Gateway::start();
    let big = "k".repeat(1024 * 1024);
    let with_newline = format!("{KEY}\n");
    let mut messages = std::collections::BTreeSet::new();
    for key in ["", "wrong", &big, &with_newline] {
        let mut peer = Peer::dial(gateway.address()).await;
        peer.register(key, &["demo.Echo"], &[]).await;
        let trailers = peer.end().await;
        assert_eq!(trailers["grpc-status"], "16");
        assert_eq!(trailers["x-gateway-error"], "bad_credentials");
        messages.insert(trailers["grpc-message"].to_str().unwrap().to_owned());
    }
    // A key that is not even text: register { api_key: "\xff" }.
    let mut peer = Peer::dial(gateway.address()).await;
    peer.send_bytes(&[0x0a, 0x03, 0x0a, 0x01, 0xff]).await;
    let trailers = peer.end().await;
    messages.insert(trailers["grpc-message"].to_str().unwrap().to_owned());
    assert_eq!(messages.len(), 1, "{messages:?}");
}

#[tokio::test]
async fn a_peer_that_does_not_register_is_sent_away() {
    let gateway = Gateway::with(json!({ "limits": { "register_timeout": "50ms" } }));
    let mut peer = Peer::dial(gateway.address()).await;
    peer.ends(4, "register_timeout").await;
}

#[tokio::test]
async fn the_first_frame_must_be_register() {
    let gateway = Gateway::start();
    for first in [
        MessageType::Heartbeat(Heartbeat::default()),
        MessageType::Response(adit::grpc::proto::ForwardResponse::default()),
        MessageType::Event(EventMessage::default()),
    ] {
        let mut peer = Peer::dial(gateway.address()).await;
        peer.send(first).await;
        peer.ends(3, "register_first").await;
    }
    // An empty oneof, and a field that nobody knows.
    for bytes in [&[][..], &[0x9a, 0x06, 0x01, 0x00]] {
        let mut peer = Peer::dial(gateway.address()).await;
        peer.send_bytes(bytes).await;
        peer.ends(3, "register_first").await;
    }
}

#[tokio::test]
async fn registering_twice_ends_the_tunnel_and_nothing_of_the_second_is_seen() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    peer.send(MessageType::Register(ConnectionRegister {
        api_key: KEY.to_owned(),
        services: vec!["demo.Other".to_owned()],
        ..ConnectionRegister::default()
    }))
    .await;
    peer.ends(3, "protocol").await;
    let caller = gateway.caller().await;
    call_whole(&caller, "/demo.Other/Say", "").await.fails(12, "unknown_service").await;
}

#[tokio::test]
async fn names_are_checked_before_the_tunnel_opens() {
    let gateway = Gateway::start();
    let many: Vec<String> = (0..65).map(|n| format!("demo.S{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = "a".repeat(256);
    let cases: [(&[&str], u8, &str); 8] = [
        (&[""], 3, "bad_service_name"),
        (&["/"], 3, "bad_service_name"),
        (&["a b"], 3, "bad_service_name"),
        (&[&long], 3, "bad_service_name"),
        (&many, 8, "tunnel_limit"),
        (&["grpc.health.v1.Health"], 7, "scope"),
        (&["grpc.reflection.v1.ServerReflection"], 7, "scope"),
        (&["registry.RegistryService"], 7, "scope"),
    ];
    for (services, code, reason) in cases {
        let mut peer = Peer::dial(gateway.address()).await;
        peer.register(KEY, services, &[]).await;
        peer.ends(code, reason).await;
    }
    // None at all is allowed, and duplicates are one.
    drop(gateway.peer_with(&[], &[]).await);
    drop(gateway.peer_with(&["demo.Echo", "demo.Echo"], &[]).await);
}

#[tokio::test]
async fn a_key_opens_tunnels_for_its_own_names_only() {
    let key = adit::auth::key::KeyDigest::of(KEY.as_bytes()).to_string();
    let gateway = Gateway::with(json!({
        "keys": [{ "id": "tests", "sha256": key, "services": ["demo.*"] }]
    }));
    let mut peer = Peer::dial(gateway.address()).await;
    peer.register(KEY, &["other.Echo"], &[]).await;
    peer.ends(7, "scope").await;
    drop(gateway.peer("demo.Echo").await);
}

#[tokio::test]
async fn the_tunnels_of_a_key_are_limited() {
    let gateway = Gateway::with(json!({ "limits": { "tunnels_per_key_max": 1 } }));
    let mut first = gateway.peer("demo.Echo").await;
    let mut second = Peer::dial(gateway.address()).await;
    second.register(KEY, &["demo.Echo"], &[]).await;
    second.ends(8, "tunnel_limit").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "untouched").await;
    first.echo().await;
    assert_eq!(call.message().await, "untouched");
}

#[tokio::test]
async fn the_tunnels_of_a_service_are_limited() {
    let gateway = Gateway::with(json!({ "limits": { "tunnels_per_service_max": 1 } }));
    let mut first = gateway.peer("demo.Echo").await;
    let mut second = Peer::dial(gateway.address()).await;
    second.register(KEY, &["demo.Other", "demo.Echo"], &[]).await;
    second.ends(8, "tunnel_limit").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "untouched").await;
    first.echo().await;
    assert_eq!(call.message().await, "untouched");
    gateway.peer("demo.Other").await;
}

/// As from many machines at once: each has loopback's next address.
#[tokio::test]
async fn wrong_keys_from_many_addresses_hold_up_no_right_one() {
    let gateway = Gateway::with(json!({ "limits": {
        "bad_keys_per_minute_max": 2, "bad_key_delay": "1h",
    } }));
    let mut late = tokio::task::JoinSet::new();
    for host in 2..52 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, host], 0).into()).unwrap();
        let socket = socket.connect(gateway.address()).await.unwrap();
        let connection = Connection::over(socket, None).await;
        for guess in 0..20 {
            let mut peer = Peer::dial_on(&connection, gateway.address()).await;
            peer.register("wrong", &["demo.Echo"], &[]).await;
            if guess < 2 {
                peer.ends(16, "bad_credentials").await;
            } else {
                late.spawn(async move { peer.end().await });
            }
        }
    }
    let mut peer = gateway.peer("demo.Echo").await;
    let mut call = call_whole(&gateway.caller().await, "/demo.Echo/Say", "served").await;
    peer.echo().await;
    assert_eq!(call.message().await, "served");
    assert!(late.try_join_next().is_none(), "each of the others still waits for its answer");
}

#[tokio::test]
async fn an_unknown_frame_or_a_bad_one_never_ends_the_tunnel() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    peer.send_bytes(&[]).await;
    peer.send_bytes(&[0x9a, 0x06, 0x01, 0x00]).await;
    peer.send_bytes(b"\xff\xff\xff").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "alive").await;
    peer.echo().await;
    assert_eq!(call.message().await, "alive");
}

#[tokio::test]
async fn a_program_that_sends_nothing_but_bad_frames_is_sent_away() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    for _ in 0..101 {
        peer.send_bytes(b"\xff\xff\xff").await;
    }
    peer.ends(3, "protocol").await;
}

#[tokio::test]
async fn a_frame_over_the_limit_ends_the_tunnel() {
    let gateway = Gateway::with(json!({ "limits": {
        "peer_frame_bytes_max": "8MiB", "message_bytes_max": "1MiB"
    } }));
    let mut peer = gateway.peer("demo.Echo").await;
    peer.send_raw(&[0, 0x00, 0x80, 0x00, 0x01]).await;
    peer.ends(8, "message_too_large").await;
}

#[tokio::test]
async fn events_and_subscriptions_without_a_topic_are_answered_with_an_error_and_the_tunnel_lives()
{
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    for event in [
        MessageType::Event(EventMessage::default()),
        MessageType::Subscription(SubscriptionRequest::default()),
    ] {
        peer.send(event).await;
        let MessageType::Status(status) = peer.receive().await else { panic!("a status") };
        assert_eq!(status.status(), Status::Error);
        let expected = "INVALID_ARGUMENT bad_event: topic \"\": a topic has at least one word";
        assert_eq!(status.message, expected);
    }
}

#[tokio::test]
async fn the_old_way_in_says_why_it_is_closed() {
    let gateway = Gateway::start();
    let endpoint = tonic::transport::Endpoint::new(format!("http://{}", gateway.address()));
    let mut client = RegistryServiceClient::new(endpoint.unwrap().connect().await.unwrap());
    let answer = client.register(RegisterRequest::default()).await.unwrap().into_inner();
    assert!(!answer.success);
    assert!(answer.message.contains("EstablishConnection"), "{}", answer.message);
}

#[tokio::test]
async fn a_goodbye_keeps_the_calls_and_takes_no_new_ones() {
    use crate::support::until;
    use adit::grpc::proto::ConnectionStatus;

    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "kept").await;
    let request = peer.request().await;
    let goodbye = ConnectionStatus { status: Status::Disconnected.into(), ..Default::default() };
    peer.send(MessageType::Status(goodbye)).await;
    until("new calls to be refused", || async {
        // A call in between may still reach the peer; it is never answered.
        let headers = [("grpc-timeout", "200m")];
        let mut probe = caller.call_headers("/demo.Echo/Probe", &headers).await;
        probe.send_last("").await;
        probe.end().await.reason.as_deref() == Some("no_tunnel")
    })
    .await;
    peer.answer(crate::support::ok(&request, "kept")).await;
    assert_eq!(call.message().await, "kept");
    call.succeeds().await;
}

#[tokio::test]
async fn two_listeners_keep_callers_and_tunnels_apart() {
    let gateway = Gateway::with(json!({ "listeners": [
        { "address": "127.0.0.1:0", "serves": ["tunnels"] },
        { "address": "127.0.0.1:0", "serves": ["callers"] },
    ] }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = crate::support::Caller::connect(gateway.addresses[1]).await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    peer.echo().await;
    assert_eq!(call.message().await, "hi");

    let wrong = gateway.caller().await;
    call_whole(&wrong, "/demo.Echo/Say", "").await.fails(12, "unknown_service").await;
    let path = "/registry.RegistryService/EstablishConnection";
    call_whole(&caller, path, "").await.fails(12, "unknown_service").await;
}
