//! Frames that cost their sender nothing, many of them.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::support::raw::{
    DATA, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, PING, PREFACE, PRIORITY, Raw, SETTINGS, frame,
    setting, window_update,
};
use crate::support::{Scene, VICTIM};
use crate::words::{soon, until};

const MIB: usize = 1024 * 1024;

/// Sends it so many times, a thousand at once.
async fn flood(attacker: &Raw, bytes: &[u8], times: usize) -> bool {
    for _ in 0..times / 1_000 {
        if !attacker.send(&bytes.repeat(1_000)).await {
            return false;
        }
    }
    true
}

/// CVE-2019-9512, 9515 and their kin. All are answered or ignored, and none is kept.
#[tokio::test]
async fn control_frames_by_the_thousand_leave_nothing_behind() {
    let scene = Scene::open(json!({})).await;
    let floods = [
        ("pings", frame(PING, 0, 0, &[0; 8]), 40_000),
        ("settings", frame(SETTINGS, 0, 0, &[]), 20_000),
        ("settings that change", setting(4, 70_000), 20_000),
        ("priorities", frame(PRIORITY, 0, 99_999, &[0, 0, 0, 0, 1]), 40_000),
        ("updates of the window", window_update(0, 1), 40_000),
    ];
    for (what, bytes, times) in floods {
        let attacker = scene.attacker().await;
        let before = scene.process.resident_bytes();
        flood(&attacker, &bytes, times).await;
        let seen = attacker.is_heard().await;
        assert_eq!(seen.goaway, None, "{what}");
        let grown = scene.process.resident_bytes().saturating_sub(before);
        assert!(grown < 2 * MIB, "{what}: {grown}");
        scene.bystander_is_served().await;
    }
    scene.closes().await;
}

/// What would have to be answered is not even read while the answers are not.
#[tokio::test]
async fn pings_whose_answers_are_not_read_are_not_piled_up() {
    let scene = Scene::open(json!({ "keepalive": { "interval": "300ms", "timeout": "1s" } })).await;
    let before = scene.process.resident_bytes();
    let mut socket = tokio::net::TcpStream::connect(scene.process.address).await.unwrap();
    socket.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(10_000);
    // Until the gateway has had enough of it: what it is sent no longer goes out.
    soon("the connection to be closed", async { while socket.write_all(&pings).await.is_ok() {} })
        .await;
    let grown = scene.process.resident_bytes().saturating_sub(before);
    assert!(grown < 4 * MIB, "{grown}");
    scene.closes().await;
}

/// RUSTSEC-2026-0258. Frames that are read at once cost nothing; those of a call that is not read
/// wait, and how many may is limited. Our limit is higher than that of h2 (see `data_frame_budget` in
/// the gateway): a stream of small messages, each in a frame of its own, is no attack.
#[tokio::test]
async fn empty_data_is_limited_where_it_waits() {
    let scene = Scene::open(json!({})).await;
    let before = scene.process.resident_bytes();
    let mut attacker = scene.attacker().await;
    let stream = attacker.open(VICTIM).await;
    flood(&attacker, &frame(DATA, 0, stream, &[]), 5_000).await;
    let seen = attacker.is_heard().await;
    assert!(seen.goaway.is_none_or(|(code, _)| code == ENHANCE_YOUR_CALM));
    let grown = scene.process.resident_bytes().saturating_sub(before);
    assert!(grown < 2 * MIB, "{grown}");
    scene.closes().await;
}

#[tokio::test]
async fn a_message_in_bytes_is_a_message() {
    let scene = Scene::open(json!({})).await;
    let before = scene.process.resident_bytes();
    let mut attacker = scene.attacker().await;
    let stream = attacker.open(VICTIM).await;
    attacker.send(&frame(DATA, 0, stream, &[0, 0, 0, 0x13, 0x88])).await;
    flood(&attacker, &frame(DATA, 0, stream, b"x"), 5_000).await;
    assert_eq!(attacker.is_heard().await.goaway, None);
    until("the message to arrive", async || scene.requests() == 1).await;
    let grown = scene.process.resident_bytes().saturating_sub(before);
    assert!(grown < 4 * MIB, "{grown}");
    drop(attacker);
    scene.closes().await;
}

/// The windows are 64 KiB for a stream and as much for each stream that there may be, so it is the
/// stream that ends first.
#[tokio::test]
async fn more_data_than_the_window_has_room_for_is_an_error() {
    let scene = Scene::open(json!({})).await;
    let before = scene.process.resident_bytes();
    let mut attacker = scene.attacker().await;
    let stream = attacker.open(VICTIM).await;
    attacker.send(&frame(DATA, 0, stream, &[0; 16 * 1024]).repeat(200)).await;
    let seen = attacker.until("an end", |seen| seen.closed || !seen.resets.is_empty()).await;
    let reset = seen.resets.get(&FLOW_CONTROL_ERROR) == Some(&1);
    let closed = seen.goaway.as_ref().is_some_and(|(code, _)| *code == FLOW_CONTROL_ERROR);
    assert!(reset || closed, "{seen:?}");
    let grown = scene.process.resident_bytes().saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown}");
    scene.closes().await;
}
