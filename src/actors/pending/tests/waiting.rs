//! Calls that wait for a tunnel, from their callers' side.

use super::*;
use crate::tunnel::limits::Limits;

const WAIT: Duration = Duration::from_secs(3);

/// The name of the tests is known and nobody serves it.
async fn stage() -> Stage {
    let stage = Stage::where_calls_wait(1, Limits::default(), WAIT);
    let wire = stage.attach(Peer::default()).await;
    stage.registry().tunnel_closed(wire.id);
    settle().await;
    stage
}

async fn nothing_waits(stage: &Stage) {
    settle().await;
    let room = &stage.waiting_room;
    assert_eq!((room.calls(), room.bytes()), (0, 0));
    assert_eq!((stage.calls.used(), stage.clock.armed()), (0, 0));
}

#[actix::test]
async fn a_call_that_waited_is_carried_and_answered() {
    let stage = stage().await;
    let mut caller = stage.call(whole());
    caller.admitted().await;
    pass(Duration::from_secs(1)).await;
    let mut wire = stage.attach(Peer::default()).await;
    let carried = next(&mut wire.carried).await;
    wire.answer(carried.request, answer("at last"));
    assert_eq!(text_of(&caller.part().await), "at last");
    caller.is_over().await;
    nothing_waits(&stage).await;
}

#[actix::test]
async fn a_deadline_comes_before_the_end_of_the_wait_and_a_longer_one_does_not() {
    let stage = stage().await;
    for (time, failure) in
        [(Duration::from_secs(1), Failure::Deadline), (WAIT * 2, Failure::NoTunnel)]
    {
        let before = Clock::now();
        let mut caller = stage.call_with(head_within(time), whole());
        caller.admitted().await;
        assert_eq!(caller.failure().await, failure);
        let expected = time.min(WAIT);
        assert!(before.elapsed() >= expected);
        assert!(before.elapsed() < expected + Duration::from_millis(5));
        nothing_waits(&stage).await;
    }
}

#[actix::test]
async fn a_caller_that_leaves_while_it_waits_takes_no_room_any_more() {
    let stage = stage().await;
    for first in [None, whole(), Some(Said::Message(message("more will follow")))] {
        let mut caller = stage.call(first);
        let pending = caller.admitted().await;
        settle().await;
        assert_eq!(stage.waiting_room.calls(), 1);
        pending.left(Failure::Cancelled);
        assert_eq!(caller.failure().await, Failure::Cancelled);
        nothing_waits(&stage).await;
    }
}

#[actix::test]
async fn a_call_that_breaks_while_it_waits_takes_no_room_any_more() {
    let stage = stage().await;
    for first in [None, whole()] {
        let mut caller = stage.call(first);
        let pending = caller.admitted().await;
        settle().await;
        assert_eq!(stage.waiting_room.calls(), 1);
        pending.crash();
        assert_eq!(caller.failure().await, Failure::Panic);
        nothing_waits(&stage).await;
    }
}

#[actix::test]
async fn a_silent_caller_waits_and_is_heard_when_a_tunnel_has_come() {
    let stage = stage().await;
    let mut caller = stage.call(None);
    let pending = caller.admitted().await;
    settle().await;
    let mut wire = stage.attach(Peer::default()).await;
    pass(WAIT * 2).await;
    assert!(caller.replies.try_recv().is_err(), "it may go on being silent");
    pending.said(Said::Message(message("a")));
    caller.go_on().await;
    let carried = next(&mut wire.carried).await;
    wire.answer(carried.request, answer("done"));
    assert_eq!(text_of(&caller.part().await), "done");
    nothing_waits(&stage).await;
}

#[actix::test]
async fn a_call_of_several_messages_waits_and_then_meets_a_plain_peer() {
    let stage = stage().await;
    let mut caller = stage.call(Some(Said::Message(message("a"))));
    let pending = caller.admitted().await;
    settle().await;
    let mut wire = stage.attach(Peer::plain()).await;
    assert!(matches!(caller.next().await, Reply::AwaitHalfClose));
    // The peer goes before the call is whole, so that it waits once more.
    stage.registry().tunnel_closed(wire.id);
    pending.said(Said::HalfClose);
    settle().await;
    assert_eq!(stage.waiting_room.calls(), 1);
    assert!(wire.carried.try_recv().is_err());
    wire = stage.attach(Peer::plain()).await;
    let carried = next(&mut wire.carried).await;
    assert!(matches!(&carried.frame, Frame::Whole(message) if message.payload == "a"));
    wire.answer(carried.request, answer("done"));
    assert_eq!(text_of(&caller.part().await), "done");
    nothing_waits(&stage).await;
}
