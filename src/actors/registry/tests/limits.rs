//! Which tunnel takes a call when some cannot, and what happens when none can.

use super::*;
use crate::actors::registry::routing::PICKS_MAX;
use crate::tunnel::affinity::Session;

#[actix::test]
async fn a_call_that_finds_a_tunnel_full_takes_the_next_and_the_last_refuses_it() {
    let limits = Limits { calls_per_tunnel_max: 1, ..Limits::default() };
    let stage = Stage::with(1, limits);
    let one = stage.attach(Peer::default()).await;
    let other = stage.attach(Peer::default()).await;

    let (mut first, mut second) = (stage.forward(), stage.forward());
    first.opened().await;
    second.opened().await;
    assert_eq!((one.load(), other.load()), (1, 1));
    assert_eq!(stage.forward().refused().await, Failure::InflightLimit);

    one.answer(first.request, answer("done"));
    other.answer(first.request, answer("done"));
    first.part().await;
    stage.forward().opened().await;
}

#[actix::test]
async fn the_one_free_tunnel_of_many_is_found_and_when_all_are_full_the_call_is_refused() {
    let limits = Limits { calls_per_tunnel_max: 1, ..Limits::default() };
    let stage = Stage::with(2, limits);
    let mut wires = Vec::new();
    for place in 0..3 * PICKS_MAX {
        wires.push(stage.attach(Peer { worker: place % 2, ..Peer::default() }).await);
        stage.forward().opened().await;
    }
    assert!(wires.iter().all(|wire| wire.load() == 1));
    let before = tokio::time::Instant::now();
    let mut refused = stage.forward();
    assert_eq!(refused.refused().await, Failure::InflightLimit);
    refused.is_over().await;
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[actix::test]
async fn a_call_is_offered_to_eight_tunnels_with_full_queues_at_most() {
    let stage = Stage::new();
    let mut wires = Vec::new();
    for _ in 0..=PICKS_MAX {
        wires.push(stage.attach(Peer::default()).await);
    }
    let queue = stage.limits.now().tunnel_queue_bytes_max;
    let full: Vec<_> = wires.iter().map(|wire| wire.line.credit.try_take(queue)).collect();
    let mut refused = stage.forward();
    assert_eq!(refused.refused().await, Failure::QueueFull);
    refused.is_over().await;
    drop(full);
    stage.forward().opened().await;
}

#[actix::test]
async fn the_calls_of_a_service_are_counted_on_all_its_tunnels_and_by_all_workers() {
    let limits = Limits { calls_per_service_max: 2, ..Limits::default() };
    let stage = Stage::with(2, limits);
    let one = stage.attach(Peer::default()).await;
    let other = stage.attach(Peer { worker: 1, ..Peer::default() }).await;
    let (mut first, mut second) = (stage.forward(), stage.forward_from(1, whole()));
    first.opened().await;
    second.opened().await;
    assert_eq!((one.load(), other.load()), (1, 1));
    for worker in [0, 1] {
        let mut third = stage.forward_from(worker, whole());
        assert_eq!(third.refused().await, Failure::InflightLimit);
    }

    // One whose caller left counts until its peer is done with it.
    stage.registries[1].hang_up(second.request, Failure::Cancelled);
    settle().await;
    assert_eq!(stage.forward().refused().await, Failure::InflightLimit);
    other.answer(second.request, answer("too late"));
    settle().await;
    stage.forward().opened().await;

    let _elsewhere = stage.attach(Peer { service: "demo.Other", ..Peer::default() }).await;
    assert_eq!(stage.forward().refused().await, Failure::InflightLimit);
    for wire in [one, other] {
        stage.registry().tunnel_closed(wire.id);
    }
    let _next = stage.attach(Peer::default()).await;
    for _ in 0..2 {
        stage.forward().opened().await;
    }
}

#[actix::test]
async fn a_full_queue_refuses_the_call_and_takes_no_slot() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let full = wire.line.credit.try_take(stage.limits.now().tunnel_queue_bytes_max).unwrap();

    assert_eq!(stage.forward().refused().await, Failure::QueueFull);
    assert_eq!(wire.load(), 0);
    drop(full);
    stage.forward().opened().await;
    next(&mut wire.carried).await;
}

#[actix::test]
async fn the_room_of_a_message_comes_back_when_its_frame_is_dropped() {
    let limits = Limits { tunnel_queue_bytes_max: 300, ..Limits::default() };
    let stage = Stage::with(1, limits);
    let mut wire = stage.attach(Peer::default()).await;

    stage.forward().opened().await;
    assert_eq!(stage.forward().refused().await, Failure::QueueFull);
    drop(next(&mut wire.carried).await);
    stage.forward().opened().await;
}

#[actix::test]
async fn the_calls_of_a_session_go_to_one_tunnel_whoever_forwards_them() {
    let limits = Limits { calls_per_tunnel_max: 2, ..Limits::default() };
    let stage = Stage::with(2, limits);
    let mut wires = Vec::new();
    for place in 0..6 {
        wires.push(stage.attach(Peer { worker: place % 2, ..Peer::default() }).await);
    }
    let mut chosen = Vec::new();
    for worker in [0, 1, 0] {
        let line = stage.forward_in(worker, Some(Session::named(b"blue"))).opened().await;
        chosen.push(wires.iter().position(|wire| Arc::ptr_eq(&wire.line, &line)).unwrap());
    }
    assert_eq!(chosen[0], chosen[1], "both workers agree");
    assert_ne!(chosen[0], chosen[2], "a full tunnel leaves it to the next");
    stage.registry().tunnel_closed(wires[chosen[0]].id);
    settle().await;
    let line = stage.forward_in(1, Some(Session::named(b"blue"))).opened().await;
    assert!(Arc::ptr_eq(&line, &wires[chosen[2]].line), "and so does one that is gone");
}

/// Two of three always draw against a quick one.
#[actix::test]
async fn a_tunnel_that_does_not_answer_gets_no_more_calls_while_others_do() {
    let stage = Stage::new();
    let mut wires = Vec::new();
    for _ in 0..3 {
        wires.push(stage.attach(Peer::default()).await);
    }
    let mut unanswered = Vec::new();
    for _ in 0..300 {
        let mut call = stage.forward();
        let line = call.opened().await;
        if Arc::ptr_eq(&line, &wires[0].line) {
            unanswered.push(call);
        } else {
            let wire = wires.iter().find(|wire| Arc::ptr_eq(&wire.line, &line)).unwrap();
            wire.answer(call.request, answer("at once"));
            call.part().await;
        }
    }
    assert!(unanswered.len() <= 1, "{} calls", unanswered.len());
}
