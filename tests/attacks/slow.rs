//! Connections and calls that take their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::raw::{
    CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, Manners, PREFACE, Raw, SETTINGS, frame,
    message, pace, request, setting,
};
use crate::support::{BIG, Scene, VICTIM};
use crate::words::{KEY, Peer, ok, until};

const MIB: usize = 1024 * 1024;
/// RFC 9113 section 6.5.2.
const INITIAL_WINDOW_SIZE: u16 = 4;

#[tokio::test]
async fn connections_that_never_finish_their_handshake_are_closed() {
    let scene = Scene::open(json!({ "limits": { "handshake_timeout": "500ms" } })).await;
    let before = scene.process.descriptors();
    let mut attackers = Vec::new();
    for beginning in [&b""[..], &PREFACE[..1], &PREFACE[..PREFACE.len() - 1]] {
        let attacker = Raw::connect(scene.process.address).await;
        attacker.send(beginning).await;
        attackers.push(attacker);
    }
    for attacker in &attackers {
        attacker.is_closed().await;
    }
    until("their sockets to be closed", async || scene.process.descriptors() == before).await;
    assert_eq!(scene.closes().await.count("handshakes_failed"), 3);
}

#[tokio::test]
async fn a_connection_that_goes_silent_is_closed() {
    let keepalive = json!({ "keepalive": { "interval": "300ms", "timeout": "1s" } });
    let scene = Scene::open(keepalive).await;
    let manners = Manners { acknowledges: false };
    for beginning in [PREFACE.to_vec(), [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()] {
        let attacker = Raw::connect_with(scene.process.address, manners).await;
        attacker.send(&beginning).await;
        attacker.is_closed().await;
    }
    scene.closes().await;
}

/// "Slow POST": the connection is alive, and a message comes byte by byte or not at all.
#[tokio::test]
async fn a_message_that_does_not_come_ends_its_call_and_no_other() {
    let scene = Scene::open(json!({ "limits": { "message_timeout": "500ms" } })).await;
    let mut attacker = scene.attacker().await;
    let silent = attacker.open(VICTIM).await;
    let trickling = attacker.open(VICTIM).await;
    for beginning in [&[0][..], &[0, 0, 0, 0, 100, b'x']] {
        let stream = attacker.open(VICTIM).await;
        attacker.send(&frame(DATA, 0, stream, beginning)).await;
    }
    attacker.send(&frame(DATA, 0, trickling, &[0, 0, 0, 1, 0])).await;
    while attacker.seen().ended < 3 {
        attacker.send(&frame(DATA, 0, trickling, b"x")).await;
        pace(Duration::from_millis(20)).await;
    }
    assert_eq!((attacker.is_heard().await.goaway, scene.requests()), (None, 0));
    // Whoever has said nothing at all may still say it.
    attacker.send(&frame(DATA, END_STREAM, silent, &message(b"at last"))).await;
    until("the call to arrive", async || scene.requests() == 1).await;
    drop(attacker);
    let ledger = scene.closes().await;
    assert_eq!(ledger.count("connections_calmed"), 0);
}

/// CVE-2019-9517 and its kin: answers that nobody takes.
#[tokio::test]
async fn answers_that_are_not_taken_are_held_within_limits_and_given_up() {
    let scene = Scene::open(json!({ "limits": { "send_stall_timeout": "2s" } })).await;
    let before = scene.process.resident_bytes();
    let mut attacker = scene.attacker().await;
    attacker.send(&setting(INITIAL_WINDOW_SIZE, 0)).await;
    for _ in 0..90 {
        let stream = attacker.stream();
        let head = frame(HEADERS, END_HEADERS, stream, &request(BIG));
        attacker.send(&[head, frame(DATA, END_STREAM, stream, &message(b""))].concat()).await;
    }
    let seen = attacker
        .until("all calls to end", |seen| seen.ended + seen.resets.values().sum::<usize>() == 90)
        .await;
    assert!(seen.resets[&CANCEL] >= 30, "{seen:?}");
    assert_eq!((seen.data_bytes, seen.goaway), (0, None));
    // What one connection may hold is half of `tunnel_buffer_bytes_max`: 32 MiB.
    let grown = scene.process.resident_bytes().saturating_sub(before);
    assert!(grown < 96 * MIB, "{grown}");
    let ledger = scene.closes().await;
    assert_eq!(ledger.count("sends_stalled"), seen.resets[&CANCEL]);
}

/// A caller that has much to say and a service that does not listen: it is the caller who waits.
#[tokio::test]
async fn a_service_that_stops_reading_makes_its_caller_wait_and_not_the_gateway_hold() {
    const MESSAGES: usize = 1_024;
    static MESSAGE: [u8; 62 * 1024] = [7; 62 * 1024];
    let scene = Scene::open(json!({})).await;
    let mut peer = Peer::dial_narrow(scene.process.address, 64 * 1024).await;
    peer.register(KEY, &["demo.Deaf"], &["stream", "cancel"]).await;
    peer.connected().await;
    let caller = scene.caller().await;
    let before = scene.process.resident_bytes();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let sending = tokio::spawn(async move {
        let mut call = caller.call("/demo.Deaf/Upload").await;
        for _ in 0..MESSAGES {
            call.send(MESSAGE).await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
        call.half_close();
        call
    });
    // It is stuck when the gateway has served others meanwhile and it has not got on.
    let mut stuck_at = 0;
    until("the caller to be stuck", async || {
        scene.bystander_is_served().await;
        scene.bystander_is_served().await;
        let before = std::mem::replace(&mut stuck_at, sent.load(Ordering::Relaxed));
        before == stuck_at && before > 0
    })
    .await;
    let held = stuck_at * MESSAGE.len();
    assert!(held < 4 * MIB, "of 62 MiB {held} bytes were taken");
    let grown = scene.process.resident_bytes().saturating_sub(before);
    assert!(grown < 16 * MIB, "{grown}");

    // It goes on where it was when the service listens again, and nothing is missing.
    let request = peer.request().await;
    for _ in 1..MESSAGES {
        assert_eq!(peer.request().await.payload.len(), MESSAGE.len());
    }
    assert!(peer.request().await.streaming_info.unwrap().is_stream_end);
    peer.answer(ok(&request, "heard")).await;
    let mut call = sending.await.unwrap();
    assert_eq!(call.message().await, "heard");
    call.succeeds().await;
    scene.closes().await;
}
