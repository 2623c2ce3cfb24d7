//! Which tunnel a call goes to, and what happens while there is none.

use std::collections::BTreeMap;

use adit::auth::key::KeyDigest;
use bytes::Bytes;
use serde_json::json;

use crate::support::{Caller, Gateway, KEY, Peer, call_whole, ok, until};

#[tokio::test]
async fn a_call_waits_for_its_tunnel_and_is_answered() {
    let gateway = waiting_gateway("20s");
    let caller = gateway.caller().await;
    // The message alone first: the gateway cannot know yet that it is all.
    let mut half_said = caller.call("/demo.Echo/Say").await;
    half_said.send("half").await;
    let mut silent = caller.call("/demo.Echo/Say").await;
    let mut whole = call_whole(&caller, "/demo.Echo/Say", "whole").await;
    three_wait(&caller).await;

    let mut peer = gateway.peer("demo.Echo").await;
    let mut seen = BTreeMap::new();
    for _ in 0..2 {
        let request = peer.request().await;
        seen.insert(request.payload.clone(), request);
    }
    peer.answer(ok(&seen[&b"whole"[..]], "whole")).await;
    assert_eq!(whole.message().await, "whole");
    whole.succeeds().await;
    silent.send_last("spoke").await;
    let request = peer.request().await;
    peer.answer(ok(&request, "silent")).await;
    assert_eq!(silent.message().await, "silent");
    half_said.half_close();
    peer.request().await;
    peer.answer(ok(&seen[&b"half"[..]], "half")).await;
    assert_eq!(half_said.message().await, "half");
}

#[tokio::test]
async fn a_call_that_waits_in_vain_did_not_run() {
    let gateway = waiting_gateway("50ms");
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    call.fails(14, "no_tunnel").await;
    let mut silent = caller.call("/demo.Echo/Say").await;
    silent.fails(14, "no_tunnel").await;
    let mut hurried = caller.call_headers("/demo.Echo/Say", &[("grpc-timeout", "10m")]).await;
    hurried.send_last("").await;
    hurried.fails(4, "deadline").await;
    let mut unknown = call_whole(&caller, "/demo.Other/Say", "").await;
    unknown.fails(12, "unknown_service").await;
}

#[tokio::test]
async fn a_drain_does_not_wait_for_tunnels() {
    let gateway = waiting_gateway("1h");
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    let _second = call_whole(&caller, "/demo.Echo/Say", "").await;
    let _third = call_whole(&caller, "/demo.Echo/Say", "").await;
    three_wait(&caller).await;
    gateway.ask_to_stop();
    call.fails(14, "draining").await;
}

#[tokio::test]
async fn a_caller_that_leaves_while_it_waits_makes_room() {
    let gateway = waiting_gateway("1h");
    let caller = gateway.caller().await;
    let other = gateway.caller().await;
    let mut first = call_whole(&other, "/demo.Echo/Say", "").await;
    let _second = call_whole(&other, "/demo.Echo/Say", "").await;
    let _silent = other.call("/demo.Echo/Say").await;
    three_wait(&other).await;
    first.cancel();
    until("room for another", || has_room(&caller)).await;
}

/// Whether a call waits until its deadline instead of being refused at once.
async fn has_room(caller: &Caller) -> bool {
    let mut call = caller.call_headers("/demo.Echo/Say", &[("grpc-timeout", "10m")]).await;
    call.send_last("").await;
    let end = call.end().await;
    assert!(["4", "8"].contains(&end.code.as_str()), "{end:?}");
    end.code == "4"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_calls_of_a_session_go_to_one_tunnel_until_that_goes() {
    let gateway = Gateway::with(json!({
        "routing": { "services": [
            { "name": "demo.*", "affinity": { "metadata": "x-session-id" } }
        ] },
    }));
    let mut peers = BTreeMap::new();
    for place in 0..4 {
        let peer = gateway.peer("demo.Echo").await;
        let name = Bytes::from(place.to_string());
        peers.insert(name.clone(), tokio::spawn(answer_with(peer, name)));
    }
    // Two connections, so that both workers choose.
    let callers = [gateway.caller().await, gateway.caller().await];
    let mut homes = BTreeMap::new();
    for round in 0..4 {
        for session in 0..16 {
            let home = home_of(&callers[round % 2], session).await;
            assert_eq!(homes.entry(session).or_insert(home.clone()), &home, "session {session}");
        }
    }
    assert!(homes.values().any(|home| *home != homes[&0]), "not all are in one place: {homes:?}");

    let gone = homes[&0].clone();
    peers[&gone].abort();
    for session in 0..16 {
        let home = home_of(&callers[0], session).await;
        assert_eq!(home == homes[&session], homes[&session] != gone, "session {session}");
    }
}

/// Answers every call with the same message.
async fn answer_with(mut peer: Peer, text: Bytes) {
    loop {
        let request = peer.request().await;
        peer.answer(ok(&request, text.clone())).await;
    }
}

/// Where the calls of a session go; one that meets a tunnel that is about to go is made again.
async fn home_of(caller: &Caller, session: u32) -> Bytes {
    loop {
        let session = format!("session-{session}");
        let mut call = caller.call_headers("/demo.Echo/Say", &[("x-session-id", &session)]).await;
        call.send_last("").await;
        match call.next().await {
            Some(home) => return home,
            None => call.fails(14, "tunnel_lost").await,
        }
    }
}

/// Three calls of the only known name may wait.
fn waiting_gateway(wait: &str) -> Gateway {
    Gateway::with(json!({
        "keys": [{ "id": "tests", "sha256": digest(), "services": ["demo.Echo"] }],
        "routing": { "wait_for_tunnel": wait },
        "limits": { "waiting_calls_max": 3 },
    }))
}

fn digest() -> String {
    KeyDigest::of(KEY.as_bytes()).to_string()
}

/// Three calls of this caller wait: the gateway has let them in before this one, which came later on
/// the same connection.
async fn three_wait(caller: &Caller) {
    let mut fourth = call_whole(caller, "/demo.Echo/Say", "").await;
    fourth.fails(8, "queue_full").await;
}
