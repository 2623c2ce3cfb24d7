//! Asked to stop, the gateway lets calls in flight finish.

use adit::app::Ended;
use serde_json::json;

use crate::support::{Gateway, Peer, call_whole, ok, until};

#[tokio::test]
async fn an_idle_gateway_stops_at_once() {
    let gateway = Gateway::start();
    gateway.ask_to_stop();
    assert_eq!(gateway.ended(), Ended::Drained);
}

#[tokio::test]
async fn calls_in_flight_finish_and_new_ones_are_refused() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let address = gateway.address();

    let mut call = call_whole(&caller, "/demo.Echo/Say", "finish me").await;
    let request = peer.request().await;
    gateway.ask_to_stop();
    // New connections are not taken once the drain has begun.
    until("the listener to close", || async {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
    peer.answer(ok(&request, "finished")).await;
    assert_eq!(call.message().await, "finished");
    call.succeeds().await;
    peer.ends(14, "draining").await;
    let ended = tokio::task::spawn_blocking(move || gateway.ended()).await.unwrap();
    assert_eq!(ended, Ended::Drained);
}

#[tokio::test]
async fn a_call_that_outlives_the_grace_is_ended() {
    let gateway = Gateway::with(json!({ "drain": { "grace": "50ms" } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    peer.request().await;
    gateway.ask_to_stop();
    assert_eq!(call.end().await.code, "14");
    let ended = tokio::task::spawn_blocking(move || gateway.ended()).await.unwrap();
    assert_eq!(ended, Ended::GraceOver);
}

#[tokio::test]
async fn a_second_request_to_stop_does_not_wait() {
    let gateway = Gateway::start();
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let _call = call_whole(&caller, "/demo.Echo/Say", "").await;
    peer.request().await;
    gateway.ask_to_stop();
    gateway.ask_to_stop();
    let ended = tokio::task::spawn_blocking(move || gateway.ended()).await.unwrap();
    assert_eq!(ended, Ended::Forced);
}

#[tokio::test]
async fn a_peer_without_a_call_is_told_that_the_gateway_drains() {
    let gateway = Gateway::start();
    let mut peer: Peer = gateway.peer("demo.Echo").await;
    gateway.ask_to_stop();
    peer.ends(14, "draining").await;
}
