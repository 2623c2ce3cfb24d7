//! What a call is called: `x-request-id` both ways, and what tells traces apart.

use adit::grpc::proto::connection_message::MessageType;
use adit::grpc::proto::{ForwardRequest, ForwardResponse, Header};
use http::HeaderMap;
use serde_json::json;

use crate::support::peer::with_headers;
use crate::support::{Gateway, call_whole, error, ok, stream_end, stream_part};

const NAME: &str = "x-request-id";

/// All values of a name in exact metadata.
fn exact<'r>(metadata: &'r [Header], name: &str) -> Vec<&'r [u8]> {
    metadata.iter().filter(|header| header.name == name).map(|header| &header.value[..]).collect()
}

fn ids(headers: &HeaderMap) -> Vec<&str> {
    headers.get_all(NAME).iter().map(|id| id.to_str().unwrap()).collect()
}

#[tokio::test]
async fn a_call_without_a_name_gets_that_of_its_frames() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let mut plain = gateway.plain_peer("demo.Plain").await;
    let caller = gateway.caller().await;

    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    let request = peer.request().await;
    assert_eq!(exact(&request.metadata, NAME), [request.request_id.as_bytes()]);
    peer.answer(ok(&request, "hi")).await;
    assert_eq!(ids(&call.initial().await), [&request.request_id]);
    call.message().await;
    assert!(!call.succeeds().await.contains_key(NAME));

    let mut call = call_whole(&caller, "/demo.Plain/Say", "hi").await;
    let request = plain.request().await;
    assert_eq!(request.headers[NAME], request.request_id);
    plain.answer(error(&request, 5, "no")).await;
    assert!(call.is_trailers_only().await);
    assert_eq!(ids(&call.end().await.trailers), [&request.request_id]);
}

#[tokio::test]
async fn the_callers_own_name_passes_if_it_is_one() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let long = "x".repeat(129);
    for (sent, kept) in [("mine-1", true), (&*long, false), ("two words", false), ("", false)] {
        let mut call = caller.call_headers("/demo.Echo/Say", &[(NAME, sent)]).await;
        call.send_last("hi").await;
        let request = peer.request().await;
        let expected = if kept { sent } else { request.request_id.as_str() };
        assert_eq!(exact(&request.metadata, NAME), [expected.as_bytes()], "{sent}");
        peer.answer(ok(&request, "hi")).await;
        assert_eq!(ids(&call.initial().await), [expected], "{sent}");
    }
}

#[tokio::test]
async fn calls_that_the_gateway_ends_have_a_name_too() {
    let gateway = Gateway::start();
    let caller = gateway.caller().await;
    for path in ["/demo.Nobody/Say", "/nonsense"] {
        let mut call = caller.call_headers(path, &[(NAME, "mine")]).await;
        call.send_last("hi").await;
        let end = call.end().await;
        assert_eq!((end.code.as_str(), ids(&end.trailers)), ("12", vec!["mine"]));
        let mut call = call_whole(&caller, path, "hi").await;
        assert_eq!(ids(&call.end().await.trailers)[0].len(), 36);
    }
}

#[tokio::test]
async fn a_name_that_the_service_sends_itself_is_not_doubled() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let mut plain = gateway.plain_peer("demo.Plain").await;
    let caller = gateway.caller().await;
    let header = || vec![Header { name: NAME.into(), value: "echoed".into() }];

    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    let request = peer.request().await;
    let both = ForwardResponse { metadata: header(), trailers: header(), ..ok(&request, "hi") };
    peer.answer(both).await;
    assert_eq!(ids(&call.initial().await), [&request.request_id]);
    call.message().await;
    assert!(!call.succeeds().await.contains_key(NAME));

    let mut call = call_whole(&caller, "/demo.Plain/Say", "hi").await;
    let request = plain.request().await;
    let named = [(NAME, "echoed")];
    plain.answer(with_headers(stream_part(&request, "hi"), &named)).await;
    plain.answer(with_headers(stream_end(&request), &named)).await;
    assert_eq!(ids(&call.initial().await), [&request.request_id]);
    call.message().await;
    assert!(!call.succeeds().await.contains_key(NAME));
}

#[tokio::test]
async fn a_name_is_none_of_the_metadata_that_is_limited() {
    let limits = json!({ "limits": { "metadata_entries_max": 2, "metadata_bytes_max": "200B" } });
    let gateway = Gateway::with(limits);
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let own = "y".repeat(128);
    let full = [("a", "1"), ("b", "2"), (NAME, own.as_str())];
    for headers in [&full[..2], &full] {
        let mut call = caller.call_headers("/demo.Echo/Say", headers).await;
        call.send_last("hi").await;
        peer.echo().await;
        call.message().await;
        call.succeeds().await;
    }
    let mut call = caller.call_headers("/demo.Echo/Say", &[full[0], full[1], ("c", "3")]).await;
    call.fails(8, "metadata_too_large").await;
}

#[tokio::test]
async fn a_peers_call_has_a_name_and_hears_it_once() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let mut calling = gateway.plain_peer("demo.Calling").await;
    for (own, path) in
        [(None, "/demo.Echo/Say"), (Some("mine"), "/demo.Echo/Say"), (Some("mine"), "/demo.No/Say")]
    {
        let headers = own.map(|own: &str| (NAME.to_owned(), own.to_owned()));
        calling
            .send(MessageType::Request(ForwardRequest {
                request_id: "1".to_owned(),
                method_path: path.to_owned(),
                headers: headers.into_iter().collect(),
                ..ForwardRequest::default()
            }))
            .await;
        if path == "/demo.No/Say" {
            assert_eq!(calling.response().await.headers[NAME], "mine");
            continue;
        }
        let request = peer.request().await;
        let expected = own.unwrap_or(&request.request_id);
        assert_eq!(exact(&request.metadata, NAME), [expected.as_bytes()]);
        peer.answer(with_headers(ok(&request, "hi"), &[(NAME, "echoed")])).await;
        assert_eq!(calling.response().await.headers[NAME], expected);
    }
}

#[tokio::test]
async fn without_request_ids_nothing_is_added_and_what_is_there_passes() {
    let gateway = Gateway::with(json!({ "callers": { "request_id": false } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    let request = peer.request().await;
    assert!(exact(&request.metadata, NAME).is_empty());
    peer.answer(ok(&request, "hi")).await;
    assert!(!call.initial().await.contains_key(NAME));

    let mut call = caller.call_headers("/demo.Echo/Say", &[(NAME, "two words")]).await;
    call.send_last("hi").await;
    let request = peer.request().await;
    assert_eq!(exact(&request.metadata, NAME), [b"two words"]);
    let header = vec![Header { name: NAME.into(), value: "theirs".into() }];
    peer.answer(ForwardResponse { metadata: header, ..ok(&request, "hi") }).await;
    assert_eq!(ids(&call.initial().await), ["theirs"]);
}

#[tokio::test]
async fn the_context_of_a_trace_passes_untouched() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let mut plain = gateway.plain_peer("demo.Plain").await;
    let caller = gateway.caller().await;
    let trace = [
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ("baggage", "userId=alice,serverNode=DF%2028;isProduction=false"),
    ];
    let mut call = caller.call_headers("/demo.Echo/Say", &trace).await;
    call.send_last("hi").await;
    let request = peer.request().await;
    for (name, value) in trace {
        assert_eq!(exact(&request.metadata, name), [value.as_bytes()]);
    }
    let mut call_of_plain = caller.call_headers("/demo.Plain/Say", &trace).await;
    call_of_plain.send_last("hi").await;
    let request = plain.request().await;
    for (name, value) in trace {
        assert_eq!(request.headers[name], value);
    }
    call.cancel();
}
