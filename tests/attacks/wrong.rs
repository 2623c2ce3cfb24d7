//! What is no gRPC over HTTP/2, or lies about itself.

use serde_json::json;

use crate::support::raw::{
    Blow, DATA, END_HEADERS, END_STREAM, HEADERS, PROTOCOL_ERROR, Raw, frame, request, text,
};
use crate::support::{Scene, VICTIM};
use crate::words::until;

#[tokio::test]
async fn an_announced_giant_takes_no_room() {
    let scene = Scene::open(json!({})).await;
    let mut attacker = scene.attacker().await;
    let before = scene.process.resident_bytes();
    for round in 1..=50 {
        let stream = attacker.open(VICTIM).await;
        attacker.send(&frame(DATA, 0, stream, &[0, 0xff, 0xff, 0xff, 0xff])).await;
        attacker.until("the refusal", |seen| seen.ended == round).await;
    }
    let grown = scene.process.resident_bytes().saturating_sub(before);
    assert!(grown < 1024 * 1024, "{grown}");
    assert_eq!(scene.requests(), 0);
    scene.closes().await;
}

/// Paths that no library would send never get as far as being looked up: HTTP/2 ends the stream, or
/// the connection if the path is no text.
#[tokio::test]
async fn paths_that_are_no_paths_reach_nobody() {
    let scene = Scene::open(json!({})).await;
    let call = |path: &[u8], stream| {
        let sound = request(VICTIM);
        // :method and :scheme stay in front of it, and the rest behind.
        let mut block = sound[..3].to_vec();
        text(&mut block, path);
        block.extend_from_slice(&sound[4 + VICTIM.len()..]);
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
    };
    let mut attacker = scene.attacker().await;
    let malformed = [&b"demo.Victim/Say"[..], b"", b"/demo.Victim/Say\0", b"/demo.Victim/S\ny"];
    for path in malformed {
        let stream = attacker.stream();
        attacker.send(&call(path, stream)).await;
    }
    let seen = attacker.is_heard().await;
    assert_eq!((&seen.goaway, &seen.resets), (&None, &[(PROTOCOL_ERROR, 4)].into()));
    // The same with a path that is one, to show that it was the path.
    let stream = attacker.stream();
    attacker.send(&call(b"/no.Such/Call", stream)).await;
    attacker.until("an answer", |seen| seen.headers == 1).await;

    for path in [&b"/demo.Victim/\xff"[..], b"/\xff/Say"] {
        let mut attacker = scene.attacker().await;
        let stream = attacker.stream();
        attacker.send(&call(path, stream)).await;
        assert_eq!(attacker.goes_away().await.0, PROTOCOL_ERROR);
    }
    assert_eq!(scene.requests(), 0);
    scene.closes().await;
}

/// The wrong port happens to everybody, so it is no matter for the log unless asked.
#[tokio::test]
async fn other_protocols_are_turned_away_and_logged_at_debug() {
    let scene = Scene::open(json!({ "log": { "level": "debug" } })).await;
    let tls_hello = [&[0x16, 3, 1, 0, 100, 1, 0, 0, 96, 3, 3][..], &[7; 94]].concat();
    for hello in [b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(), tls_hello, vec![0; 100]] {
        let attacker = Raw::connect(scene.process.address).await;
        attacker.send(&hello).await;
        attacker.is_closed().await;
    }
    until("three lines", async || {
        scene.process.times_logged("DEBUG adit::grpc::connection] handshake failed") == 3
    })
    .await;
    for level in ["WARN", "ERROR"] {
        assert_eq!(scene.process.logged(level), None);
    }
    assert_eq!(scene.closes().await.count("handshakes_failed"), 3);
}

/// What strangers send must not make the gateway send much more, or it would be a weapon.
#[tokio::test]
async fn nothing_that_a_stranger_sends_is_answered_with_ten_times_as_much() {
    let scene = Scene::open(json!({})).await;
    let calls = |path: &'static str, end| move |stream| frame(HEADERS, end, stream, &request(path));
    let whole = END_HEADERS | END_STREAM;
    let inputs: [(&str, Box<Blow>); 5] = [
        ("unknown services", Box::new(calls("/no.Such/Call", whole))),
        ("paths that are none", Box::new(calls("/", whole))),
        ("tunnels without a key", Box::new(calls(ESTABLISH, whole))),
        ("the old way in", Box::new(calls("/registry.RegistryService/Register", whole))),
        (
            "no gRPC, all of it remembered",
            Box::new(move |stream| {
                // GET, http, / and :authority without a value: six bytes of headers.
                frame(HEADERS, whole, stream, &[0x82, 0x86, 0x84, 0x01, 0x01, b'a'])
            }),
        ),
    ];
    for (what, input) in inputs {
        let mut attacker = scene.attacker().await;
        let before = attacker.is_heard().await.bytes;
        let mut sent = 0;
        for round in 1..=50 {
            let bytes = input(attacker.stream());
            sent += bytes.len();
            attacker.send(&bytes).await;
            attacker.until("an answer", |seen| seen.ended == round).await;
        }
        let got = attacker.seen().bytes - before;
        assert!(got < 10 * sent, "{what}: {sent} bytes were answered with {got}");
    }
    scene.closes().await;
}

const ESTABLISH: &str = "/registry.RegistryService/EstablishConnection";
