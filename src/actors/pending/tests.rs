//! A pending call between its caller and the registry.

mod waiting;

use super::*;
use crate::actors::testing::{
    Caller, Peer, Stage, Wire, answer, head, head_within, message, more, next, pass, settle,
    text_of,
};
use crate::tunnel::limits::Limits;
use std::time::Duration;
use tokio::time::Instant as Clock;

// === One message and one answer ===

#[actix::test]
async fn a_whole_call_is_one_frame_and_its_answer_is_told_once() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut caller = stage.call(whole());
    caller.admitted().await;

    let carried = next(&mut wire.carried).await;
    assert!(matches!(&carried.frame, Frame::Whole(message) if message.payload == "hi"));
    wire.answer(carried.request, answer("hi back"));
    assert_eq!(text_of(&caller.part().await), "hi back");
    caller.is_over().await;
    assert!(wire.left.try_recv().is_err(), "nothing is cancelled");
    nothing_is_left(&stage, &wire).await;
}

#[actix::test]
async fn the_parts_of_an_answer_come_in_order_and_nothing_after_the_end() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut caller = stage.call(whole());
    caller.admitted().await;

    let Carry { request, opening, .. } = next(&mut wire.carried).await;
    let straight = opening.unwrap();
    straight.tell(Outcome::Part(more("a")));
    straight.tell(Outcome::Part(more("b")));
    wire.answer(request, answer("c"));
    settle().await;
    straight.tell(Outcome::Part(more("too late")));
    straight.tell(Outcome::Part(Part::failed(Failure::TunnelLost)));
    drop(straight);
    for expected in ["a", "b", "c"] {
        assert_eq!(text_of(&caller.part().await), expected);
    }
    caller.is_over().await;
    nothing_is_left(&stage, &wire).await;
}

#[actix::test]
async fn a_refused_call_ends_with_the_refusal() {
    let stage = Stage::new();
    let mut caller = stage.call(whole());
    caller.admitted().await;
    assert_eq!(caller.failure().await, Failure::UnknownService);
    assert_eq!((stage.calls.used(), stage.clock.armed()), (0, 0));
}

#[actix::test]
async fn a_call_whose_tunnel_is_lost_is_told_so_at_once() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut caller = stage.call_with(head_within(Duration::from_mins(1)), whole());
    caller.admitted().await;
    drop(next(&mut wire.carried).await);

    let before = Clock::now();
    stage.registry().tunnel_closed(wire.id);
    assert_eq!(caller.failure().await, Failure::TunnelLost);
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!((stage.calls.used(), stage.clock.armed()), (0, 0));
    settle().await;
    assert!(wire.left.try_recv().is_err(), "there is nobody to hang up on");
}

// === Streams ===

#[actix::test]
async fn a_stream_goes_on_once_it_has_a_tunnel_and_its_frames_are_numbered() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut caller = stage.call(Some(Said::Message(message("a"))));
    let pending = caller.admitted().await;
    let (_, call_queue) = caller.go_on().await;
    let too_much = stage.limits.now().call_queue_bytes_max + 1;
    let all = call_queue.try_take(too_much);
    assert!(all.is_some() && call_queue.try_take(1).is_none(), "a call has its share only");

    pending.said(Said::Message(message("b")));
    pending.said(Said::LastMessage(message("c")));
    pending.said(Said::Message(message("after the half-close")));
    for (place, text) in [(0, "a"), (1, "b"), (2, "c")] {
        let Frame::Message { sequence, message } = next(&mut wire.carried).await.frame else {
            panic!("a message")
        };
        assert_eq!((sequence, &message.payload[..]), (place, text.as_bytes()));
    }
    let Carry { request, frame, .. } = next(&mut wire.carried).await;
    assert!(matches!(frame, Frame::HalfClose { sequence: 3 }));
    settle().await;
    assert!(wire.carried.try_recv().is_err());

    wire.answer(request, answer("done"));
    assert_eq!(text_of(&caller.part().await), "done");
    nothing_is_left(&stage, &wire).await;
}

#[actix::test]
async fn a_call_without_a_message_is_its_half_close() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut caller = stage.call(Some(Said::HalfClose));
    caller.admitted().await;
    let Carry { request, frame, .. } = next(&mut wire.carried).await;
    assert!(matches!(frame, Frame::HalfClose { sequence: 0 }));
    wire.answer(request, answer("done"));
    assert_eq!(text_of(&caller.part().await), "done");
}

#[actix::test]
async fn a_caller_that_says_nothing_is_refused_at_once_when_nobody_serves_its_method() {
    let stage = Stage::new();
    let mut caller = stage.call(None);
    caller.admitted().await;
    let before = Clock::now();
    assert_eq!(caller.failure().await, Failure::UnknownService);
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(stage.calls.used(), 0);
}

#[actix::test]
async fn a_caller_that_says_nothing_is_waited_for_when_somebody_serves_its_method() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut caller = stage.call(None);
    let pending = caller.admitted().await;
    pass(Duration::from_mins(10)).await;
    assert!(caller.replies.try_recv().is_err() && wire.carried.try_recv().is_err());

    pending.said(Said::Message(message("a")));
    caller.go_on().await;
    next(&mut wire.carried).await;
}

// === Time ===

#[actix::test]
async fn a_deadline_ends_the_call_and_cancels_the_tunnel() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let (before, time) = (Clock::now(), Duration::from_secs(2));
    let mut caller = stage.call_with(head_within(time), whole());
    caller.admitted().await;
    let Carry { request, .. } = next(&mut wire.carried).await;

    assert_eq!(caller.failure().await, Failure::Deadline);
    assert_took(before, time);
    let left = next(&mut wire.left).await;
    assert_eq!((left.request, left.failure), (request, Failure::Deadline));
    assert_eq!((stage.calls.used(), stage.clock.armed()), (0, 0));
    assert_eq!(wire.load(), 1, "the peer may still be working on it");
    wire.answer(request, answer("too late"));
    nothing_is_left(&stage, &wire).await;
}

#[actix::test]
async fn a_deadline_that_has_passed_already_ends_the_call_at_once() {
    let stage = Stage::new();
    let mut caller = stage.call_with(head_within(Duration::ZERO), None);
    let wire = stage.offer(Peer::default());
    caller.admitted().await;
    let failure = caller.failure().await;
    assert!(matches!(failure, Failure::Deadline | Failure::UnknownService), "{failure:?}");
    nothing_is_left(&stage, &wire).await;
}

#[actix::test]
async fn a_plain_peers_call_without_a_deadline_gets_five_minutes() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::plain()).await;
    let before = Clock::now();
    let mut caller = stage.call(whole());
    caller.admitted().await;
    assert_eq!(caller.failure().await, Failure::Deadline);
    assert_took(before, Duration::from_mins(5));
    assert_eq!(next(&mut wire.left).await.failure, Failure::Deadline);
}

#[actix::test]
async fn a_plain_peers_call_keeps_a_deadline_of_its_own() {
    let stage = Stage::new();
    stage.attach(Peer::plain()).await;
    let (before, time) = (Clock::now(), Duration::from_mins(20));
    let mut caller = stage.call_with(head_within(time), whole());
    caller.admitted().await;
    assert_eq!(caller.failure().await, Failure::Deadline);
    assert_took(before, time);
}

#[actix::test]
async fn a_call_without_a_deadline_to_a_peer_that_has_features_waits_for_ever() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut caller = stage.call(whole());
    caller.admitted().await;
    pass(Duration::from_hours(24)).await;
    assert_eq!(stage.clock.armed(), 0);
    let Carry { request, .. } = next(&mut wire.carried).await;
    wire.answer(request, answer("at last"));
    assert_eq!(text_of(&caller.part().await), "at last");
}

// === Calls on which nothing moves ===

#[actix::test]
async fn a_call_that_is_still_for_too_long_ends_and_messages_either_way_put_that_off() {
    let limits = Limits { stream_idle_timeout: Duration::from_secs(100), ..Limits::default() };
    let stage = Stage::with(1, limits);
    let mut wire = stage.attach(Peer::default()).await;
    let mut caller = stage.call(Some(Said::Message(message("a"))));
    let pending = caller.admitted().await;
    caller.go_on().await;
    let Carry { opening, .. } = next(&mut wire.carried).await;
    pass(Duration::from_secs(90)).await;
    opening.unwrap().tell(Outcome::Part(more("b")));
    assert_eq!(text_of(&caller.part().await), "b");
    pass(Duration::from_secs(90)).await;
    let before = Clock::now();
    pending.said(Said::Message(message("c")));
    assert_eq!(caller.failure().await, Failure::Idle);
    assert_took(before, Duration::from_secs(100));
    assert_eq!(next(&mut wire.left).await.failure, Failure::Idle);
    assert_eq!((stage.calls.used(), stage.clock.armed()), (0, 0));
}

#[actix::test]
async fn without_a_limit_a_still_call_lives_for_days_and_has_no_alarm() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut caller = stage.call(Some(Said::Message(message("a"))));
    caller.admitted().await;
    caller.go_on().await;
    pass(Duration::from_hours(24)).await;
    assert_eq!(stage.clock.armed(), 0);
    let Carry { request, .. } = next(&mut wire.carried).await;
    wire.answer(request, answer("at last"));
    assert_eq!(text_of(&caller.part().await), "at last");
}

// === Peers that take whole calls only ===

#[actix::test]
async fn a_half_close_that_does_not_come_in_time_ends_the_call() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::plain()).await;
    let before = Clock::now();
    let mut caller = stage.call(Some(Said::Message(message("hi"))));
    caller.admitted().await;
    assert!(matches!(caller.next().await, Reply::AwaitHalfClose));
    assert_eq!(caller.failure().await, Failure::HalfCloseOverdue);
    assert_took(before, Duration::from_secs(30));
    assert!(wire.carried.try_recv().is_err());
    nothing_is_left(&stage, &wire).await;
}

#[actix::test]
async fn a_half_close_in_time_makes_the_call_whole() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::plain()).await;
    let mut caller = stage.call(Some(Said::Message(message("hi"))));
    let pending = caller.admitted().await;
    assert!(matches!(caller.next().await, Reply::AwaitHalfClose));
    pass(Duration::from_secs(29)).await;

    pending.said(Said::HalfClose);
    let Carry { request, frame, .. } = next(&mut wire.carried).await;
    assert!(matches!(frame, Frame::Whole(message) if message.payload == "hi"));
    pass(Duration::from_mins(1)).await;
    wire.answer(request, answer("hi back"));
    assert_eq!(text_of(&caller.part().await), "hi back");
    nothing_is_left(&stage, &wire).await;
}

#[actix::test]
async fn a_second_message_to_a_peer_that_takes_whole_calls_is_too_many() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::plain()).await;
    let mut caller = stage.call(Some(Said::Message(message("hi"))));
    let pending = caller.admitted().await;
    assert!(matches!(caller.next().await, Reply::AwaitHalfClose));
    pending.said(Said::Message(message("again")));
    assert_eq!(caller.failure().await, Failure::UnaryOnly);
    assert!(wire.carried.try_recv().is_err());
    nothing_is_left(&stage, &wire).await;
}

// === Callers that leave ===

#[actix::test]
async fn a_caller_that_leaves_an_open_call_is_told_to_the_tunnel_with_the_reason() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut caller = stage.call(Some(Said::Message(message("hi"))));
    let pending = caller.admitted().await;
    caller.go_on().await;
    drop(caller);
    pending.left(Failure::Protocol);
    pending.left(Failure::Cancelled);
    assert_eq!(next(&mut wire.left).await.failure, Failure::Protocol);
    settle().await;
    assert!(wire.left.try_recv().is_err());
    assert_eq!(stage.calls.used(), 0);
}

#[actix::test]
async fn a_caller_that_is_gone_while_a_tunnel_is_looked_for_is_cancelled_once_there_is_one() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let (mut caller, pending) = begin(&stage, whole());
    pending.left(Failure::Cancelled);

    let Carry { request, .. } = next(&mut wire.carried).await;
    assert_eq!(caller.failure().await, Failure::Cancelled);
    assert_eq!(next(&mut wire.left).await.request, request);
    assert_eq!(stage.calls.used(), 0);
}

#[actix::test]
async fn a_caller_that_leaves_before_it_said_anything_leaves_nothing_behind() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut caller = stage.call_with(head_within(Duration::from_mins(1)), None);
    caller.admitted().await.left(Failure::Cancelled);
    assert_eq!(caller.failure().await, Failure::Cancelled);
    assert!(wire.carried.try_recv().is_err());
    nothing_is_left(&stage, &wire).await;
}

// === Panics ===

#[actix::test]
async fn a_panic_tells_the_caller_and_the_tunnel_and_frees_everything() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let first = Some(Said::Message(message("hi")));
    let mut caller = stage.call_with(head_within(Duration::from_mins(1)), first);
    let pending = caller.admitted().await;
    caller.go_on().await;
    assert_eq!((stage.calls.used(), stage.clock.armed()), (1, 1));

    pending.crash();
    assert_eq!(caller.failure().await, Failure::Panic);
    let left = next(&mut wire.left).await;
    assert_eq!(left.failure, Failure::Panic);
    assert_eq!((stage.calls.used(), stage.clock.armed()), (0, 0));
    wire.answer(left.request, answer("too late"));
    nothing_is_left(&stage, &wire).await;
}

#[actix::test]
async fn a_panic_before_there_is_a_tunnel_tells_the_caller() {
    let stage = Stage::new();
    let mut caller = stage.call_with(head_within(Duration::from_mins(1)), None);
    let wire = stage.attach(Peer::default()).await;
    let pending = caller.admitted().await;
    pending.crash();
    let failure = caller.failure().await;
    assert!(matches!(failure, Failure::Panic | Failure::UnknownService), "{failure:?}");
    nothing_is_left(&stage, &wire).await;
}

#[actix::test]
async fn a_call_that_panics_while_the_registry_looks_leaves_the_tunnel_it_is_given() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let (mut caller, pending) = begin(&stage, whole());
    pending.crash();
    assert_eq!(caller.failure().await, Failure::Panic);
    assert_eq!(next(&mut wire.left).await.failure, Failure::Panic);
    pass(stage.limits.now().cancel_timeout).await;
    nothing_is_left(&stage, &wire).await;
}

#[actix::test]
async fn a_call_that_ends_while_the_registry_looks_is_cancelled_for_the_same_reason() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let (mut caller, pending) = begin(&stage, whole());
    pending.left(Failure::Deadline);
    assert_eq!(caller.failure().await, Failure::Deadline);
    assert_eq!(next(&mut wire.left).await.failure, Failure::Deadline);
}

#[actix::test]
async fn a_call_that_has_spoken_before_it_was_found_unserved_gets_the_tunnel_that_came_meanwhile() {
    let stage = Stage::new();
    let (mut caller, pending) = begin(&stage, None);
    let mut wire = stage.offer(Peer::default());
    pending.said(Said::LastMessage(message("hi")));
    let carried = next(&mut wire.carried).await;
    wire.answer(carried.request, answer("hi back"));
    assert_eq!(text_of(&caller.part().await), "hi back");
}

// === Helpers ===

#[expect(clippy::unnecessary_wraps, reason = "what a caller has said may be nothing")]
fn whole() -> Option<Said<Message>> {
    Some(Said::LastMessage(message("hi")))
}

/// Begins a call and has its handle before anybody else has done anything.
fn begin(stage: &Stage, first: Option<Said<Message>>) -> (Caller, PendingHandle) {
    let (for_pending, mut replies) = mpsc::channel(64);
    let slot = stage.calls.take(1).unwrap();
    let line = CallerLine::new(for_pending).holding(slot);
    Pending::begin(Arc::new(head()), first, line, stage.for_calls());
    let Ok(Reply::Admitted(pending)) = replies.try_recv() else { panic!("not admitted") };
    (Caller { replies }, pending)
}

/// No call, no alarm, no slot on the tunnel.
async fn nothing_is_left(stage: &Stage, wire: &Wire) {
    settle().await;
    assert_eq!((stage.calls.used(), stage.clock.armed(), wire.load()), (0, 0, 0));
}

/// Timers go off at the next full millisecond.
fn assert_took(since: Clock, time: Duration) {
    let took = since.elapsed();
    assert!(took >= time && took <= time + Duration::from_millis(2), "{took:?}");
}
