//! A registry between stand-ins for callers and tunnels.

mod flapping;
mod limits;
mod taken_back;
mod waiting;

use std::time::Duration;

use super::*;
use crate::actors::mailbox::Post;
use crate::actors::testing::{
    Peer, SAY, Stage, answer, message, next, pass, probe, registry_settings, settle, text_of,
};
use crate::actors::traffic::Outgoing;
use crate::observe::tally::counted;
use crate::tunnel::call::Frame;
use crate::tunnel::id::{MethodPath, RequestId};
use crate::tunnel::limits::Limits;

/// What a drain gives calls in these tests.
const GRACE: Duration = Duration::from_secs(30);

// === One call ===

#[actix::test]
async fn a_call_goes_through_and_its_answer_comes_back_exactly_once() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let late = counted(Count::FrameLate);

    let mut call = stage.forward();
    call.opened().await;
    let carried = next(&mut wire.carried).await;
    assert_eq!((carried.request, wire.load()), (call.request, 1));
    assert!(matches!(carried.frame, Frame::Whole(_)) && carried.opening.is_some());
    drop(carried);

    wire.answer(call.request, answer("hi back"));
    wire.answer(call.request, answer("again"));
    assert_eq!(text_of(&call.part().await), "hi back");
    call.is_over().await;
    assert_eq!(wire.load(), 0);
    assert!(counted(Count::FrameLate) > late, "the second answer is counted");
}

#[actix::test]
async fn only_the_tunnel_that_carries_a_call_can_answer_it() {
    let stage = Stage::new();
    let wire = stage.attach(Peer::default()).await;
    let other = stage.attach(Peer { service: "demo.Other", ..Peer::default() }).await;

    let mut call = stage.forward();
    call.opened().await;
    other.answer(call.request, answer("forged"));
    wire.answer(call.request, answer("true"));
    assert_eq!(text_of(&call.part().await), "true");
}

#[actix::test]
async fn a_call_that_the_gateway_ends_is_told_so_and_keeps_its_slot_for_a_while() {
    let stage = Stage::new();
    let wire = stage.attach(Peer::default()).await;
    let mut call = stage.forward();
    call.opened().await;

    stage.registry().fail(CallFailed { request: call.request, failure: Failure::BufferFull });
    assert_eq!(call.failure().await, Failure::BufferFull);
    assert_eq!(wire.load(), 1);
    pass(Duration::from_secs(6)).await;
    assert_eq!(wire.load(), 0);
}

// === Nobody to take it ===

#[actix::test]
async fn a_name_that_nobody_ever_offered_is_unknown() {
    let stage = Stage::new();
    stage.attach(Peer { service: "demo.Other", ..Peer::default() }).await;
    assert_eq!(stage.forward().refused().await, Failure::UnknownService);
}

#[actix::test]
async fn a_name_whose_last_tunnel_has_left_is_known_for_ten_minutes() {
    let stage = Stage::new();
    let wire = stage.attach(Peer::default()).await;
    stage.registry().tunnel_closed(wire.id);
    settle().await;
    assert_eq!(stage.forward().refused().await, Failure::NoTunnel);
    pass(Duration::from_mins(10)).await;
    assert_eq!(stage.forward().refused().await, Failure::UnknownService);
}

#[actix::test]
async fn a_tunnel_that_said_goodbye_gets_no_new_call_and_keeps_what_it_has() {
    let stage = Stage::new();
    let wire = stage.attach(Peer::default()).await;
    let mut kept = stage.forward();
    kept.opened().await;

    stage.registry().set_standing(wire.id, Standing::Draining);
    stage.registry().set_standing(wire.id, Standing::Ready);
    settle().await;
    assert_eq!(stage.forward().refused().await, Failure::NoTunnel);
    wire.answer(kept.request, answer("kept"));
    assert_eq!(text_of(&kept.part().await), "kept");
}

#[actix::test]
async fn a_late_tunnel_is_not_chosen_until_it_is_heard_again() {
    let stage = Stage::with(2, Limits::default());
    let late = stage.attach(Peer::default()).await;
    let ready = stage.attach(Peer { worker: 1, ..Peer::default() }).await;

    stage.registry().set_standing(late.id, Standing::Late);
    settle().await;
    for worker in [0, 1] {
        let line = stage.forward_from(worker, whole()).opened().await;
        assert!(Arc::ptr_eq(&line, &ready.line), "worker {worker}");
    }
    stage.registry().set_standing(late.id, Standing::Ready);
    settle().await;
    let line = stage.forward().opened().await;
    assert!(Arc::ptr_eq(&line, &late.line), "the tunnel of the own worker comes first");
}

#[actix::test]
async fn an_inquiry_is_answered_only_when_nobody_could_take_the_call() {
    let stage = Stage::new();
    let (request, path) = (RequestId::random(), MethodPath::parse(SAY).unwrap());
    let (caller, mut outcomes) = probe::<Outcome>();
    stage.registry().inquire(Inquire { request, path: path.clone(), caller: caller.clone() });
    let outcome = next(&mut outcomes).await;
    assert!(matches!(outcome, Outcome::Unserved(Failure::UnknownService)), "{outcome:?}");

    let wire = stage.attach(Peer { streams: false, ..Peer::default() }).await;
    stage.registry().inquire(Inquire { request, path, caller });
    assert!(outcomes.recv().await.is_none(), "the registry has let go of the caller");
    assert_eq!(wire.load(), 0);
}

// === Tunnels come and go ===

#[actix::test]
async fn losing_a_tunnel_ends_its_calls_at_once_and_only_its_own() {
    let stage = Stage::with(2, Limits::default());
    let lost = stage.attach(Peer::default()).await;
    let kept = stage.attach(Peer { worker: 1, ..Peer::default() }).await;
    let mut stranded = stage.forward();
    let mut carried = stage.forward_from(1, whole());
    stranded.opened().await;
    carried.opened().await;

    let before = tokio::time::Instant::now();
    stage.registry().tunnel_closed(lost.id);
    assert_eq!(stranded.failure().await, Failure::TunnelLost);
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert!(lost.line.credit.try_take(1).is_none(), "nobody waits for room any more");

    kept.answer(carried.request, answer("kept"));
    assert_eq!(text_of(&carried.part().await), "kept");
}

#[actix::test]
async fn a_tunnel_is_announced_only_when_every_registry_has_it() {
    let mut stage = Stage::new();
    let (handle, slow) = never_scheduled(&stage);
    stage.registries.push(handle);
    for registry in &stage.registries {
        registry.meet(stage.registries.clone());
    }

    let mut wire = stage.offer(Peer::default());
    settle().await;
    assert!(wire.opened.try_recv().is_err(), "one registry does not know it");
    slow.run();
    next(&mut wire.opened).await;
    stage.forward_from(1, whole()).opened().await;
}

#[actix::test]
async fn a_rejected_tunnel_is_closed_with_the_reason_and_never_opened() {
    let limits = Limits { tunnels_per_key_max: 1, ..Limits::default() };
    let stage = Stage::with(1, limits);
    let first = stage.attach(Peer::default()).await;

    let mut second = stage.offer(Peer::default());
    let CloseTunnel(end) = next(&mut second.closed).await;
    assert_eq!(end, TunnelEnd::Rejected(Rejection::TunnelsPerKey { max: 1 }));
    assert!(second.opened.recv().await.is_none());

    // It is not counted out, because it was not counted in.
    stage.registry().tunnel_closed(second.id);
    next(&mut stage.offer(Peer::default()).closed).await;

    stage.attach(Peer { key: "another", ..Peer::default() }).await;
    stage.registry().tunnel_closed(first.id);
    stage.attach(Peer::default()).await;
}

#[actix::test]
async fn a_tunnel_that_closes_before_it_is_attached_leaves_nothing_behind() {
    let limits = Limits { tunnels_per_key_max: 1, tunnels_per_service_max: 1, ..Limits::default() };
    let stage = Stage::with(2, limits);
    for worker in [0, 1, 0, 1] {
        let gone = stage.offer(Peer { worker, ..Peer::default() });
        stage.registry().tunnel_closed(gone.id);
        stage.registry().tunnel_closed(gone.id);
    }
    settle().await;
    assert_eq!(stage.forward().refused().await, Failure::NoTunnel);
    stage.attach(Peer::default()).await;
}

#[actix::test]
async fn a_draining_registry_rejects_tunnels_and_goes_on_with_calls() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    stage.registry().drain(Drain::Begin(GRACE));

    let CloseTunnel(end) = next(&mut stage.offer(Peer::default()).closed).await;
    assert_eq!(end, TunnelEnd::Rejected(Rejection::Draining));
    stage.forward().opened().await;
    assert!(wire.closed.try_recv().is_err());
}

#[actix::test]
async fn a_drain_is_for_the_tunnels_of_its_own_worker() {
    let stage = Stage::with(2, Limits::default());
    let mut own = stage.attach(Peer::default()).await;
    let mut other = stage.attach(Peer { worker: 1, ..Peer::default() }).await;

    stage.registry().drain(Drain::Begin(GRACE));
    assert_eq!(next(&mut own.drained).await.ask, Some(GRACE));
    stage.registry().drain(Drain::Finish);
    assert_eq!(next(&mut own.drained).await.ask, None);
    stage.registry().drain(Drain::Cut);
    assert_eq!(next(&mut own.closed).await.0, TunnelEnd::Draining);
    settle().await;
    assert!(other.drained.try_recv().is_err() && other.closed.try_recv().is_err());
}

// === Several workers ===

#[actix::test]
async fn a_call_for_a_tunnel_of_another_worker_is_opened_by_that_workers_registry() {
    let stage = Stage::with(2, Limits::default());
    let mut wire = stage.attach(Peer { worker: 1, ..Peer::default() }).await;

    let mut call = stage.forward();
    assert!(Arc::ptr_eq(&call.opened().await, &wire.line));
    next(&mut wire.carried).await;

    stage.registries[0].hang_up(call.request, Failure::Cancelled);
    settle().await;
    assert!(wire.left.try_recv().is_err(), "the caller's registry does not own the call");
    wire.answer(call.request, answer("from afar"));
    assert_eq!(text_of(&call.part().await), "from afar");
    call.is_over().await;
    assert_eq!(wire.load(), 0);
}

#[actix::test]
async fn a_full_tunnel_of_another_worker_sends_the_call_back_to_be_picked_again() {
    let limits = Limits { calls_per_tunnel_max: 1, ..Limits::default() };
    let stage = Stage::with(2, limits);
    let one = stage.attach(Peer { worker: 1, ..Peer::default() }).await;
    let other = stage.attach(Peer { worker: 1, ..Peer::default() }).await;

    let (mut first, mut second) = (stage.forward(), stage.forward());
    first.opened().await;
    second.opened().await;
    assert_eq!((one.load(), other.load()), (1, 1));
    let mut third = stage.forward();
    assert_eq!(third.refused().await, Failure::InflightLimit);
    third.is_over().await;
}

// === Peers that do not stream ===

#[actix::test]
async fn a_stream_that_only_whole_peers_serve_gets_its_first_frame_back() {
    let stage = Stage::new();
    let wire = stage.attach(Peer { streams: false, ..Peer::default() }).await;

    let first = Frame::Message { sequence: 0, message: message("hi") };
    let mut call = stage.forward_from(0, first);
    let Outcome::OnlyWhole(Frame::Message { sequence, message }) = next(&mut call.outcomes).await
    else {
        panic!("the frame comes back")
    };
    assert_eq!((sequence, &message.payload[..]), (0, &b"hi"[..]));
    call.is_over().await;
    assert_eq!(wire.load(), 0);
}

// === Callers that leave ===

#[actix::test]
async fn a_caller_that_hangs_up_is_reported_and_its_slot_kept_until_the_final_answer() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut call = stage.forward();
    call.opened().await;
    drop(next(&mut wire.carried).await);

    stage.registry().hang_up(call.request, Failure::Deadline);
    stage.registry().hang_up(call.request, Failure::Deadline);
    let left = next(&mut wire.left).await;
    assert_eq!((left.request, left.failure, wire.load()), (call.request, Failure::Deadline, 1));
    call.is_over().await;

    wire.answer(call.request, answer("too late"));
    settle().await;
    assert_eq!(wire.load(), 0);
    assert!(wire.left.try_recv().is_err(), "it is reported once");
}

#[actix::test]
async fn the_slots_of_callers_that_left_are_freed_after_five_seconds_each() {
    let stage = Stage::new();
    let wire = stage.attach(Peer::default()).await;
    let (mut first, mut second) = (stage.forward(), stage.forward());
    first.opened().await;
    second.opened().await;

    stage.registry().hang_up(first.request, Failure::Cancelled);
    pass(Duration::from_secs(2)).await;
    stage.registry().hang_up(second.request, Failure::Cancelled);
    pass(Duration::from_millis(2_990)).await;
    assert_eq!(wire.load(), 2);
    pass(Duration::from_millis(20)).await;
    assert_eq!(wire.load(), 1);
    pass(Duration::from_secs(2)).await;
    assert_eq!(wire.load(), 0);
}

#[actix::test]
async fn a_call_that_never_reached_its_peer_frees_its_slot_at_once() {
    let stage = Stage::new();
    let wire = stage.attach(Peer::default()).await;
    let mut call = stage.forward();
    call.opened().await;

    stage.registry().call_unseen(call.request);
    settle().await;
    assert_eq!(wire.load(), 1, "a call that goes on keeps its slot");
    stage.registry().hang_up(call.request, Failure::Cancelled);
    stage.registry().call_unseen(call.request);
    settle().await;
    assert_eq!(wire.load(), 0);
}

#[actix::test]
async fn no_call_goes_down_a_tunnel_before_every_registry_knows_it() {
    let mut stage = Stage::with(2, Limits::default());
    let (slow, slow_mailbox) = never_scheduled(&stage);
    stage.registries.push(slow);
    for registry in &stage.registries {
        registry.meet(stage.registries.clone());
    }
    let tunnel = stage.open(Peer { worker: 1, ..Peer::default() });
    settle().await;
    let mut call = stage.forward_from(1, whole());
    call.opened().await;
    settle().await;
    assert!(tunnel.down.try_next().is_none());

    drop(slow_mailbox);
    assert!(matches!(tunnel.next().await, Outgoing::Connected));
    assert_eq!(tunnel.next_request().await.0, call.request);
}

#[actix::test]
async fn a_tunnel_whose_end_has_reached_only_some_registries_is_no_tunnel_to_the_others() {
    let stage = Stage::with(2, Limits::default());
    let wire = stage.attach(Peer::default()).await;
    stage.registries[1].0.tell(DetachTunnel { tunnel: wire.id });
    settle().await;
    assert_eq!(stage.forward().refused().await, Failure::NoTunnel);
}

// === Crashes ===

#[actix::test]
async fn a_registry_that_panics_says_so() {
    let mut stage = Stage::new();
    stage.registry().crash();
    assert_eq!(next(&mut stage.died).await, "registry");
}

fn whole() -> Frame<super::super::traffic::Message> {
    Frame::Whole(message("hi"))
}

/// The registry of worker 1, which is too busy to read its mailbox.
fn never_scheduled(stage: &Stage) -> (RegistryHandle, Unscheduled) {
    let (died, _) = mpsc::unbounded_channel();
    let registry = Registry::new(WorkerId(1), &registry_settings(&stage.limits), died);
    let mailbox = Context::new();
    (RegistryHandle(Post::of(&registry, &mailbox)), Unscheduled { registry, mailbox })
}

/// What it is told waits in its mailbox.
struct Unscheduled {
    registry: Registry,
    mailbox: Context<Registry>,
}

impl Unscheduled {
    fn run(self) {
        self.mailbox.run(self.registry);
    }
}
