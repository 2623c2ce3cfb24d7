//! The gateway tells how it and the services behind it fare.

use std::collections::{BTreeMap, BTreeSet};

use adit::app::Ended;
use adit::grpc::own_proto::health::health_check_response::ServingStatus;
use adit::grpc::own_proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListResponse};
use prost::Message;
use serde_json::json;

use crate::support::caller::CallerCall;
use crate::support::{Caller, Gateway, KEY, call_whole, key, ok, until};

const BOTS: &str = "the-key-of-the-bots-0123456789-0123456789";

const CHECK: &str = "/grpc.health.v1.Health/Check";
const LIST: &str = "/grpc.health.v1.Health/List";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

use ServingStatus::{NotServing, ServiceUnknown, Serving};

#[tokio::test]
async fn a_service_is_serving_while_a_tunnel_offers_it_and_is_known_after() {
    let gateway = Gateway::start();
    // Connections go to the workers in turn.
    let callers = [gateway.caller().await, gateway.caller().await];
    for caller in &callers {
        assert_eq!(check(caller, "").await, Ok(Serving));
        assert_eq!(check(caller, "demo.Echo").await, Err("5".to_owned()));
    }
    let peer = gateway.peer("demo.Echo").await;
    for caller in &callers {
        assert_eq!(check(caller, "demo.Echo").await, Ok(Serving));
    }
    drop(peer);
    for caller in &callers {
        until("the tunnel to be gone", || async {
            check(caller, "demo.Echo").await == Ok(NotServing)
        })
        .await;
        assert_eq!(check(caller, "").await, Ok(Serving));
    }
}

#[tokio::test]
async fn a_name_is_matched_as_for_calls() {
    let gateway = Gateway::start();
    let _peer = gateway.peer("Echo").await;
    let caller = gateway.caller().await;
    assert_eq!(check(&caller, "Echo").await, Ok(Serving));
    assert_eq!(check(&caller, "demo.Echo").await, Ok(Serving));
    assert_eq!(check(&caller, "demo.Ech").await, Err("5".to_owned()));
}

#[tokio::test]
async fn the_grace_after_a_start_is_for_calls_and_not_for_health() {
    let gateway = Gateway::with(json!({ "routing": { "startup_grace": "1h" } }));
    let caller = gateway.caller().await;
    call_whole(&caller, "/demo.Echo/Say", "").await.fails(14, "no_tunnel").await;
    assert_eq!(check(&caller, "demo.Echo").await, Err("5".to_owned()));
}

#[tokio::test]
async fn a_watch_tells_at_once_and_then_each_change_and_nothing_else() {
    let gateway = Gateway::start();
    let caller = gateway.caller().await;
    let mut watch = watch(&caller, "demo.Echo").await;
    assert_eq!(told(&mut watch).await, ServiceUnknown);
    let one = gateway.peer("demo.Echo").await;
    assert_eq!(told(&mut watch).await, Serving);
    let two = gateway.peer("demo.Echo").await;
    let _other = gateway.peer("demo.Other").await;
    drop(one);
    drop(two);
    assert_eq!(told(&mut watch).await, NotServing);
    let _three = gateway.peer("demo.Echo").await;
    assert_eq!(told(&mut watch).await, Serving);
}

#[tokio::test]
async fn a_late_tunnel_is_not_serving_until_it_is_heard_again() {
    let gateway = Gateway::with(json!({ "heartbeat": {
        "interval": "100ms", "late_after": "200ms", "dead_after": "1h"
    } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut watch = watch(&caller, "demo.Echo").await;
    if told(&mut watch).await == Serving {
        assert_eq!(told(&mut watch).await, NotServing);
    }
    peer.beat(0).await;
    assert_eq!(told(&mut watch).await, Serving);
}

#[tokio::test]
async fn a_gateway_that_drains_is_not_serving_before_its_last_call_has_ended() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut watches = Vec::new();
    for (service, first) in
        [("", Serving), ("demo.Echo", Serving), ("demo.Unknown", ServiceUnknown)]
    {
        let mut watch = watch(&caller, service).await;
        assert_eq!(told(&mut watch).await, first);
        watches.push(watch);
    }
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;

    gateway.ask_to_stop();
    assert_eq!(told(&mut watches[0]).await, NotServing);
    assert_eq!(told(&mut watches[1]).await, NotServing);

    peer.answer(ok(&request, "finished")).await;
    assert_eq!(call.message().await, "finished");
    call.succeeds().await;
    // They end with the gateway and do not hold it up.
    for watch in &mut watches {
        watch.fails(14, "draining").await;
    }
    assert_eq!(gateway.ended().await, Ended::Drained);
}

#[tokio::test]
async fn watches_are_limited_and_a_caller_that_leaves_makes_room() {
    let gateway = Gateway::with(json!({ "limits": { "health_watches_max": 1 } }));
    let caller = gateway.caller().await;
    let mut first = watch(&caller, "").await;
    assert_eq!(told(&mut first).await, Serving);
    watch(&caller, "").await.fails(8, "inflight_limit").await;
    assert_eq!(check(&caller, "").await, Ok(Serving), "a check is no watch");
    first.cancel();
    until("room for a watch", || async {
        watch(&caller, "").await.try_next().await.is_ok_and(|message| message.is_some())
    })
    .await;
}

#[tokio::test]
async fn a_watch_that_is_read_slowly_tells_the_latest_and_not_all() {
    let gateway = Gateway::start();
    // Room for one status and a part of the next.
    let slow = Caller::connect_narrow(gateway.address(), 8).await;
    let caller = gateway.caller().await;
    let mut watch = watch(&slow, "demo.Echo").await;
    for _ in 0..20 {
        let peer = gateway.peer("demo.Echo").await;
        drop(peer);
        until("the tunnel to be gone", || async {
            check(&caller, "demo.Echo").await == Ok(NotServing)
        })
        .await;
    }
    gateway.ask_to_stop();
    let mut statuses = Vec::new();
    while let Some(message) = watch.next().await {
        statuses.push(status(&message));
    }
    assert!(statuses.len() <= 3, "{statuses:?}");
    assert_eq!(statuses.last(), Some(&NotServing), "{statuses:?}");
}

#[tokio::test]
async fn a_watch_that_is_not_read_at_all_is_given_up() {
    let gateway = Gateway::with(json!({ "limits": { "send_stall_timeout": "100ms" } }));
    let slow = Caller::connect_narrow(gateway.address(), 8).await;
    let mut watch = watch(&slow, "demo.Echo").await;
    assert_eq!(watch.status().await, 200);
    let _peer = gateway.peer("demo.Echo").await;
    assert_eq!(watch.was_reset().await, h2::Reason::CANCEL);
}

#[tokio::test]
async fn a_list_has_all_known_names_up_to_a_hundred() {
    let gateway = Gateway::start();
    let caller = gateway.caller().await;
    let _peer = gateway.peer_with(&["demo.Echo", "Plain"], &[]).await;
    let gone = gateway.peer("demo.Gone").await;
    drop(gone);
    until("the tunnel to be gone", || async {
        check(&caller, "demo.Gone").await == Ok(NotServing)
    })
    .await;
    let mut list = call_whole(&caller, LIST, "").await;
    let listed = HealthListResponse::decode(list.message().await).unwrap().statuses;
    list.succeeds().await;
    let listed: BTreeMap<_, _> =
        listed.iter().map(|(name, response)| (name.as_str(), response.status())).collect();
    let expected =
        [("", Serving), ("Plain", Serving), ("demo.Echo", Serving), ("demo.Gone", NotServing)];
    assert_eq!(listed, BTreeMap::from(expected));

    let names: Vec<String> = (0..97).map(|n| format!("many.S{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let _more = gateway.peer_with(&names[..60], &[]).await;
    let _most = gateway.peer_with(&names[60..96], &[]).await;
    let mut list = call_whole(&caller, LIST, "").await;
    assert_eq!(HealthListResponse::decode(list.message().await).unwrap().statuses.len(), 100);
    let _too_many = gateway.peer_with(&names[96..], &[]).await;
    assert_eq!(call_whole(&caller, LIST, "").await.end().await.code, "8");
}

#[tokio::test]
async fn without_a_key_only_the_gateway_itself_is_told_of() {
    let gateway = Gateway::with(json!({ "callers": { "require_key": true } }));
    let _peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    assert_eq!(check(&caller, "").await, Ok(Serving));
    assert_eq!(told(&mut watch(&caller, "").await).await, Serving);
    for path in [CHECK, WATCH] {
        let mut call = call_whole(&caller, path, request("demo.Echo")).await;
        call.fails(16, "no_credentials").await;
    }
    call_whole(&caller, LIST, "").await.fails(16, "no_credentials").await;
    for (key, code) in [(KEY, "0"), ("wrong", "16")] {
        let mut call = caller.call_headers(CHECK, &[("x-adit-key", key)]).await;
        call.send_last(request("demo.Echo")).await;
        while call.next().await.is_some() {}
        assert_eq!(call.end().await.code, code);
    }
}

#[tokio::test]
async fn a_caller_is_told_of_what_its_key_may_call() {
    let bots = key("bots", BOTS, json!({ "register": [], "call": ["a.*"] }));
    let gateway = Gateway::with(json!({
        "keys": [key("tests", KEY, json!({})), bots], "callers": { "require_key": true }
    }));
    let _peer = gateway.peer_with(&["a.One", "b.Two"], &[]).await;
    let caller = gateway.caller().await;
    let ask = async |path: &str, message: Vec<u8>| {
        let mut call = caller.call_headers(path, &[("x-adit-key", BOTS)]).await;
        call.send_last(message).await;
        call
    };
    assert_eq!(told(&mut ask(CHECK, request("a.One")).await).await, Serving);
    ask(CHECK, request("b.Two")).await.fails(7, "scope").await;
    ask(WATCH, request("b.None")).await.fails(7, "scope").await;
    let listed = ask(LIST, Vec::new()).await.message().await;
    let listed = HealthListResponse::decode(listed).unwrap().statuses;
    let listed: BTreeSet<_> = listed.keys().map(String::as_str).collect();
    assert_eq!(listed, BTreeSet::from(["", "a.One"]));
}

#[tokio::test]
async fn a_name_that_a_new_configuration_makes_known_is_seen_by_its_watch() {
    let gateway = Gateway::start();
    let caller = gateway.caller().await;
    let mut watch = watch(&caller, "demo.Echo").await;
    assert_eq!(told(&mut watch).await, ServiceUnknown);
    let declared = json!({ "register": ["demo.Echo"] });
    gateway.reload(json!({ "keys": [key("tests", KEY, declared)] })).await;
    assert_eq!(told(&mut watch).await, NotServing);
}

#[tokio::test]
async fn health_can_be_switched_off() {
    let gateway =
        Gateway::with(json!({ "listeners": [{ "address": "127.0.0.1:0", "health": false }] }));
    let caller = gateway.caller().await;
    call_whole(&caller, CHECK, "").await.fails(12, "unknown_service").await;
}

#[tokio::test]
async fn health_answers_when_no_call_is_admitted_any_more() {
    let gateway = Gateway::with(json!({ "limits": { "calls_max": 1 } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let _call = call_whole(&caller, "/demo.Echo/Say", "").await;
    peer.request().await;
    call_whole(&caller, "/demo.Echo/Say", "").await.fails(8, "inflight_limit").await;
    assert_eq!(check(&caller, "").await, Ok(Serving));
    assert_eq!(check(&caller, "demo.Echo").await, Ok(Serving));
}

#[tokio::test]
async fn what_is_no_method_of_health_is_unimplemented_and_what_is_too_long_is_refused() {
    let gateway = Gateway::start();
    let caller = gateway.caller().await;
    assert_eq!(call_whole(&caller, "/grpc.health.v1.Health/No", "").await.end().await.code, "12");
    let mut call = call_whole(&caller, CHECK, request(&"x".repeat(5_000))).await;
    assert_eq!(call.end().await.code, "11");
    let mut get = caller.request(CHECK);
    *get.method_mut() = http::Method::GET;
    assert_eq!(caller.call_with(get).await.status().await, 405);
}

fn request(service: &str) -> Vec<u8> {
    HealthCheckRequest { service: service.to_owned() }.encode_to_vec()
}

fn status(message: &[u8]) -> ServingStatus {
    HealthCheckResponse::decode(message).unwrap().status()
}

/// The status, or the code of the error.
async fn check(caller: &Caller, service: &str) -> Result<ServingStatus, String> {
    let mut call = call_whole(caller, CHECK, request(service)).await;
    match call.next().await {
        Some(message) => {
            call.succeeds().await;
            Ok(status(&message))
        }
        None => Err(call.end().await.code),
    }
}

async fn watch(caller: &Caller, service: &str) -> CallerCall {
    call_whole(caller, WATCH, request(service)).await
}

async fn told(watch: &mut CallerCall) -> ServingStatus {
    status(&watch.message().await)
}
