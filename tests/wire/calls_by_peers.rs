//! Service to service: a peer calls through the gateway over its own tunnel.

use std::collections::HashMap;

use adit::grpc::proto::connection_message::MessageType;
use adit::grpc::proto::streaming_info::StreamType;
use adit::grpc::proto::{Cancel, ForwardRequest, StreamingInfo};
use serde_json::json;

use crate::support::peer::{slice, with_headers};
use crate::support::{Gateway, Peer, error, ok, stream_end, stream_part};

fn whole(id: &str, path: &str, payload: &'static str) -> ForwardRequest {
    ForwardRequest {
        request_id: id.to_owned(),
        method_path: path.to_owned(),
        payload: payload.into(),
        streaming_info: Some(StreamingInfo { is_stream_end: true, ..StreamingInfo::default() }),
        ..ForwardRequest::default()
    }
}

fn streamed(id: &str, path: &str, payload: &'static str, end: bool) -> ForwardRequest {
    let info = StreamingInfo {
        stream_type: StreamType::BidirectionalStreaming.into(),
        is_stream_end: end,
        ..StreamingInfo::default()
    };
    ForwardRequest { streaming_info: Some(info), ..whole(id, path, payload) }
}

async fn ask(peer: &mut Peer, request: ForwardRequest) {
    peer.send(MessageType::Request(request)).await;
}

#[tokio::test]
async fn a_peer_calls_another_and_is_answered_under_its_own_id() {
    let gateway = Gateway::start();
    let mut server = gateway.peer("demo.Echo").await;
    let mut client = gateway.peer_with(&[], &[]).await;

    let headers = HashMap::from([("x-from".to_owned(), "a peer".to_owned())]);
    ask(&mut client, ForwardRequest { headers, ..whole("call-1", "/demo.Echo/Say", "hi") }).await;
    let request = server.request().await;
    assert_eq!(
        (request.method_path.as_str(), &request.payload[..]),
        ("/demo.Echo/Say", &b"hi"[..])
    );
    assert_ne!(request.request_id, "call-1", "the peer's id means nothing elsewhere");
    assert!(request.metadata.iter().any(|h| h.name == "x-from" && h.value == "a peer"));
    server.answer(with_headers(ok(&request, "hi back"), &[("x-back", "b")])).await;

    let response = client.response().await;
    assert_eq!((response.request_id.as_str(), response.status_code), ("call-1", 0));
    assert_eq!(response.payload, "hi back");
    assert_eq!(response.headers["x-back"], "b");
    assert_eq!((response.streaming_info, response.response_stream_info), (None, None));
}

#[tokio::test]
async fn two_peers_may_use_the_same_id_at_once() {
    let gateway = Gateway::start();
    let mut server = gateway.peer("demo.Echo").await;
    let mut one = gateway.peer_with(&[], &[]).await;
    let mut two = gateway.peer_with(&[], &[]).await;
    ask(&mut one, whole("1", "/demo.Echo/Say", "from one")).await;
    let first = server.request().await;
    ask(&mut two, whole("1", "/demo.Echo/Say", "from two")).await;
    let second = server.request().await;
    server.answer(ok(&second, second.payload.clone())).await;
    server.answer(ok(&first, first.payload.clone())).await;
    assert_eq!(one.response().await.payload, "from one");
    assert_eq!(two.response().await.payload, "from two");
}

#[tokio::test]
async fn a_peer_that_makes_the_call_of_its_life_gets_the_gateways_errors_too() {
    let gateway = Gateway::start();
    let mut server = gateway.peer("demo.Echo").await;
    let mut client = gateway.peer_with(&[], &[]).await;
    ask(&mut client, whole("1", "/demo.Nobody/Say", "")).await;
    let response = client.response().await;
    assert_eq!((response.request_id.as_str(), response.status_code), ("1", 12));
    assert_eq!(response.headers["x-gateway-error"], "unknown_service");

    ask(&mut client, whole("2", "no path", "")).await;
    assert_eq!(client.response().await.headers["x-gateway-error"], "unknown_service");

    ask(&mut client, whole("3", "/demo.Echo/Say", "")).await;
    let request = server.request().await;
    server.answer(error(&request, 404, "not here")).await;
    let response = client.response().await;
    assert_eq!((response.status_code, response.error_message.as_str()), (5, "not here"));

    ask(&mut client, whole("4", "/demo.Echo/Say", "")).await;
    server.request().await;
    drop(server);
    assert_eq!(client.response().await.headers["x-gateway-error"], "tunnel_lost");
}

#[tokio::test]
async fn a_peers_stream_goes_both_ways() {
    let gateway = Gateway::start();
    let mut server = gateway.peer("demo.Echo").await;
    let mut client = gateway.peer("demo.Client").await;

    ask(&mut client, streamed("s", "/demo.Echo/Chat", "1", false)).await;
    let request = server.request().await;
    server.answer(stream_part(&request, "one")).await;
    let response = client.response().await;
    assert_eq!(response.payload, "one");
    assert!(!response.streaming_info.unwrap().is_stream_end);

    ask(&mut client, streamed("s", "/demo.Echo/Chat", "2", false)).await;
    assert_eq!(server.request().await.payload, "2");
    ask(&mut client, streamed("s", "/demo.Echo/Chat", "", true)).await;
    assert!(server.request().await.streaming_info.unwrap().is_stream_end);
    server.answer(stream_end(&request)).await;
    assert!(client.response().await.streaming_info.unwrap().is_stream_end);
}

#[tokio::test]
async fn a_late_frame_of_a_call_that_is_over_begins_nothing() {
    let gateway = Gateway::start();
    let mut server = gateway.peer("demo.Echo").await;
    let mut client = gateway.peer_with(&[], &[]).await;

    ask(&mut client, whole("u", "/demo.Echo/Say", "hi")).await;
    server.echo().await;
    assert_eq!(client.response().await.payload, "hi");
    ask(&mut client, whole("u", "/demo.Echo/Say", "")).await;

    ask(&mut client, streamed("s", "/demo.Echo/Chat", "1", false)).await;
    let request = server.request().await;
    server.answer(error(&request, 9, "no")).await;
    assert_eq!(client.response().await.status_code, 9);
    for sequence_number in 1..4 {
        let more = streamed("s", "/demo.Echo/Chat", "more", sequence_number == 3);
        let info = StreamingInfo { sequence_number, ..more.streaming_info.unwrap() };
        ask(&mut client, ForwardRequest { streaming_info: Some(info), ..more }).await;
    }

    // What the server hears next is the next call.
    ask(&mut client, whole("next", "/demo.Echo/Say", "next")).await;
    assert_eq!(server.request().await.payload, "next");
}

#[tokio::test]
async fn an_empty_last_message_of_a_stream_is_a_message() {
    let gateway = Gateway::start();
    let mut server = gateway.peer("demo.Echo").await;
    let mut client = gateway.peer_with(&[], &[]).await;
    ask(&mut client, streamed("s", "/demo.Echo/Sum", "1", true)).await;
    let request = server.request().await;
    server.answer(ok(&request, "")).await;
    let message = client.response().await;
    assert!(message.payload.is_empty() && !message.streaming_info.unwrap().is_stream_end);
    assert!(client.response().await.streaming_info.unwrap().is_stream_end);
}

#[tokio::test]
async fn headers_that_come_before_the_first_message_make_no_empty_one() {
    let gateway = Gateway::start();
    let mut server = gateway.peer("demo.Echo").await;
    let mut client = gateway.peer_with(&[], &[]).await;
    for request in [whole("w", "/demo.Echo/Say", ""), streamed("s", "/demo.Echo/Say", "", true)] {
        ask(&mut client, request).await;
        let request = server.request().await;
        let first = with_headers(slice(&request, 0, false, "hi "), &[("x-back", "b")]);
        server.answer(first).await;
        server.answer(slice(&request, 1, true, "back")).await;
        let response = client.response().await;
        assert_eq!(
            (&response.payload[..], response.headers["x-back"].as_str()),
            (&b"hi back"[..], "b")
        );
    }
}

#[tokio::test]
async fn more_after_the_half_close_is_rejected_and_the_call_reset() {
    let gateway = Gateway::start();
    let mut server = gateway.peer("demo.Echo").await;
    let mut client = gateway.peer("demo.Client").await;
    ask(&mut client, streamed("s", "/demo.Echo/Chat", "1", false)).await;
    let request = server.request().await;
    ask(&mut client, streamed("s", "/demo.Echo/Chat", "", true)).await;
    assert!(server.request().await.streaming_info.unwrap().is_stream_end);
    ask(&mut client, streamed("s", "/demo.Echo/Chat", "more", false)).await;
    assert_eq!(server.cancel().await.request_id, request.request_id);
    let response = client.response().await;
    assert_eq!(response.status_code, 13);
    assert!(response.trailers.iter().any(|h| h.value == "bad_tunnel_frame"));
}

#[tokio::test]
async fn a_peer_gives_its_call_up() {
    let gateway = Gateway::start();
    let mut server = gateway.peer("demo.Echo").await;
    let mut client = gateway.peer("demo.Client").await;
    for (id, request) in [
        ("whole", whole("whole", "/demo.Echo/Say", "")),
        ("stream", streamed("stream", "/demo.Echo/Chat", "1", false)),
    ] {
        ask(&mut client, request).await;
        let request = server.request().await;
        client
            .send(MessageType::Cancel(Cancel { request_id: id.into(), ..Cancel::default() }))
            .await;
        assert_eq!(server.cancel().await.request_id, request.request_id, "{id}");
        assert_eq!(client.response().await.status_code, 1);
    }
    ask(&mut client, whole("lost", "/demo.Echo/Say", "")).await;
    let request = server.request().await;
    drop(client);
    assert_eq!(server.cancel().await.request_id, request.request_id);
}

#[tokio::test]
async fn a_peers_deadline_is_the_exact_one_or_the_whole_seconds() {
    let gateway = Gateway::start();
    let mut server = gateway.peer("demo.Echo").await;
    let mut client = gateway.peer("demo.Client").await;
    let timeout = HashMap::from([("grpc-timeout".to_owned(), "40m".to_owned())]);
    let exact = ForwardRequest {
        headers: timeout,
        timeout_seconds: 1000,
        ..whole("exact", "/demo.Echo/Say", "")
    };
    ask(&mut client, exact).await;
    server.request().await;
    assert_eq!(client.response().await.status_code, 4);
    server.cancel().await;

    let seconds = ForwardRequest { timeout_seconds: 7, ..whole("s", "/demo.Echo/Say", "") };
    ask(&mut client, seconds).await;
    assert!((1..=7).contains(&server.request().await.timeout_seconds));
}

#[tokio::test]
async fn what_a_peer_may_have_in_flight_and_unsent_is_bounded() {
    let gateway = Gateway::with(json!({ "limits": {
        "calls_per_tunnel_max": 1,
        "message_bytes_max": "1000B", "call_buffer_bytes_max": "2KiB",
    } }));
    let mut server = gateway.peer("demo.Echo").await;
    let mut client = gateway.peer("demo.Client").await;
    ask(&mut client, streamed("1", "/demo.Echo/Chat", "1", false)).await;
    let request = server.request().await;
    ask(&mut client, whole("2", "/demo.Echo/Say", "")).await;
    let refused = client.response().await;
    assert_eq!((refused.request_id.as_str(), refused.status_code), ("2", 8));

    // The message limit holds for peers as for callers.
    let mut large = streamed("1", "/demo.Echo/Chat", "", false);
    large.payload = vec![7; 1001].into();
    ask(&mut client, large).await;
    assert_eq!(client.response().await.status_code, 8);
    assert_eq!(server.cancel().await.request_id, request.request_id);
}
