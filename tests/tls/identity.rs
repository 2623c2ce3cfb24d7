//! What a client's certificate opens, and what it does not.

use adit::auth::key::KeyDigest;
use serde_json::{Value, json};

use crate::certificates::{Authority, Files};
use crate::clients::Client;
use crate::support::{Gateway, KEY, Peer, call_whole};

/// The key of all tests, bound to names.
fn key_for(names: &[&str]) -> Value {
    let digest = KeyDigest::of(KEY.as_bytes()).to_string();
    json!([{ "id": "bound", "sha256": digest, "certificate_names": names }])
}

#[tokio::test]
async fn a_key_that_is_bound_to_names_opens_tunnels_only_with_one_of_them() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = Files::of(&authority.signs("localhost"));
    let gateway = Gateway::with(json!({
        "listeners": [files.listener_for(&clients)],
        "keys": key_for(&["*.agents.example.com", "spiffe://example.com/billing"]),
    }));
    let address = gateway.address();
    for good in [
        clients.signs("Eu-1.agents.example.com"),
        clients.signs_uri("spiffe://example.com/billing"),
    ] {
        drop(Client::showing(&authority, &good).peer(address, "demo.Echo").await);
    }
    for bad in [
        clients.signs("agents.example.com"),
        clients.signs("eu-1.agents.example.org"),
        clients.signs_uri("spiffe://example.com/billing/api"),
        clients.signs_uri("eu-1.agents.example.com"),
    ] {
        let mut peer = Client::showing(&authority, &bad).registers(address, "demo.Echo").await;
        peer.ends(7, "scope").await;
    }
}

#[tokio::test]
async fn a_key_that_is_bound_to_no_name_goes_with_every_certificate() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = Files::of(&authority.signs("localhost"));
    let gateway = Gateway::with(json!({ "listeners": [files.listener_for(&clients)] }));
    let client = Client::showing(&authority, &clients.signs("anybody.example.com"));
    drop(client.peer(gateway.address(), "demo.Echo").await);
}

#[tokio::test]
async fn a_certificate_alone_opens_nothing() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = Files::of(&authority.signs("localhost"));
    let gateway = Gateway::with(json!({
        "listeners": [files.listener_for(&clients)], "keys": key_for(&["agent.example.com"]),
    }));
    let client = Client::showing(&authority, &clients.signs("agent.example.com"));
    let connection = client.connects(gateway.address()).await;
    let mut peer = Peer::dial_on(&connection, gateway.address()).await;
    peer.register("wrong", &["demo.Echo"], &[]).await;
    peer.ends(16, "bad_credentials").await;
}

#[tokio::test]
async fn a_bound_key_is_worth_nothing_where_no_certificate_is_asked_for() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = Files::of(&authority.signs("localhost"));
    let gateway = Gateway::with(json!({
        "listeners": [
            files.listener_for(&clients), files.listener(), { "address": "127.0.0.1:0" },
        ],
        "keys": key_for(&["agent.example.com"]),
    }));
    // A certificate that nobody asks for is not shown.
    let client = Client::showing(&authority, &clients.signs("agent.example.com"));
    client.registers(gateway.addresses[1], "demo.Echo").await.ends(7, "scope").await;
    let mut peer = Peer::dial(gateway.addresses[2]).await;
    peer.register(KEY, &["demo.Echo"], &[]).await;
    peer.ends(7, "scope").await;
    drop(client.peer(gateway.addresses[0], "demo.Echo").await);
}

#[tokio::test]
async fn a_bound_key_admits_callers_only_with_its_name() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = Files::of(&authority.signs("localhost"));
    let gateway = Gateway::with(json!({
        "listeners": [files.listener_for(&clients)],
        "keys": key_for(&["agent.example.com"]),
        "callers": { "require_key": true },
    }));
    let (address, key) = (gateway.address(), [("x-adit-key", KEY)]);
    let good = Client::showing(&authority, &clients.signs("agent.example.com"));
    let mut peer = good.peer(address, "demo.Echo").await;

    let mut call = good.caller(address).await.call_headers("/demo.Echo/Say", &key).await;
    call.send_last("hi").await;
    peer.echo().await;
    assert_eq!(call.message().await, "hi");

    let other = Client::showing(&authority, &clients.signs("other.example.com"));
    let other = other.caller(address).await;
    other.call_headers("/demo.Echo/Say", &key).await.fails(7, "scope").await;
    call_whole(&other, "/demo.Echo/Say", "").await.fails(16, "no_credentials").await;
}

#[tokio::test]
async fn a_tunnel_ends_when_its_key_is_bound_to_other_names() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = Files::of(&authority.signs("localhost"));
    let listeners = json!([files.listener_for(&clients)]);
    let bound_to = |names: &[&str]| json!({ "listeners": listeners, "keys": key_for(names) });
    let gateway = Gateway::with(bound_to(&["*.example.com"]));
    let showing = |name: &str| Client::showing(&authority, &clients.signs(name));
    let mut ended = showing("a.example.com").peer(gateway.address(), "demo.Echo").await;
    let mut kept = showing("b.example.com").peer(gateway.address(), "demo.Kept").await;
    gateway.reload(bound_to(&["b.example.com"])).await;
    ended.ends(7, "scope").await;
    let caller = showing("c.example.com").caller(gateway.address()).await;
    let mut call = call_whole(&caller, "/demo.Kept/Say", "hi").await;
    kept.echo().await;
    assert_eq!(call.message().await, "hi");
}
