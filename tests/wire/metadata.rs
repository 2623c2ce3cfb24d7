//! Metadata both ways: what passes, how it is carried, what is never forwarded.

use adit::grpc::proto::{ForwardResponse, Header};
use http::HeaderValue;
use serde_json::json;

use crate::support::peer::with_headers;
use crate::support::{Gateway, call_whole, error, ok};

#[tokio::test]
async fn a_peer_with_headers_gets_every_byte_in_order() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let mut request = caller.request("/demo.Echo/Say");
    let pairs: [(&'static str, &[u8]); 8] = [
        ("dup", b"1"),
        ("dup", b""),
        ("dup", b"3"),
        ("padded-bin", b"AA=="),
        ("unpadded-bin", b"AA"),
        ("joined-bin", b"AA,AQ"),
        ("broken-bin", b"!!"),
        ("obs", b"\x80\xff"),
    ];
    for (name, value) in pairs {
        request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
    }
    let mut call = caller.call_with(request).await;
    call.send_last("").await;
    let request = peer.request().await;
    assert!(request.headers.is_empty());
    for name in ["dup", "padded-bin", "unpadded-bin", "joined-bin", "broken-bin", "obs"] {
        let sent: Vec<_> = pairs.iter().filter(|p| p.0 == name).map(|p| p.1.to_vec()).collect();
        let seen: Vec<_> =
            request.metadata.iter().filter(|h| h.name == name).map(|h| h.value.to_vec()).collect();
        assert_eq!(seen, sent, "{name}");
    }
    assert!(request.metadata.iter().all(|h| h.name != "te" && !h.name.starts_with(':')));
}

#[tokio::test]
async fn a_plain_peer_gets_a_map() {
    let gateway = Gateway::start();
    let mut peer = gateway.plain_peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let headers = [("dup", "1"), ("dup", "2"), ("x-bin", "AA=="), ("x-adit-key", "secret")];
    let mut call = caller.call_headers("/demo.Echo/Say", &headers).await;
    call.send_last("").await;
    let request = peer.request().await;
    assert!(request.metadata.is_empty());
    assert_eq!((&request.headers["dup"][..], &request.headers["x-bin"][..]), ("1,2", "AA=="));
    assert!(!request.headers.contains_key("x-adit-key") && !request.headers.contains_key("te"));
}

#[tokio::test]
async fn an_answer_with_exact_headers_keeps_metadata_and_trailers_apart() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let header =
        |name: &str, value: &'static [u8]| Header { name: name.into(), value: value.into() };

    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    peer.answer(ForwardResponse {
        metadata: vec![header("h", b"1"), header("h", b"\xff")],
        trailers: vec![
            header("t", b"2"),
            header("grpc-status", b"9"),
            header("x-gateway-error", b"x"),
        ],
        ..ok(&request, "m")
    })
    .await;
    let headers = call.initial().await;
    let seen: Vec<_> = headers.get_all("h").iter().map(HeaderValue::as_bytes).collect();
    assert_eq!(seen, [&b"1"[..], b"\xff"]);
    assert_eq!(call.message().await, "m");
    // The status is the frame's, and the gateway's own mark cannot be forged.
    assert_eq!(call.succeeds().await["t"], "2");

    // Initial metadata that a service did send is sent, even when only an error follows.
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    peer.answer(ForwardResponse {
        metadata: vec![header("h", b"1")],
        trailers: vec![header("t", b"2")],
        ..error(&request, 5, "")
    })
    .await;
    assert_eq!(call.initial().await["h"], "1");
    assert_eq!(call.end().await.trailers["t"], "2");
}

#[tokio::test]
async fn a_map_of_an_only_frame_is_initial_metadata_and_details_are_trailers() {
    let gateway = Gateway::start();
    let mut peer = gateway.plain_peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let headers = [("X-Upper", "u"), ("grpc-status-details-bin", "CAU")];

    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    peer.answer(with_headers(ok(&request, "m"), &headers)).await;
    assert_eq!(call.initial().await["x-upper"], "u");
    call.message().await;
    assert_eq!(call.succeeds().await["grpc-status-details-bin"], "CAU");

    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    peer.answer(with_headers(error(&request, 5, "no"), &headers)).await;
    assert!(call.is_trailers_only().await);
    let end = call.end().await;
    assert_eq!(end.trailers["x-upper"], "u");
    assert_eq!(end.trailers["grpc-status-details-bin"], "CAU");
}

#[tokio::test]
async fn metadata_at_the_limit_passes_and_more_does_not() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;

    let fits = "x".repeat(31 * 1024);
    let mut call = caller.call_headers("/demo.Echo/Say", &[("big", &fits)]).await;
    call.send_last("").await;
    peer.echo().await;
    call.message().await;
    call.succeeds().await;

    let hundred: Vec<_> = (0..100).map(|n| (format!("h{n}"), "v")).collect();
    let mut hundred: Vec<_> = hundred.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let mut call = caller.call_headers("/demo.Echo/Say", &hundred).await;
    call.send_last("").await;
    peer.echo().await;
    call.message().await;
    call.succeeds().await;

    hundred.push(("one-more", "v"));
    let mut call = caller.call_headers("/demo.Echo/Say", &hundred).await;
    call.fails(8, "metadata_too_large").await;
    let over = "x".repeat(33 * 1024);
    let mut call = caller.call_headers("/demo.Echo/Say", &[("big", &over)]).await;
    call.fails(8, "metadata_too_large").await;
    let far_over = "x".repeat(65 * 1024);
    let mut call = caller.call_headers("/demo.Echo/Say", &[("big", &far_over)]).await;
    assert_eq!(call.status().await, 431);
}

#[tokio::test]
async fn trailers_over_the_limit_are_cut_and_the_status_stays() {
    let gateway = Gateway::with(json!({ "limits": { "metadata_bytes_max": "1KiB" } }));
    let mut peer = gateway.plain_peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    let long = "x".repeat(2000);
    peer.answer(with_headers(error(&request, 5, "short"), &[("long", &long)])).await;
    let end = call.end().await;
    assert_eq!(
        (end.code.as_str(), &end.trailers["grpc-message"]),
        ("5", &HeaderValue::from_static("short"))
    );
    assert!(end.trailers.contains_key("x-gateway-trimmed") && !end.trailers.contains_key("long"));
}

#[tokio::test]
async fn a_callers_key_is_asked_for_when_configured() {
    use crate::support::KEY;
    let gateway = Gateway::with(json!({ "callers": { "require_key": true } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    call_whole(&caller, "/demo.Echo/Say", "").await.fails(16, "no_credentials").await;
    let mut call = caller.call_headers("/demo.Echo/Say", &[("x-adit-key", "wrong")]).await;
    call.fails(16, "bad_credentials").await;
    let headers = [("x-adit-key", KEY), ("authorization", "for the service")];
    let mut call = caller.call_headers("/demo.Echo/Say", &headers).await;
    call.send_last("").await;
    let request = peer.request().await;
    assert!(request.metadata.iter().any(|h| h.name == "authorization"));
    assert!(request.metadata.iter().all(|h| h.name != "x-adit-key"));
}
