//! What keys allow, how much, and until when; and what happens when that changes.

use std::time::{Duration, SystemTime};

use adit::auth::key::KeyDigest;
use adit::grpc::proto::connection_message::MessageType;
use adit::grpc::proto::{ForwardRequest, StreamingInfo};
use serde_json::{Value, json};

use crate::support::caller::CallerCall;
use crate::support::{
    Caller, Gateway, KEY, Peer, call_whole, key, ok, soon, stream_end, stream_part, until,
};

const BOTS: &str = "the-key-of-the-bots-0123456789-0123456789";
const OLD: &str = "the-key-before-that-0123456789-0123456789";

/// A gateway that knows the key of the tests and one for the bots.
fn keys(bots: Value) -> Value {
    json!({ "keys": [key("tests", KEY, json!({})), key("bots", BOTS, bots)] })
}

/// The same, where callers show a key.
fn callers_keys(bots: Value) -> Value {
    let mut settings = keys(bots);
    settings["callers"] = json!({ "require_key": true });
    settings
}

async fn bots_peer(gateway: &Gateway, services: &[&str]) -> Peer {
    let mut peer = Peer::dial(gateway.address()).await;
    peer.register(BOTS, services, &["stream", "cancel"]).await;
    peer
}

async fn call_with(caller: &Caller, path: &str, key: &str) -> CallerCall {
    let mut call = caller.call_headers(path, &[("x-adit-key", key)]).await;
    call.send_last("hi").await;
    call
}

/// The call has one message for an answer, and a good end.
async fn answered(call: &mut CallerCall) {
    call.message().await;
    call.succeeds().await;
}

fn request(id: &str, path: &str) -> MessageType {
    MessageType::Request(ForwardRequest {
        request_id: id.to_owned(),
        method_path: path.to_owned(),
        streaming_info: Some(StreamingInfo { is_stream_end: true, ..StreamingInfo::default() }),
        ..ForwardRequest::default()
    })
}

/// A date so far from now, as the configuration has it.
fn in_time(time: Duration) -> String {
    jiff::Timestamp::try_from(SystemTime::now() + time).unwrap().to_string()
}

// === Scopes ===

#[tokio::test]
async fn a_key_calls_only_what_its_scope_allows() {
    let gateway = Gateway::with(callers_keys(json!({ "call": ["demo.*"] })));
    let mut peer = gateway.peer_with(&["demo.Echo", "bank.Account"], &[]).await;
    let caller = gateway.caller().await;

    let mut call = call_with(&caller, "/demo.Echo/Say", BOTS).await;
    peer.echo().await;
    answered(&mut call).await;
    call_with(&caller, "/bank.Account/Pay", BOTS).await.fails(7, "scope").await;
    // Who may not call is not told what is there.
    call_with(&caller, "/bank.Nothing/Pay", BOTS).await.fails(7, "scope").await;
    let mut call = call_with(&caller, "/bank.Account/Pay", KEY).await;
    peer.echo().await;
    answered(&mut call).await;
}

#[tokio::test]
async fn a_peer_calls_only_what_the_scope_of_its_key_allows() {
    let gateway = Gateway::with(keys(json!({ "call": ["demo.*"], "register": [] })));
    let mut server = gateway.peer("demo.Echo").await;
    let mut client = bots_peer(&gateway, &[]).await;
    client.connected().await;

    client.send(request("1", "/bank.Account/Pay")).await;
    let refused = client.response().await;
    assert_eq!((refused.request_id.as_str(), refused.status_code), ("1", 7));
    client.send(request("2", "/demo.Echo/Say")).await;
    server.echo().await;
    assert_eq!(client.response().await.status_code, 0);
}

#[tokio::test]
async fn a_key_that_may_register_nothing_still_opens_a_tunnel() {
    let gateway = Gateway::with(keys(json!({ "register": [] })));
    bots_peer(&gateway, &[]).await.connected().await;
    bots_peer(&gateway, &["demo.Echo"]).await.ends(7, "scope").await;
}

#[tokio::test]
async fn a_name_that_a_key_writes_out_belongs_to_it_unless_it_is_shared() {
    let gateway = Gateway::with(keys(json!({ "register": ["demo.Echo"] })));
    let mut squatter = Peer::dial(gateway.address()).await;
    squatter.register(KEY, &["demo.Echo"], &[]).await;
    squatter.ends(7, "scope").await;
    bots_peer(&gateway, &["demo.Echo"]).await.connected().await;

    let gateway = Gateway::with(keys(json!({ "register": ["demo.Echo"], "shared": true })));
    gateway.peer("demo.Echo").await;
}

// === Limits of one key ===

#[tokio::test]
async fn a_key_has_as_many_tunnels_and_names_as_it_may() {
    let limits = json!({ "limits": { "tunnels_max": 2, "services_max": 2 } });
    let gateway = Gateway::with(keys(limits));
    let mut first = bots_peer(&gateway, &["demo.A", "demo.B"]).await;
    first.connected().await;
    bots_peer(&gateway, &["demo.C"]).await.ends(8, "tunnel_limit").await;
    let mut second = bots_peer(&gateway, &["demo.B"]).await;
    second.connected().await;
    bots_peer(&gateway, &["demo.A"]).await.ends(8, "tunnel_limit").await;
    gateway.peer("demo.C").await;
}

#[tokio::test]
async fn a_key_has_as_many_calls_in_flight_as_it_may() {
    let gateway = Gateway::with(callers_keys(json!({ "limits": { "calls_max": 1 } })));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_with(&caller, "/demo.Echo/Say", BOTS).await;
    let running = peer.request().await;

    call_with(&caller, "/demo.Echo/Say", BOTS).await.fails(8, "inflight_limit").await;
    let mut other = call_with(&caller, "/demo.Echo/Say", KEY).await;
    peer.echo().await;
    answered(&mut other).await;

    peer.answer(ok(&running, "")).await;
    answered(&mut call).await;
    let echoes = async {
        loop {
            peer.echo().await;
        }
    };
    let place_is_free = async || call_with(&caller, "/demo.Echo/Say", BOTS).await.next().await;
    tokio::select! {
        () = until("the place of the call", async || place_is_free().await.is_some()) => {}
        () = echoes => {}
    }
}

// === Dates and changes ===

/// One key asks for ten times what it may have; nine others ask politely.
#[tokio::test]
async fn who_is_noisy_is_held_to_its_share_and_the_polite_notice_nothing() {
    let polite: Vec<_> =
        (0..9).map(|n| format!("the-polite-key-number-{n}-0123456789-0123456789")).collect();
    let mut settings = callers_keys(json!({ "limits": { "calls_max": 5 } }));
    settings["limits"] = json!({ "calls_max": 24 });
    for (n, polite) in polite.iter().enumerate() {
        let entry = key(&format!("polite-{n}"), polite, json!({}));
        settings["keys"].as_array_mut().unwrap().push(entry);
    }
    let gateway = Gateway::with(settings);
    let mut noisy_peer = gateway.peer("demo.Noisy").await;
    let mut peer = gateway.peer("demo.Echo").await;
    let serving = tokio::spawn(async move {
        loop {
            peer.echo().await;
        }
    });
    let noisy = gateway.caller().await;
    let mut running = Vec::new();
    for _ in 0..5 {
        running.push(call_with(&noisy, "/demo.Noisy/Say", BOTS).await);
        noisy_peer.request().await;
    }
    let is_noisy = async {
        for _ in 0..45 {
            call_with(&noisy, "/demo.Noisy/Say", BOTS).await.fails(8, "inflight_limit").await;
        }
    };
    let mut callers = tokio::task::JoinSet::new();
    for key in polite {
        let caller = gateway.caller().await;
        callers.spawn(async move {
            for _ in 0..20 {
                answered(&mut call_with(&caller, "/demo.Echo/Say", &key).await).await;
            }
        });
    }
    tokio::join!(is_noisy, callers.join_all());
    serving.abort();
}

#[tokio::test]
async fn an_expired_key_opens_nothing() {
    let gateway = Gateway::with(callers_keys(json!({ "expires": "2020-02-29" })));
    bots_peer(&gateway, &["demo.Echo"]).await.ends(16, "bad_credentials").await;
    let caller = gateway.caller().await;
    let mut call = call_with(&caller, "/demo.Echo/Say", BOTS).await;
    call.fails(16, "bad_credentials").await;
}

#[tokio::test]
async fn a_tunnel_ends_when_its_key_expires() {
    let expires = in_time(Duration::from_secs(1));
    let gateway = Gateway::with(keys(json!({ "expires": expires })));
    let mut peer = bots_peer(&gateway, &["demo.Echo"]).await;
    peer.connected().await;
    soon("the end of the key", peer.ends(16, "bad_credentials")).await;
    call_whole(&gateway.caller().await, "/demo.Echo/Say", "").await.fails(14, "no_tunnel").await;
}

#[tokio::test]
async fn the_old_key_is_good_until_its_own_date() {
    let old = KeyDigest::of(OLD.as_bytes()).to_string();
    let rotation = json!({ "old_sha256": old, "old_expires": in_time(Duration::from_secs(2)),
                           "limits": { "tunnels_max": 2 } });
    let gateway = Gateway::with(keys(rotation));
    let mut before = Peer::dial(gateway.address()).await;
    before.register(OLD, &["demo.Echo"], &[]).await;
    before.connected().await;
    let mut after = bots_peer(&gateway, &["demo.Echo"]).await;
    after.connected().await;
    bots_peer(&gateway, &[]).await.ends(8, "tunnel_limit").await;

    before.ends(16, "bad_credentials").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.Echo/Say", "").await;
    after.echo().await;
    answered(&mut call).await;
}

#[tokio::test]
async fn a_key_that_is_taken_away_closes_its_tunnels_and_no_others() {
    let gateway = Gateway::with(callers_keys(json!({})));
    let mut peer = bots_peer(&gateway, &["demo.Bots"]).await;
    peer.connected().await;
    let mut other = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_with(&caller, "/demo.Echo/Say", BOTS).await;
    let running = other.request().await;

    gateway.reload(json!({ "callers": { "require_key": true } })).await;
    peer.ends(16, "bad_credentials").await;
    bots_peer(&gateway, &["demo.Bots"]).await.ends(16, "bad_credentials").await;
    // What it has called ends, and the service is told.
    call.fails(16, "bad_credentials").await;
    assert_eq!(other.cancel().await.request_id, running.request_id);
    let mut call = call_with(&caller, "/demo.Echo/Say", BOTS).await;
    call.fails(16, "bad_credentials").await;
}

/// As on a long day: its keys change, the configuration changes, and nobody asks the stream.
#[tokio::test]
async fn an_open_stream_lives_through_rotations_and_other_configurations() {
    let with_digest = |key: &str| KeyDigest::of(key.as_bytes()).to_string();
    let rotated = json!({ "sha256": with_digest(OLD), "old_sha256": with_digest(BOTS) });
    let gateway = Gateway::with(callers_keys(json!({})));
    let mut peer = bots_peer(&gateway, &["demo.Bots"]).await;
    peer.connected().await;
    let caller = gateway.caller().await;
    let mut stream = caller.call_headers("/demo.Bots/Chat", &[("x-adit-key", BOTS)]).await;
    for settings in
        [rotated, json!({ "limits": { "calls_max": 5 } }), json!({ "call": ["demo.*"] })]
    {
        stream.send("still there?").await;
        let request = peer.request().await;
        peer.answer(stream_part(&request, "yes")).await;
        assert_eq!(stream.message().await, "yes");
        peer.beat(0).await;
        gateway.reload(callers_keys(settings)).await;
    }
    until("the last one to be in force", async || {
        let mut call = call_with(&caller, "/bank.Account/Pay", BOTS).await;
        call.end().await.reason.as_deref() == Some("scope")
    })
    .await;
    stream.half_close();
    let end = peer.request().await;
    peer.answer(stream_end(&end)).await;
    stream.succeeds().await;
}

#[tokio::test]
async fn a_call_ends_when_its_key_expires_or_allows_it_no_more() {
    let mut settings = callers_keys(json!({ "expires": in_time(Duration::from_secs(1)) }));
    let gateway = Gateway::with(settings.take());
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut call = call_with(&caller, "/demo.Echo/Say", BOTS).await;
    peer.request().await;
    call.fails(16, "bad_credentials").await;
    assert!(!peer.cancel().await.request_id.is_empty());

    gateway.reload(callers_keys(json!({}))).await;
    let mut open = caller.call_headers("/demo.Echo/Say", &[("x-adit-key", BOTS)]).await;
    open.send("one").await;
    peer.request().await;
    gateway.reload(callers_keys(json!({ "call": ["other.*"] }))).await;
    open.fails(7, "scope").await;
}

#[tokio::test]
async fn a_narrower_key_closes_the_tunnels_that_it_does_not_allow() {
    let gateway = Gateway::with(keys(json!({})));
    let mut outside = bots_peer(&gateway, &["demo.A", "bank.B"]).await;
    outside.connected().await;
    let mut inside = bots_peer(&gateway, &["demo.A"]).await;
    inside.connected().await;

    gateway.reload(keys(json!({ "register": ["demo.*"] }))).await;
    outside.ends(7, "scope").await;
    let caller = gateway.caller().await;
    let mut call = call_whole(&caller, "/demo.A/Say", "").await;
    inside.echo().await;
    answered(&mut call).await;
}

#[tokio::test]
async fn other_limits_and_names_are_in_force_at_once() {
    let gateway = Gateway::with(json!({ "limits": { "calls_max": 1 } }));
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    let mut running = call_whole(&caller, "/demo.Echo/Say", "").await;
    let request = peer.request().await;
    call_whole(&caller, "/demo.Echo/Say", "").await.fails(8, "inflight_limit").await;
    call_whole(&caller, "/Echo/Say", "").await.fails(8, "inflight_limit").await;

    let declared = key("bots", BOTS, json!({ "register": ["demo.Later"] }));
    gateway
        .reload(json!({
            "keys": [key("tests", KEY, json!({})), declared],
            "limits": { "calls_max": 2, "metadata_entries_max": 8 },
        }))
        .await;
    until("the name to be known", async || {
        let mut call = call_whole(&caller, "/demo.Later/Say", "").await;
        let trailers = call.end().await.trailers;
        trailers["x-gateway-error"] == "no_tunnel"
    })
    .await;
    let many: Vec<_> = (0..9).map(|n| (format!("x-{n}"), String::new())).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    caller.call_headers("/demo.Echo/Say", &many).await.fails(8, "metadata_too_large").await;

    peer.answer(ok(&request, "")).await;
    answered(&mut running).await;
}

#[tokio::test]
async fn callers_with_too_many_wrong_keys_are_answered_late_and_one_with_a_right_key_is_not() {
    let mut settings = callers_keys(json!({}));
    settings["limits"] = json!({ "bad_keys_per_minute_max": 2, "bad_key_delay": "1h" });
    let gateway = Gateway::with(settings);
    let mut peer = gateway.peer("demo.Echo").await;
    let caller = gateway.caller().await;
    for _ in 0..2 {
        call_with(&caller, "/demo.Echo/Say", "wrong").await.fails(16, "bad_credentials").await;
    }
    let mut late = call_with(&caller, "/demo.Echo/Say", "wrong").await;
    let mut call = call_with(&caller, "/demo.Echo/Say", KEY).await;
    tokio::select! {
        biased;
        end = late.end() => panic!("it was answered at once: {:?}", end.trailers),
        () = async {
            peer.echo().await;
            answered(&mut call).await;
        } => {}
    }
}
