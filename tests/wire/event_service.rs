//! Publishers and subscribers without a tunnel, down to the frames: what a client library would not say.

use adit::grpc::own_proto::events::publish_request::What;
use adit::grpc::own_proto::events::{Event, PublishRequest, PublishResponse};
use prost::Message;
use serde_json::json;

use crate::support::{Gateway, key, until};

const PUBLISH: &str = "/adit.events.v1.EventService/Publish";
const PUBLISH_STREAM: &str = "/adit.events.v1.EventService/PublishStream";
const SUBSCRIBE: &str = "/adit.events.v1.EventService/Subscribe";

fn event(topic: &str, id: &str) -> Vec<u8> {
    let event = Event { topic: topic.to_owned(), id: id.to_owned(), ..Event::default() };
    PublishRequest { what: Some(What::Event(event)), topic: String::new() }.encode_to_vec()
}

fn open_streams(gateway: &Gateway) -> u64 {
    gateway.window().topics.totals().streams
}

#[tokio::test]
async fn a_message_that_has_begun_must_come_and_a_publisher_may_be_silent() {
    let gateway = Gateway::with(json!({ "limits": { "message_timeout": "200ms" } }));
    let caller = gateway.caller().await;
    let mut silent = caller.call(PUBLISH_STREAM).await;
    let mut begun = caller.call(PUBLISH_STREAM).await;
    begun.send(event("a", "1")).await;
    begun.send_raw(&[0, 0, 0, 0, 9, b'x'], false).await;
    begun.fails(4, "deadline").await;
    silent.send_last(event("a", "2")).await;
    silent.message().await;
    silent.succeeds().await;
    for method in [PUBLISH, SUBSCRIBE] {
        let mut mute = caller.call(method).await;
        mute.fails(4, "deadline").await;
    }
    until("no stream", async || open_streams(&gateway) == 0).await;
}

#[tokio::test]
async fn the_time_of_a_caller_counts() {
    let gateway = Gateway::start();
    let caller = gateway.caller().await;
    for method in [PUBLISH, PUBLISH_STREAM, SUBSCRIBE] {
        let mut late = caller.call_headers(method, &[("grpc-timeout", "100m")]).await;
        late.fails(4, "deadline").await;
        let mut over = caller.call_headers(method, &[("grpc-timeout", "0m")]).await;
        over.fails(4, "deadline").await;
        let mut malformed = caller.call_headers(method, &[("grpc-timeout", "soon")]).await;
        malformed.fails(13, "protocol").await;
    }
    until("no stream", async || open_streams(&gateway) == 0).await;
    assert_eq!(gateway.window().topics.totals().published[1], ("no_subscriber", 0));
}

#[tokio::test]
async fn publish_takes_one_message_and_takes_it_as_it_is() {
    let gateway = Gateway::start();
    let caller = gateway.caller().await;
    let mut two = caller.call(PUBLISH).await;
    two.send(event("a", "1")).await;
    two.send_last(event("a", "2")).await;
    two.fails(12, "protocol").await;
    let mut none = caller.call(PUBLISH).await;
    none.half_close();
    none.fails(12, "protocol").await;
    let mut compressed = caller.call_headers(PUBLISH, &[("grpc-encoding", "gzip")]).await;
    compressed.send_flagged(1, &event("a", "1"), true).await;
    let end = compressed.end().await;
    assert_eq!(
        (end.code.as_str(), &end.trailers["grpc-accept-encoding"]),
        ("12", &"identity".parse().unwrap())
    );
    let mut broken = caller.call(PUBLISH).await;
    broken.send_flagged(1, &event("a", "1"), true).await;
    broken.fails(13, "protocol").await;
    assert_eq!(gateway.window().topics.totals().published[1], ("no_subscriber", 0));
}

#[tokio::test]
async fn an_event_that_nobody_got_may_come_again_where_each_is_delivered_once() {
    let gateway = Gateway::with(json!({ "events": { "deduplicate": true } }));
    let caller = gateway.caller().await;
    let published = async || {
        let mut call = caller.call(PUBLISH).await;
        call.send_last(event("a", "1")).await;
        let answer = PublishResponse::decode(call.message().await).unwrap();
        call.succeeds().await;
        (answer.subscribers, answer.duplicate)
    };
    assert_eq!(published().await, (0, false));
    assert_eq!(published().await, (0, false), "nobody got the first");
    let mut peer = gateway.peer_with(&[], &[]).await;
    peer.subscribe(&["a"]).await;
    until("a subscriber", async || gateway.window().topics.look().len() == 1).await;
    assert_eq!(published().await, (1, false));
    assert_eq!(published().await, (0, true));
    assert_eq!(peer.event().await.event_id, "1");
}

#[tokio::test]
async fn a_key_that_is_taken_away_ends_calls_that_have_said_nothing_yet() {
    const CALLERS: &str = "a-key-of-callers-0123456789-0123456789-abc";
    let keys =
        |keys: serde_json::Value| json!({ "keys": keys, "callers": { "require_key": true } });
    let tests = || key("tests", crate::support::KEY, json!({}));
    let gateway = Gateway::with(keys(json!([tests(), key("callers", CALLERS, json!({}))])));
    let caller = gateway.caller().await;
    let mut calls = Vec::new();
    for method in [PUBLISH, PUBLISH_STREAM, SUBSCRIBE] {
        calls.push(caller.call_headers(method, &[("x-adit-key", CALLERS)]).await);
    }
    until("three streams", async || open_streams(&gateway) == 3).await;
    gateway.reload(keys(json!([tests()]))).await;
    for call in &mut calls {
        call.fails(16, "bad_credentials").await;
    }
}
