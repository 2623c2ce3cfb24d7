//! What a caller may send, and what it gets for anything else.

use crate::support::{Gateway, call_whole, ok};
use serde_json::json;

#[tokio::test]
async fn a_request_that_is_not_grpc_gets_an_http_status_and_reaches_nobody() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    for content_type in [Some("text/plain"), Some("application/grpcweb"), None] {
        let mut request = caller.request("/demo.Echo/Say");
        request.headers_mut().remove("content-type");
        if let Some(content_type) = content_type {
            request.headers_mut().insert("content-type", content_type.parse().unwrap());
        }
        let mut call = caller.call_with(request).await;
        assert_eq!(call.status().await, 415, "{content_type:?}");
        assert!(call.is_trailers_only().await);
    }
    for (method, path) in [
        ("GET", "/demo.Echo/Say"),
        ("DELETE", "/demo.Echo/Say"),
        ("PUT", "/demo.Echo/Say"),
        ("GET", "/registry.RegistryService/Register"),
    ] {
        let mut request = caller.request(path);
        *request.method_mut() = method.parse().unwrap();
        let mut call = caller.call_with(request).await;
        assert_eq!(call.status().await, 405, "{method}");
    }
    // The first frame that the peer gets is the first real call's.
    let _call = call_whole(&caller, "/demo.Echo/Real", "").await;
    assert_eq!(peer.request().await.method_path, "/demo.Echo/Real");
}

#[tokio::test]
async fn a_content_type_with_a_suffix_passes_and_is_echoed() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    for content_type in ["application/grpc;charset=x", "application/grpc+foo"] {
        let mut request = caller.request("/demo.Echo/Say");
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        let mut call = caller.call_with(request).await;
        call.send_last("").await;
        let request = peer.request().await;
        let seen = request.metadata.iter().find(|h| h.name == "content-type").unwrap();
        assert_eq!(seen.value, content_type);
        peer.answer(ok(&request, "")).await;
        assert_eq!(call.initial().await["content-type"], content_type);
    }
}

#[tokio::test]
async fn a_path_that_names_no_method_is_unimplemented() {
    let gateway = Gateway::start();
    let _peer = gateway.peer("S").await;
    let caller = gateway.caller().await;

    let long = format!("/S/{}/x", "m".repeat(8 * 1024));
    for path in ["/", "//M", "/S/", "/S/M/x", "/S", "/%2e%2e/M", &long, "/registry.Other/M"] {
        call_whole(&caller, path, "").await.fails(12, "unknown_service").await;
    }
}

#[tokio::test]
async fn a_query_is_no_part_of_the_method() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let _call = call_whole(&caller, "/demo.Echo/Say?q=1", "").await;
    assert_eq!(peer.request().await.method_path, "/demo.Echo/Say");
}

#[tokio::test]
async fn an_announced_giant_is_refused_at_its_prefix() {
    let gateway = Gateway::start();
    let _peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = caller.call("/demo.Echo/Say").await;
    call.send_raw(&[0, 0xff, 0xff, 0xff, 0xff], false).await;
    call.fails(8, "message_too_large").await;
}

#[tokio::test]
async fn a_message_at_the_limit_passes_and_one_byte_more_does_not() {
    let gateway = Gateway::with(json!({ "limits": { "message_bytes_max": "1000B" } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut call = call_whole(&caller, "/demo.Echo/Say", [7; 1000]).await;
    peer.echo().await;
    assert_eq!(call.message().await, [7; 1000][..]);
    call.succeeds().await;
    call_whole(&caller, "/demo.Echo/Say", [7; 1001]).await.fails(8, "message_too_large").await;
}

#[tokio::test]
async fn a_streamed_message_over_the_limit_ends_the_call_and_the_earlier_ones_are_delivered() {
    let gateway = Gateway::with(json!({ "limits": { "message_bytes_max": "1000B" } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut call = caller.call("/demo.Echo/Chat").await;
    call.send("one").await;
    call.send("two").await;
    call.send([7; 1001]).await;
    let first = peer.request().await;
    assert_eq!((&first.payload[..], &peer.request().await.payload[..]), (&b"one"[..], &b"two"[..]));
    assert_eq!(peer.cancel().await.request_id, first.request_id);
    call.fails(8, "message_too_large").await;
}

#[tokio::test]
async fn a_flag_that_is_neither_plain_nor_compressed_is_internal() {
    let gateway = Gateway::start();
    let _peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    for flag in [2, 0xff] {
        let mut call = caller.call("/demo.Echo/Say").await;
        call.send_flagged(flag, b"x", true).await;
        call.fails(13, "protocol").await;
    }
}

#[tokio::test]
async fn a_body_that_ends_inside_a_message_is_not_a_half_close() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    for cut in [&[0u8, 0, 0][..], &[0, 0, 0, 0, 5, b'h', b'i'][..]] {
        let mut call = caller.call("/demo.Echo/Say").await;
        call.send_raw(cut, true).await;
        call.fails(13, "protocol").await;
    }
    let mut call = caller.call("/demo.Echo/Chat").await;
    call.send("whole").await;
    let request = peer.request().await;
    call.send_raw(&[0, 0, 0], true).await;
    assert_eq!(peer.cancel().await.request_id, request.request_id);
    call.fails(13, "protocol").await;
}

#[tokio::test]
async fn a_timeout_that_cannot_be_read_is_internal_and_one_of_nothing_is_over() {
    let gateway = Gateway::start();
    let _peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    for bad in ["5", "5x", "123456789S", "-1S"] {
        let mut call = caller.call_headers("/demo.Echo/Say", &[("grpc-timeout", bad)]).await;
        call.fails(13, "protocol").await;
    }
    let mut call = caller.call_headers("/demo.Echo/Say", &[("grpc-timeout", "0S")]).await;
    call.fails(4, "deadline").await;
}

#[tokio::test]
async fn a_deadline_travels_as_the_time_that_remains_and_is_never_invented() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let mut plain = gateway.plain_peer("demo.Plain").await;
    let caller = gateway.caller().await;

    let mut call = caller.call_headers("/demo.Echo/Say", &[("grpc-timeout", "5000m")]).await;
    call.send_last("").await;
    let request = peer.request().await;
    let seen = request.metadata.iter().find(|h| h.name == "grpc-timeout").unwrap();
    let text = std::str::from_utf8(&seen.value).unwrap();
    let micros: u64 = text.strip_suffix('u').unwrap().parse().unwrap();
    assert!((1..=5_000_000).contains(&micros), "{micros}");
    assert!((1..=5).contains(&request.timeout_seconds));

    let _call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    assert_eq!(request.timeout_seconds, 0);
    assert!(request.metadata.iter().all(|header| header.name != "grpc-timeout"));

    // Deployed plain programs take 0 for "at once".
    let _call = call_whole(&caller, "/demo.Plain/Say", "").await;
    let request = plain.request().await;
    assert_eq!(request.timeout_seconds, 300);
    assert!(!request.headers.contains_key("grpc-timeout"));
}

#[tokio::test]
async fn callers_are_told_how_many_streams_they_may_open_and_queue_the_others() {
    let gateway = Gateway::with(json!({ "limits": { "streams_per_connection_max": 2 } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut first = call_whole(&caller, "/demo.Echo/Say", "the settings have come").await;
    peer.echo().await;
    first.message().await;
    first.succeeds().await;
    let one = async |text: &'static str| {
        let mut call = call_whole(&caller, "/demo.Echo/Say", text).await;
        assert_eq!(call.message().await, text);
        call.succeeds().await;
    };
    let echoes = async {
        for _ in 0..4 {
            peer.echo().await;
        }
    };
    tokio::join!(one("1"), one("2"), one("3"), one("4"), echoes);
}
