//! Files that change while the gateway runs.

use serde_json::json;
use tokio_rustls::rustls::AlertDescription;

use crate::certificates::{Authority, Files, Pair};
use crate::clients::{Client, certificate};
use crate::support::{Gateway, call_whole, until};

/// Whether new connections are shown this certificate.
async fn shows(gateway: &Gateway, client: &Client, pair: &Pair) -> bool {
    let stream = client.shakes_hands(gateway.address()).await.unwrap();
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0] == certificate(&pair.certificate)
}

#[tokio::test]
async fn new_connections_are_shown_the_new_certificate_and_old_ones_go_on() {
    let authority = Authority::new();
    let (first, second) = (authority.signs("localhost"), authority.signs("localhost"));
    let files = Files::of(&first);
    let gateway = Gateway::with(json!({ "listeners": [files.listener()] }));
    let client = Client::trusting(&authority);
    let mut peer = client.peer(gateway.address(), "demo.Echo").await;
    let caller = client.caller(gateway.address()).await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "begun before").await;
    let request = peer.request().await;
    assert!(shows(&gateway, &client, &first).await);

    files.replace(&second);
    until("the new certificate", || shows(&gateway, &client, &second)).await;
    peer.answer(crate::support::ok(&request, "ended after")).await;
    assert_eq!(call.message().await, "ended after");
    call.succeeds().await;
}

#[tokio::test]
async fn a_pair_that_does_not_fit_changes_nothing_until_it_does() {
    let authority = Authority::new();
    let (first, second) = (authority.signs("localhost"), authority.signs("localhost"));
    let files = Files::of(&first);
    let gateway = Gateway::with(json!({ "listeners": [files.listener()] }));
    let client = Client::trusting(&authority);
    for half in [&second.certificate[..300], &second.certificate] {
        files.replace_certificate(half);
        // The gateway looks at its files several times meanwhile.
        for _ in 0..20 {
            assert!(shows(&gateway, &client, &first).await);
        }
    }
    files.replace(&second);
    until("the new certificate", || shows(&gateway, &client, &second)).await;
}

#[tokio::test]
async fn other_client_cas_are_asked_for_from_the_next_connection_on() {
    let (authority, before, after) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::of(&authority.signs("localhost"));
    let gateway = Gateway::with(json!({ "listeners": [files.listener_for(&before)] }));
    let address = gateway.address();
    let old = Client::showing(&authority, &before.signs("agent.example.com"));
    let new = Client::showing(&authority, &after.signs("agent.example.com"));
    let mut peer = old.peer(address, "demo.Echo").await;
    assert_eq!(new.is_refused(address).await, AlertDescription::UnknownCA);

    files.replace_client_ca(&after);
    until("the new CA", || new.is_taken(address)).await;
    assert_eq!(old.is_refused(address).await, AlertDescription::UnknownCA);
    let caller = new.caller(address).await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "hi").await;
    peer.echo().await;
    assert_eq!(call.message().await, "hi");
}

#[tokio::test]
async fn another_configuration_brings_the_files_along_at_once() {
    let authority = Authority::new();
    let (first, second) = (authority.signs("localhost"), authority.signs("localhost"));
    let files = Files::of(&first);
    let mut listener = files.listener();
    listener["tls"]["reload_interval"] = json!("1d");
    let gateway = Gateway::with(json!({ "listeners": [listener] }));
    let client = Client::trusting(&authority);
    files.replace(&second);
    assert!(shows(&gateway, &client, &first).await);
    gateway.reload(json!({ "listeners": [listener] })).await;
    until("the new certificate", || shows(&gateway, &client, &second)).await;
}
