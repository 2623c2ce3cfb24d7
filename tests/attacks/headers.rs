//! Headers that are too many, too large, or that never end.

use serde_json::json;

use crate::support::raw::{
    CONTINUATION, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PROTOCOL_ERROR, field,
    frame, integer, request, text,
};
use crate::support::{Scene, VICTIM};

const MIB: usize = 1024 * 1024;

/// A block in as many frames as it takes.
fn in_frames(stream: u32, block: &[u8]) -> Vec<u8> {
    let mut pieces = block.chunks(16_000).peekable();
    let mut bytes = Vec::new();
    let mut kind = HEADERS;
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        bytes.extend(frame(kind, end, stream, piece));
        kind = CONTINUATION;
    }
    bytes
}

/// CVE-2024-27316 and its family.
#[tokio::test]
async fn continuations_without_an_end_are_cut_off() {
    let scene = Scene::open(json!({})).await;
    for payload in [&b""[..], &[0, 1, b'a', 1, b'b']] {
        let mut attacker = scene.attacker().await;
        let stream = attacker.stream();
        attacker.send(&frame(HEADERS, 0, stream, &request(VICTIM))).await;
        for _ in 0..2_000 {
            if !attacker.send(&frame(CONTINUATION, 0, stream, payload)).await {
                break;
            }
        }
        assert_eq!(attacker.goes_away().await.0, ENHANCE_YOUR_CALM);
        attacker.is_closed().await;
    }
    assert_eq!(scene.requests(), 0);
    scene.closes().await;
}

#[tokio::test]
async fn a_header_list_far_over_the_limit_ends_the_connection() {
    let scene = Scene::open(json!({})).await;
    let mut attacker = scene.attacker().await;
    let before = scene.process.resident_bytes();
    let mut block = request(VICTIM);
    for _ in 0..40 {
        field(&mut block, "big", &[b'x'; 10_000]);
    }
    let stream = attacker.stream();
    attacker.send(&in_frames(stream, &block)).await;
    assert_eq!(attacker.goes_away().await.0, ENHANCE_YOUR_CALM);
    assert_eq!(scene.requests(), 0);
    let grown = scene.process.resident_bytes().saturating_sub(before);
    assert!(grown < 4 * MIB, "{grown}");
    scene.closes().await;
}

/// One large entry that is kept, and then named by one byte again and again.
#[tokio::test]
async fn a_header_bomb_does_not_go_off() {
    let scene = Scene::open(json!({})).await;
    let before = scene.process.resident_bytes();
    let mut attacker = scene.attacker().await;
    let mut fuse = request(VICTIM);
    fuse.push(0x40);
    text(&mut fuse, b"bomb");
    text(&mut fuse, &[b'x'; 3_900]);
    let mut bomb = request(VICTIM);
    for _ in 0..8_000 {
        integer(&mut bomb, 0x80, 7, 62);
    }
    let stream = attacker.stream();
    attacker.send(&in_frames(stream, &fuse)).await;
    for _ in 0..20 {
        let stream = attacker.stream();
        if !attacker.send(&in_frames(stream, &bomb)).await {
            break;
        }
    }
    assert_eq!(attacker.goes_away().await.0, ENHANCE_YOUR_CALM);
    let grown = scene.process.resident_bytes().saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown}");
    scene.closes().await;
}

/// HTTP/2 itself answers with 431, which gRPC clients take for INTERNAL. Metadata over the limit of
/// calls, which is lower, gets `RESOURCE_EXHAUSTED`.
#[tokio::test]
async fn a_header_list_over_the_limit_is_answered_and_the_connection_lives() {
    let scene = Scene::open(json!({})).await;
    let mut attacker = scene.attacker().await;
    let mut block = request(VICTIM);
    for _ in 0..7 {
        field(&mut block, "big", &[b'x'; 10_000]);
    }
    let stream = attacker.stream();
    attacker.send(&in_frames(stream, &block)).await;
    let seen = attacker.is_heard().await;
    assert_eq!((seen.headers, seen.goaway, scene.requests()), (1, None, 0));
    scene.closes().await;
}

#[tokio::test]
async fn a_name_in_upper_case_is_malformed() {
    let scene = Scene::open(json!({})).await;
    let mut attacker = scene.attacker().await;
    let mut block = request(VICTIM);
    field(&mut block, "Upper", b"case");
    let stream = attacker.stream();
    attacker.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)).await;
    let seen = attacker.is_heard().await;
    let code = seen.goaway.map(|(code, _)| code);
    let refused = code == Some(PROTOCOL_ERROR) || seen.resets.get(&PROTOCOL_ERROR) == Some(&1);
    assert!(refused, "{code:?} {:?}", seen.resets);
    assert_eq!(scene.requests(), 0);
    scene.closes().await;
}

/// A ping's answer has no place inside a block of headers, so keepalive finds this.
#[tokio::test]
async fn headers_that_never_end_do_not_keep_a_connection() {
    let keepalive = json!({ "keepalive": { "interval": "300ms", "timeout": "2s" } });
    let scene = Scene::open(keepalive).await;
    let mut attacker = scene.attacker().await;
    let stream = attacker.stream();
    attacker.send(&frame(HEADERS, 0, stream, &request(VICTIM))).await;
    attacker.is_closed().await;
    scene.closes().await;
}
