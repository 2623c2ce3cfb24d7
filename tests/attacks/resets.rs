//! Streams that are opened and reset, by the attacker or, as it wills, by the gateway.

use std::time::Duration;

use serde_json::json;

use crate::support::raw::{
    Blow, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, Manners, PREFACE, PRIORITY,
    PROTOCOL_ERROR, REFUSED_STREAM, Raw, SETTINGS, WINDOW_UPDATE, field, frame, message, pace,
    request, reset, window_update,
};
use crate::support::{Scene, VICTIM};
use crate::words::{call_whole, until};

/// A whole call of one small message.
fn whole(stream: u32) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, stream, &request(VICTIM));
    [head, frame(DATA, END_STREAM, stream, &message(b"hi"))].concat()
}

/// CVE-2023-44487, as it was first seen.
#[tokio::test]
async fn resets_in_bursts_end_the_connection() {
    let scene = Scene::open(json!({})).await;
    let mut attacker = scene.attacker().await;
    for _ in 0..50 {
        let mut burst = Vec::new();
        for _ in 0..100 {
            let stream = attacker.stream();
            burst.extend([whole(stream), reset(stream)].concat());
        }
        attacker.send(&burst).await;
    }
    assert_eq!(attacker.goes_away().await.0, ENHANCE_YOUR_CALM);
    attacker.is_closed().await;
    assert!(scene.requests() <= 100, "{}", scene.requests());
    scene.closes().await;
}

/// The same with patience, so that each stream is accepted before it is reset.
#[tokio::test]
async fn paced_resets_end_the_connection_within_500() {
    let scene = Scene::open(json!({})).await;
    let mut attacker = scene.attacker().await;
    let mut pairs = 0;
    while pairs < 6_000 && attacker.seen().goaway.is_none() {
        let mut blow = Vec::new();
        for _ in 0..15 {
            let stream = attacker.stream();
            blow.extend([whole(stream), reset(stream)].concat());
        }
        attacker.send(&blow).await;
        attacker.is_heard().await;
        pairs += 15;
        pace(Duration::from_millis(1)).await;
    }
    assert_eq!(attacker.goes_away().await.0, ENHANCE_YOUR_CALM);
    attacker.is_closed().await;
    assert!(pairs <= 500 && scene.requests() <= 500, "{pairs} {}", scene.requests());
    until("a line", async || scene.process.times_logged("too many early cancels") == 1).await;
    let ledger = scene.closes().await;
    assert_eq!(ledger.count("connections_calmed"), 1);
}

/// Each stream is seen by the service before it is reset.
#[tokio::test]
async fn resets_of_calls_that_the_service_has_seen_end_the_connection_too() {
    let scene = Scene::open(json!({})).await;
    let mut attacker = scene.attacker().await;
    let mut pairs = 0;
    while pairs < 1_000 && attacker.seen().goaway.is_none() {
        let before = scene.requests();
        let streams: Vec<_> = (0..10).map(|_| attacker.stream()).collect();
        attacker.send(&streams.iter().copied().flat_map(whole).collect::<Vec<_>>()).await;
        until("the service to see the calls", async || {
            scene.requests() >= before + 10 || attacker.seen().goaway.is_some()
        })
        .await;
        attacker.send(&streams.iter().copied().flat_map(reset).collect::<Vec<_>>()).await;
        pairs += 10;
    }
    assert_eq!(attacker.goes_away().await.0, ENHANCE_YOUR_CALM);
    assert!((200..=500).contains(&pairs), "{pairs}");
    scene.closes().await;
}

#[tokio::test]
async fn cancels_within_the_limit_are_no_attack() {
    let limits = json!({ "limits": { "early_cancels_burst": 20, "early_cancels_per_second": 1 } });
    let scene = Scene::open(limits).await;
    let caller = scene.caller().await;
    for _ in 0..20 {
        let mut call = call_whole(&caller, VICTIM, "never mind").await;
        call.cancel();
    }
    // Answered calls may be cancelled as often as one likes.
    for _ in 0..40 {
        let mut call = call_whole(&caller, "/demo.Bystander/Say", "hi").await;
        assert_eq!(call.message().await, "hi");
        call.cancel();
    }
    let mut call = call_whole(&caller, "/demo.Bystander/Say", "still there").await;
    assert_eq!(call.message().await, "still there");
    call.succeeds().await;
    let ledger = scene.closes().await;
    assert_eq!(ledger.count("connections_calmed"), 0);
}

/// CVE-2025-8671, "MadeYouReset": the gateway itself resets the stream, for an error of the attacker's.
/// Such a stream is an early cancel like any other, so it ends long before the 1,024 that HTTP/2
/// would allow over the connection's life.
#[tokio::test]
async fn streams_that_the_gateway_is_made_to_reset_end_the_connection() {
    let overflow = |stream| window_update(stream, (1 << 31) - 1);
    let own_parent =
        |stream: u32| frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[16]].concat());
    let errors: [&Blow; 2] = [&overflow, &own_parent];
    for error in errors {
        let scene = Scene::open(json!({})).await;
        let mut attacker = scene.attacker().await;
        let mut streams = 0;
        while streams < 3_000 && attacker.seen().goaway.is_none() {
            let mut blow = Vec::new();
            for _ in 0..10 {
                let stream = attacker.stream();
                blow.extend([whole(stream), error(stream)].concat());
            }
            attacker.send(&blow).await;
            attacker.is_heard().await;
            streams += 10;
        }
        assert_eq!(attacker.goes_away().await.0, ENHANCE_YOUR_CALM);
        assert!(streams < 1_100 && scene.requests() <= 500, "{streams} {}", scene.requests());
        scene.closes().await;
    }
}

#[tokio::test]
async fn errors_of_the_connection_end_it_at_the_first() {
    let scene = Scene::open(json!({})).await;
    let errors: [(&str, &Blow); 4] = [
        ("an update by nothing", &|stream| window_update(stream, 0)),
        ("data after the end", &|stream| {
            let last = frame(DATA, END_STREAM, stream, &message(b""));
            [last, frame(DATA, 0, stream, b"more")].concat()
        }),
        ("a priority of three bytes", &|stream| frame(PRIORITY, 0, stream, &[0; 3])),
        ("an update of three bytes", &|stream| frame(WINDOW_UPDATE, 0, stream, &[0; 3])),
    ];
    for (what, error) in errors {
        let mut attacker = scene.attacker().await;
        let stream = attacker.open(VICTIM).await;
        attacker.send(&error(stream)).await;
        let seen = attacker.is_heard().await;
        let refused = seen.goaway.is_some() || seen.resets.values().sum::<usize>() == 1;
        assert!(refused, "{what}: {seen:?}");
    }
    scene.closes().await;
}

/// A field that belongs to one connection has no place in HTTP/2 (RFC 9113 section 8.2.2).
#[tokio::test]
async fn a_connection_header_is_malformed() {
    let scene = Scene::open(json!({})).await;
    let mut attacker = scene.attacker().await;
    let mut block = request(VICTIM);
    field(&mut block, "connection", b"close");
    let stream = attacker.stream();
    attacker.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)).await;
    let seen = attacker.is_heard().await;
    assert_eq!(seen.resets.get(&PROTOCOL_ERROR), Some(&1), "{seen:?}");
    assert_eq!((seen.headers, scene.requests()), (0, 0));
    scene.closes().await;
}

/// The heart of `MadeYouReset`: work that goes on for streams that are gone is still counted.
#[tokio::test]
async fn a_service_never_works_on_more_calls_than_it_may_although_their_streams_are_gone() {
    let scene = Scene::open(json!({ "limits": {
        "calls_per_tunnel_max": 150, "cancel_timeout": "1h",
        "early_cancels_burst": 10_000, "early_cancels_per_second": 10_000,
    } }))
    .await;
    let mut attacker = scene.attacker().await;
    for _ in 0..20 {
        let streams: Vec<_> = (0..100).map(|_| attacker.stream()).collect();
        attacker.send(&streams.iter().copied().flat_map(whole).collect::<Vec<_>>()).await;
        attacker.is_heard().await;
        attacker.send(&streams.iter().copied().flat_map(reset).collect::<Vec<_>>()).await;
        attacker.is_heard().await;
    }
    // The service has answered none and acknowledged no cancel.
    assert!((100..=150).contains(&scene.requests()), "{}", scene.requests());
    scene.closes().await;
}

/// CVE-2026-47244: the number of streams holds before the other side has said yes to it. A client
/// that keeps to the rules loses nothing: a refused stream has not run, and is tried again.
#[tokio::test]
async fn a_thousand_streams_right_behind_the_preface_are_refused_but_a_hundred() {
    let scene = Scene::open(json!({})).await;
    let manners = Manners { acknowledges: false };
    let mut attacker = Raw::connect_with(scene.process.address, manners).await;
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for _ in 0..1_000 {
        let stream = attacker.stream();
        bytes.extend(whole(stream));
    }
    attacker.send(&bytes).await;
    let seen = attacker.is_heard().await;
    let refused = seen.resets.get(&REFUSED_STREAM).copied().unwrap_or_default();
    assert!(seen.goaway.is_some() || refused == 900, "{seen:?}");
    assert!(scene.requests() <= 100, "{}", scene.requests());
    drop(attacker);
    scene.closes().await;
}

#[tokio::test]
async fn the_streams_over_the_limit_are_refused_and_the_others_live() {
    let scene = Scene::open(json!({})).await;
    let mut attacker = scene.attacker().await;
    let streams: Vec<_> = (0..110).map(|_| attacker.stream()).collect();
    let first = streams[0];
    attacker.send(&streams.into_iter().flat_map(whole).collect::<Vec<_>>()).await;
    let seen = attacker.is_heard().await;
    assert_eq!((seen.resets.get(&REFUSED_STREAM), &seen.goaway), (Some(&10), &None));
    until("the others to arrive", async || scene.requests() == 100).await;
    // A place that comes free is one more for a new stream.
    attacker.send(&reset(first)).await;
    let next = attacker.stream();
    attacker.send(&whole(next)).await;
    let seen = attacker.is_heard().await;
    assert_eq!(seen.resets.get(&REFUSED_STREAM), Some(&10));
    until("the new call to arrive", async || scene.requests() == 101).await;
    drop(attacker);
    scene.closes().await;
}

/// What comes for a refused stream is an error too, and of those h2 allows 1,024 over a connection's
/// life.
#[tokio::test]
async fn a_thousand_streams_that_stay_open_are_refused_but_a_hundred() {
    let scene = Scene::open(json!({})).await;
    let mut attacker = scene.attacker().await;
    let streams: Vec<_> = (0..1_000).map(|_| attacker.stream()).collect();
    attacker.send(&streams.iter().copied().flat_map(whole).collect::<Vec<_>>()).await;
    assert_eq!(attacker.goes_away().await.0, ENHANCE_YOUR_CALM);
    let seen = attacker.is_closed().await;
    assert!(seen.resets[&REFUSED_STREAM] >= 100 && scene.requests() <= 100, "{seen:?}");
    scene.closes().await;
}
