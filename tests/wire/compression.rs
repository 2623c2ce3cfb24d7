//! Compressed messages pass as they are, or are inflated for peers that did not ask for them.

use std::io::Write;

use adit::grpc::proto::{ForwardResponse, Header};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;

use crate::support::{Gateway, ok};

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn deflate(message: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_peer_with_compression_gets_what_the_caller_sent_and_the_other_way_round() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut call = caller.call_headers("/demo.Echo/Say", &[("grpc-encoding", "snappy")]).await;
    call.send_flagged(1, b"squeezed somehow", true).await;
    let request = peer.request().await;
    assert!(request.compressed);
    assert_eq!(request.payload, "squeezed somehow");
    assert!(request.metadata.iter().any(|h| h.name == "grpc-encoding" && h.value == "snappy"));

    let encoding = Header { name: "grpc-encoding".into(), value: "snappy".into() };
    let answer =
        ForwardResponse { compressed: true, metadata: vec![encoding], ..ok(&request, "x") };
    peer.answer(answer).await;
    assert_eq!(call.initial().await["grpc-encoding"], "snappy");
    assert_eq!(call.next_flagged().await, Some((1, "x".into())));
}

#[tokio::test]
async fn other_peers_get_the_message_itself() {
    let gateway = Gateway::start();
    let mut peer = gateway.plain_peer("demo.Echo").await;
    let caller = gateway.caller().await;
    for (encoding, squeezed) in [("gzip", gzip(b"hello")), ("deflate", deflate(b"hello"))] {
        let mut call = caller.call_headers("/demo.Echo/Say", &[("grpc-encoding", encoding)]).await;
        call.send_flagged(1, &squeezed, true).await;
        let request = peer.request().await;
        assert_eq!(request.payload, "hello", "{encoding}");
        assert!(!request.compressed && !request.headers.contains_key("grpc-encoding"));
        peer.answer(ok(&request, "")).await;
        call.message().await;
        call.succeeds().await;
    }
}

#[tokio::test]
async fn what_cannot_be_inflated_is_the_callers_error_and_never_reaches_the_peer() {
    let gateway = Gateway::with(json!({ "limits": { "message_bytes_max": "1000B" } }));
    let mut peer = gateway.plain_peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let bomb = gzip(&[0; 100_000]);
    for (encoding, payload, code, reason) in [
        (Some("snappy"), &b"x"[..], 12, "unsupported_encoding"),
        (Some("gzip"), b"not gzip at all", 13, "protocol"),
        (Some("identity"), b"x", 13, "protocol"),
        (None, b"x", 13, "protocol"),
        (Some("gzip"), &bomb, 8, "message_too_large"),
    ] {
        let headers: Vec<_> = encoding.map(|e| ("grpc-encoding", e)).into_iter().collect();
        let mut call = caller.call_headers("/demo.Echo/Say", &headers).await;
        call.send_flagged(1, payload, true).await;
        let end = call.end().await;
        assert_eq!(
            (end.code, end.reason.as_deref()),
            (code.to_string(), Some(reason)),
            "{encoding:?}"
        );
        if code == 12 {
            assert_eq!(end.trailers["grpc-accept-encoding"], "identity,deflate,gzip");
        }
    }
    // An unknown encoding that is not used does no harm.
    let mut call = caller.call_headers("/demo.Echo/Say", &[("grpc-encoding", "snappy")]).await;
    call.send_last("plain").await;
    peer.echo().await;
    assert_eq!(call.message().await, "plain");
}

#[tokio::test]
async fn what_follows_a_message_that_cannot_be_inflated_is_not_sent_as_if_it_were_all() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer_with(&["demo.Echo"], &["stream", "cancel"]).await;
    let caller = gateway.caller().await;
    let mut call = caller.call_headers("/demo.Echo/Sum", &[("grpc-encoding", "gzip")]).await;
    call.send("one").await;
    let request = peer.request().await;
    call.send_flagged(1, b"this is no gzip", true).await;
    call.fails(13, "protocol").await;
    // Not the half-close that came with the bad message.
    assert_eq!(peer.cancel().await.request_id, request.request_id);
}
