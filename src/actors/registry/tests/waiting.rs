//! Calls that wait for a tunnel.

use super::*;
use crate::actors::registry::routing::PICKS_MAX;
use crate::actors::testing::{Called, failure_in};
use crate::tunnel::call::Said;
use crate::tunnel::directory::Routing;

const WAIT: Duration = Duration::from_secs(3);

/// Two workers; the name of the tests is known and nobody serves it.
async fn stage() -> Stage {
    with(Limits::default()).await
}

async fn with(limits: Limits) -> Stage {
    let stage = Stage::where_calls_wait(2, limits, WAIT);
    let wire = stage.attach(Peer::default()).await;
    stage.registry().tunnel_closed(wire.id);
    settle().await;
    stage
}

async fn waiting(stage: &Stage) -> Called {
    waiting_at(stage, 0, whole()).await
}

async fn waiting_at(
    stage: &Stage,
    worker: usize,
    first: Frame<crate::actors::traffic::Message>,
) -> Called {
    let mut call = stage.forward_from(worker, first);
    call.waits().await;
    call
}

fn held(stage: &Stage) -> (usize, usize) {
    (stage.waiting_room.calls(), stage.waiting_room.bytes())
}

#[actix::test]
async fn calls_of_all_workers_are_put_through_when_a_tunnel_comes_the_oldest_first() {
    let stage = stage().await;
    let mut calls = Vec::new();
    for worker in [0, 0, 0, 1] {
        calls.push(waiting_at(&stage, worker, whole()).await);
        settle().await;
    }
    assert_eq!(held(&stage).0, 4);

    let mut wire = stage.attach(Peer::default()).await;
    for call in &mut calls {
        assert!(Arc::ptr_eq(&call.opened().await, &wire.line));
    }
    for call in &calls[..3] {
        assert_eq!(next(&mut wire.carried).await.request, call.request);
    }
    assert_eq!((held(&stage), wire.load()), ((0, 0), 4));
    wire.answer(calls[0].request, answer("at last"));
    assert_eq!(text_of(&calls[0].part().await), "at last");
    pass(WAIT * 2).await;
    assert!(calls[1].outcomes.try_recv().is_err(), "its wait is over");
}

#[actix::test]
async fn a_call_goes_through_wherever_its_tunnel_comes() {
    let stage = stage().await;
    for worker in [0, 1] {
        for of_tunnel in [0, 1] {
            let mut call = waiting_at(&stage, worker, whole()).await;
            let wire = stage.attach(Peer { worker: of_tunnel, ..Peer::default() }).await;
            assert!(Arc::ptr_eq(&call.opened().await, &wire.line));
            assert_eq!(held(&stage), (0, 0));
            stage.registry().tunnel_closed(wire.id);
            settle().await;
        }
    }
}

#[actix::test]
async fn a_wait_ends_when_it_was_long_enough_and_not_before() {
    let stage = stage().await;
    let before = tokio::time::Instant::now();
    let mut first = waiting(&stage).await;
    pass(Duration::from_secs(1)).await;
    let mut second = waiting(&stage).await;
    assert_eq!(first.refused().await, Failure::NoTunnel);
    assert!(before.elapsed() >= WAIT && before.elapsed() < WAIT + Duration::from_millis(5));
    assert_eq!(second.refused().await, Failure::NoTunnel);
    let end = WAIT + Duration::from_secs(1);
    assert!(before.elapsed() >= end && before.elapsed() < end + Duration::from_millis(5));
    first.is_over().await;
    assert_eq!(held(&stage), (0, 0));
}

#[actix::test]
async fn a_name_that_is_not_known_never_waits() {
    let stage = Stage::where_calls_wait(1, Limits::default(), WAIT);
    assert_eq!(stage.forward().refused().await, Failure::UnknownService);
}

#[actix::test]
async fn a_call_over_the_bound_of_all_is_refused_at_once() {
    two_wait_and_no_more(Limits { waiting_calls_max: 2, ..Limits::default() }).await;
}

#[actix::test]
async fn a_call_over_the_bound_of_its_service_is_refused_at_once() {
    two_wait_and_no_more(Limits { waiting_calls_per_service_max: 2, ..Limits::default() }).await;
}

#[actix::test]
async fn a_call_over_the_bound_of_bytes_is_refused_at_once() {
    let waiting_bytes_max = 2 * message("hi").cost();
    two_wait_and_no_more(Limits { waiting_bytes_max, ..Limits::default() }).await;
}

async fn two_wait_and_no_more(limits: Limits) {
    let stage = with(limits).await;
    let first = waiting_at(&stage, 0, whole()).await;
    let _second = waiting_at(&stage, 1, whole()).await;
    let before = tokio::time::Instant::now();
    let mut third = stage.forward();
    assert_eq!(third.refused().await, Failure::TooManyWaiting);
    third.is_over().await;
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(held(&stage), (2, 2 * message("hi").cost()));

    stage.registry().hang_up(first.request, Failure::Cancelled);
    settle().await;
    waiting(&stage).await;
}

#[actix::test]
async fn a_caller_that_leaves_is_forgotten_at_once() {
    let stage = stage().await;
    let mut call = waiting(&stage).await;
    stage.registry().hang_up(call.request, Failure::Cancelled);
    assert_eq!(call.refused().await, Failure::Cancelled);
    call.is_over().await;
    assert_eq!(held(&stage), (0, 0));
    let mut wire = stage.attach(Peer::default()).await;
    settle().await;
    assert!(wire.carried.try_recv().is_err());
}

#[actix::test]
async fn a_drain_ends_every_wait_and_begins_none() {
    let stage = stage().await;
    let mut call = waiting(&stage).await;
    let (silent, mut outcomes) = inquire(&stage);
    let before = tokio::time::Instant::now();
    stage.registry().drain(Drain::Begin(GRACE));
    assert_eq!(call.refused().await, Failure::Draining);
    let outcome = next(&mut outcomes).await;
    assert!(matches!(outcome, Outcome::Unserved(Failure::Draining)), "{outcome:?} {silent:?}");
    assert_eq!(stage.forward().refused().await, Failure::Draining);
    assert_eq!((held(&stage), before.elapsed()), ((0, 0), Duration::ZERO));
}

#[actix::test]
async fn a_tunnel_that_is_heard_again_ends_the_wait_and_one_that_said_goodbye_does_not() {
    let stage = Stage::where_calls_wait(1, Limits::default(), WAIT);
    let wire = stage.attach(Peer::default()).await;
    stage.registry().set_standing(wire.id, Standing::Late);
    settle().await;
    let mut call = waiting(&stage).await;
    stage.registry().set_standing(wire.id, Standing::Ready);
    call.opened().await;

    stage.registry().set_standing(wire.id, Standing::Draining);
    settle().await;
    let mut call = waiting(&stage).await;
    stage.registry().set_standing(wire.id, Standing::Ready);
    assert_eq!(call.refused().await, Failure::NoTunnel);
}

#[actix::test]
async fn a_call_that_its_peer_never_saw_waits_too() {
    let stage = stage().await;
    let mut wire = stage.attach(Peer { worker: 1, ..Peer::default() }).await;
    let (mut kept, mut left) = (stage.forward(), stage.forward());
    for call in [&mut kept, &mut left] {
        call.opened().await;
        let Carry { request, head, frame, .. } = next(&mut wire.carried).await;
        let tunnel = wire.id;
        stage.registries[1].take_back(TakeBack { request, tunnel, head, first: frame });
        call.waits().await;
    }
    stage.registry().tunnel_closed(wire.id);
    // Its caller knows the tunnel's worker, and hangs up there.
    stage.registries[1].hang_up(left.request, Failure::Cancelled);
    settle().await;
    assert_eq!(held(&stage).0, 1);

    let mut next_wire = stage.attach(Peer::default()).await;
    assert!(Arc::ptr_eq(&kept.opened().await, &next_wire.line));
    assert_eq!(next(&mut next_wire.carried).await.request, kept.request);
    settle().await;
    assert!(next_wire.carried.try_recv().is_err());
    assert_eq!((held(&stage), wire.load(), next_wire.load()), ((0, 0), 0, 1));
}

#[actix::test]
async fn a_call_may_meet_any_number_of_tunnels_that_go_as_it_comes() {
    let stage = stage().await;
    let mut call = waiting(&stage).await;
    for _ in 0..=PICKS_MAX {
        let wire = stage.offer(Peer::default());
        wire.line.credit.close();
        call.waits().await;
        stage.registry().tunnel_closed(wire.id);
        settle().await;
    }
    assert_eq!(held(&stage).0, 1);
    let _wire = stage.attach(Peer::default()).await;
    call.opened().await;
}

#[actix::test]
async fn a_stream_that_waited_gets_its_first_frame_back_when_only_whole_peers_come() {
    let stage = stage().await;
    let first = Frame::Message { sequence: 0, message: message("hi") };
    let mut call = waiting_at(&stage, 0, first).await;
    let _wire = stage.attach(Peer::plain()).await;
    let outcome = next(&mut call.outcomes).await;
    assert!(matches!(outcome, Outcome::OnlyWhole(Frame::Message { .. })), "{outcome:?}");
    assert_eq!(held(&stage), (0, 0));
}

#[actix::test]
async fn a_full_tunnel_that_comes_refuses_what_it_has_no_room_for() {
    let stage = with(Limits { calls_per_tunnel_max: 1, ..Limits::default() }).await;
    let (mut first, mut second) = (waiting(&stage).await, waiting(&stage).await);
    let wire = stage.attach(Peer::default()).await;
    let ends = [next(&mut first.outcomes).await, next(&mut second.outcomes).await];
    assert!(matches!(ends[0], Outcome::Opened { .. }), "{:?}", ends[0]);
    assert!(matches!(ends[1], Outcome::Refused(Failure::InflightLimit)), "{:?}", ends[1]);
    assert_eq!((held(&stage), wire.load()), ((0, 0), 1));
}

#[actix::test]
async fn an_inquiry_waits_in_silence() {
    let stage = stage().await;
    let (_, mut released) = inquire(&stage);
    settle().await;
    assert_eq!(held(&stage), (1, 0));
    let wire = stage.attach(Peer::default()).await;
    assert!(released.recv().await.is_none(), "the registry has let go of the caller");

    stage.registry().tunnel_closed(wire.id);
    settle().await;
    let before = tokio::time::Instant::now();
    let (_, mut outcomes) = inquire(&stage);
    let outcome = next(&mut outcomes).await;
    assert!(matches!(outcome, Outcome::Unserved(Failure::NoTunnel)), "{outcome:?}");
    assert!(before.elapsed() >= WAIT);
    assert_eq!(held(&stage), (0, 0));
}

#[actix::test]
async fn who_speaks_while_it_waits_waits_no_longer_than_it_would_have() {
    let stage = stage().await;
    let before = tokio::time::Instant::now();
    let (request, _outcomes) = inquire(&stage);
    pass(Duration::from_secs(2)).await;
    let (caller, mut outcomes) = probe();
    let head = Arc::new(crate::actors::testing::head());
    stage.registry().forward(ForwardRequest::new(request, head, whole(), caller));
    assert!(matches!(next(&mut outcomes).await, Outcome::Waits));
    assert_eq!(held(&stage).0, 1, "the same call waits once");
    assert!(matches!(next(&mut outcomes).await, Outcome::Refused(Failure::NoTunnel)));
    assert!(before.elapsed() < WAIT + Duration::from_millis(5));
    assert_eq!(held(&stage), (0, 0));
}

/// The question may be on its way back from another worker when the caller leaves.
#[actix::test]
async fn a_call_that_comes_to_wait_after_its_caller_left_is_withdrawn_then() {
    let mut stage = Stage::where_calls_wait(1, Limits::default(), WAIT);
    let (slow, mailbox) = never_scheduled(&stage);
    stage.registries.push(slow);
    stage.registry().meet(stage.registries.clone());
    let wire = stage.offer(Peer { worker: 1, ..Peer::default() });
    settle().await;
    let mut caller = stage.call(Some(Said::LastMessage(message("hi"))));
    let pending = caller.admitted().await;
    settle().await;
    pending.left(Failure::Cancelled);
    assert_eq!(failure_in(&caller.part().await), Failure::Cancelled);
    settle().await;
    assert_eq!(held(&stage).0, 0, "it does not wait yet");

    wire.line.credit.close();
    stage.registry().tunnel_closed(wire.id);
    settle().await;
    let (waited, before) = (counted(Count::CallWaited), tokio::time::Instant::now());
    mailbox.run();
    caller.is_over().await;
    assert!(counted(Count::CallWaited) > waited);
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(held(&stage), (0, 0));
}

fn inquire(stage: &Stage) -> (RequestId, mpsc::UnboundedReceiver<Outcome>) {
    let (caller, outcomes) = probe();
    let request = RequestId::random();
    let path = MethodPath::parse(SAY).unwrap();
    stage.registry().inquire(Inquire { request, path, caller });
    (request, outcomes)
}

#[actix::test]
async fn a_call_waits_no_longer_however_often_a_tunnel_comes_and_goes() {
    let stage = stage().await;
    let mut call = waiting(&stage).await;
    for _ in 0..2 {
        pass(WAIT / 3).await;
        let mut wire = stage.attach(Peer::default()).await;
        call.opened().await;
        let Carry { request, head, frame, .. } = next(&mut wire.carried).await;
        let tunnel = wire.id;
        stage.registry().take_back(TakeBack { request, tunnel, head, first: frame });
        call.waits().await;
        stage.registry().tunnel_closed(tunnel);
        settle().await;
    }
    pass(WAIT / 3 + Duration::from_millis(50)).await;
    assert_eq!(held(&stage), (0, 0), "it waited as long as it may");
}

#[actix::test]
async fn a_call_that_is_served_since_the_configuration_changed_is_put_through() {
    let stage = stage().await;
    let settings = registry_settings(&stage.limits);
    let routing = Routing { wait_for_tunnel: WAIT, ..settings.routing };
    let declared = vec![ServiceName::new("demo.Echo")];
    let reconfigure = |match_unqualified| Reconfigure {
        routing: Routing { match_unqualified, ..routing },
        declared: declared.clone(),
    };
    for registry in &stage.registries {
        registry.reconfigure(reconfigure(false));
    }
    let wire = stage.attach(Peer { service: "Echo", ..Peer::default() }).await;
    let mut call = waiting(&stage).await;
    for registry in &stage.registries {
        registry.reconfigure(reconfigure(true));
    }
    assert!(Arc::ptr_eq(&call.opened().await, &wire.line));
}
