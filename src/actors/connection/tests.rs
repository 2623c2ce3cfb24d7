//! A connection between the registry and its wire.

use super::*;
use crate::actors::registry::Drain;
use crate::actors::testing::{Called, Peer, Stage, Tunnel, answer_frame, message, settle, text_of};
use crate::actors::traffic::MESSAGE_OVERHEAD_BYTES;
use crate::observe::tally::counted;
use crate::tunnel::admission::Rejection;
use crate::tunnel::answer::Form;
use crate::tunnel::call::Frame;
use crate::tunnel::code::Code;
use crate::tunnel::limits::Limits;
use std::sync::atomic::Ordering;
use std::time::Duration;

mod drain;
mod watched;

const MORE: Form = Form::Stream { end: false };
const END: Form = Form::Stream { end: true };

// === Answers ===

#[actix::test]
async fn answers_go_to_the_callers_they_are_for() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let (mut ann, mut bob) = (stage.forward(), stage.forward());
    assert_eq!(tunnel.next_request().await.0, ann.request);
    assert_eq!(tunnel.next_request().await.0, bob.request);
    let line = ann.opened().await;
    bob.opened().await;

    tunnel.connection.answered(bob.request, answer_frame(Form::Whole, "for bob"));
    tunnel.connection.answered(ann.request, answer_frame(Form::Whole, "for ann"));
    assert_eq!(text_of(&ann.part().await), "for ann");
    assert_eq!(text_of(&bob.part().await), "for bob");
    ann.is_over().await;
    bob.is_over().await;
    assert_eq!(line.load.load(Ordering::Relaxed), 0);
}

#[actix::test]
async fn parts_go_straight_to_the_caller_and_the_last_one_frees_the_slot() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let mut call = stage.forward();
    let line = call.opened().await;
    for text in ["a", "b"] {
        tunnel.connection.answered(call.request, answer_frame(MORE, text));
        assert_eq!(text_of(&call.part().await), text);
    }
    assert_eq!(line.load.load(Ordering::Relaxed), 1);
    tunnel.connection.answered(call.request, answer_frame(END, "c"));
    let last = call.part().await;
    assert!(last.ending.is_some());
    assert_eq!((text_of(&last), line.load.load(Ordering::Relaxed)), ("c", 0));
    drop(last);
    call.is_over().await;
    assert_eq!(tunnel.buffer.used(), 0);
}

#[actix::test]
async fn frames_after_the_end_and_frames_of_no_call_are_counted_and_dropped() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let mut call = stage.forward();
    call.opened().await;
    tunnel.connection.answered(call.request, answer_frame(Form::Whole, "once"));
    call.part().await;

    let late = counted(Count::FrameLate);
    for form in [MORE, END, Form::Whole] {
        tunnel.connection.answered(call.request, answer_frame(form, "late"));
        tunnel.connection.answered(RequestId::random(), answer_frame(form, "made up"));
    }
    call.is_over().await;
    settle().await;
    assert!(counted(Count::FrameLate) >= late + 6);
    assert_eq!((tunnel.down.ended(), tunnel.buffer.used()), (None, 0));
}

#[actix::test]
async fn the_last_word_on_a_call_that_was_cancelled_frees_its_slot() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let mut call = stage.forward();
    let line = call.opened().await;
    tunnel.next_request().await;
    stage.registry().hang_up(call.request, Failure::Deadline);
    assert_eq!(tunnel.next_cancel().await, (call.request, Failure::Deadline));

    tunnel.connection.answered(call.request, answer_frame(MORE, "on my way"));
    settle().await;
    assert_eq!(line.load.load(Ordering::Relaxed), 1);
    tunnel.connection.answered(call.request, answer_frame(END, ""));
    settle().await;
    assert_eq!(line.load.load(Ordering::Relaxed), 0);
    call.is_over().await;
}

#[actix::test]
async fn an_error_is_the_last_word_whatever_the_frame_says() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let mut call = stage.forward();
    let line = call.opened().await;
    let mut frame = answer_frame(MORE, "");
    frame.step.code = Code::NOT_FOUND;
    tunnel.connection.answered(call.request, frame);
    assert!(call.part().await.ending.is_some());
    call.is_over().await;
    assert_eq!(line.load.load(Ordering::Relaxed), 0);
}

// === Answers that cannot be taken ===

#[actix::test]
async fn a_message_that_is_too_large_fails_only_its_call_and_cancels_it() {
    let limits = Limits { message_bytes_max: 4, ..Limits::default() };
    let (stage, tunnel) = stage_and_tunnel(limits).await;
    let (mut large, mut small) = open_two(&stage, &tunnel).await;

    tunnel.connection.answered(large.request, answer_frame(MORE, "12345"));
    assert_eq!(large.failure().await, Failure::MessageTooLarge);
    assert_eq!(tunnel.next_cancel().await, (large.request, Failure::MessageTooLarge));
    tunnel.connection.answered(small.request, answer_frame(Form::Whole, "1234"));
    assert_eq!(text_of(&small.part().await), "1234");
    large.is_over().await;
    assert_eq!((tunnel.down.ended(), tunnel.buffer.used()), (None, 0));
}

#[actix::test]
async fn a_peer_that_takes_no_cancels_gets_none() {
    let limits = Limits { message_bytes_max: 4, ..Limits::default() };
    let stage = Stage::with(1, limits);
    let tunnel = stage.tunnel(Peer { cancels: false, ..Peer::default() }).await;
    let (mut large, mut left) = open_two(&stage, &tunnel).await;

    tunnel.connection.answered(large.request, answer_frame(MORE, "12345"));
    assert_eq!(large.failure().await, Failure::MessageTooLarge);
    stage.registry().hang_up(left.request, Failure::Cancelled);
    left.is_over().await;
    settle().await;
    assert!(tunnel.down.try_next().is_none());
}

#[actix::test]
async fn an_unreadable_answer_and_one_out_of_order_fail_only_their_call() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let (mut unreadable, mut disordered) = open_two(&stage, &tunnel).await;

    tunnel.connection.answer_unreadable(unreadable.request);
    tunnel.connection.answer_unreadable(RequestId::random());
    assert_eq!(unreadable.failure().await, Failure::BadTunnelFrame);
    assert_eq!(tunnel.next_cancel().await, (unreadable.request, Failure::BadTunnelFrame));
    let second = Form::Slice { index: 1, last: false, end: false };
    tunnel.connection.answered(disordered.request, answer_frame(second, "b"));
    assert_eq!(disordered.failure().await, Failure::BadTunnelFrame);
    assert_eq!((tunnel.down.ended(), tunnel.buffer.used()), (None, 0));
}

#[actix::test]
async fn what_one_slow_caller_holds_is_bounded_and_the_others_go_on() {
    let room_for_four = 4 * (MESSAGE_OVERHEAD_BYTES + 1);
    let limits = Limits { tunnel_buffer_bytes_max: room_for_four, ..Limits::default() };
    let (stage, tunnel) = stage_and_tunnel(limits).await;
    let (mut one, mut other) = open_two(&stage, &tunnel).await;

    let mut held = Vec::new();
    for text in ["a", "b"] {
        tunnel.connection.answered(one.request, answer_frame(MORE, text));
        held.push(one.part().await);
    }
    tunnel.connection.answered(other.request, answer_frame(MORE, "c"));
    held.push(other.part().await);
    // It would have more than it leaves to the others.
    tunnel.connection.answered(other.request, answer_frame(MORE, "d"));
    assert_eq!(other.failure().await, Failure::BufferFull);
    held.clear();
    tunnel.connection.answered(one.request, answer_frame(MORE, "e"));
    assert_eq!(text_of(&one.part().await), "e");
}

#[actix::test]
async fn slices_hold_room_until_their_message_is_read() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let mut call = stage.forward();
    call.opened().await;
    let slice = |index, last| Form::Slice { index, last, end: last };
    tunnel.connection.answered(call.request, answer_frame(slice(0, false), "ab"));
    settle().await;
    assert!(call.outcomes.try_recv().is_err());
    assert_eq!(tunnel.buffer.used(), MESSAGE_OVERHEAD_BYTES + 2);
    tunnel.connection.answered(call.request, answer_frame(slice(1, true), "cd"));
    assert_eq!(text_of(&call.part().await), "abcd");
    assert_eq!(tunnel.buffer.used(), 0);
}

#[actix::test]
async fn a_frame_that_cannot_be_written_fails_its_call() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let (mut failed, mut kept) = open_two(&stage, &tunnel).await;
    tunnel.connection.undeliverable(failed.request, false, Failure::FrameTooLarge);
    tunnel.connection.undeliverable(failed.request, false, Failure::FrameTooLarge);
    assert_eq!(failed.failure().await, Failure::FrameTooLarge);
    failed.is_over().await;
    tunnel.connection.answered(kept.request, answer_frame(Form::Whole, "kept"));
    assert_eq!(text_of(&kept.part().await), "kept");
}

#[actix::test]
async fn a_call_whose_first_frame_cannot_be_written_is_unknown_to_its_peer() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let mut call = stage.forward();
    let line = call.opened().await;
    tunnel.next_request().await;
    tunnel.connection.undeliverable(call.request, true, Failure::FrameTooLarge);
    assert_eq!(call.failure().await, Failure::FrameTooLarge);
    settle().await;
    assert!(tunnel.down.try_next().is_none(), "nothing is cancelled");
    assert_eq!(line.load.load(Ordering::Relaxed), 0);
}

#[actix::test]
async fn a_last_frame_that_breaks_a_rule_frees_the_slot_at_once() {
    let limits = Limits { message_bytes_max: 4, ..Limits::default() };
    let (stage, tunnel) = stage_and_tunnel(limits).await;
    let mut call = stage.forward();
    let line = call.opened().await;
    tunnel.next_request().await;
    tunnel.connection.answered(call.request, answer_frame(Form::Whole, "12345"));
    assert_eq!(call.failure().await, Failure::MessageTooLarge);
    settle().await;
    assert!(tunnel.down.try_next().is_none(), "the peer is done with it");
    assert_eq!(line.load.load(Ordering::Relaxed), 0);
}

#[actix::test]
async fn a_call_that_waits_in_a_tunnel_that_ends_goes_down_another() {
    let stage = Stage::new();
    let first = stage.tunnel(Peer::default()).await;
    let mut seen = stage.forward();
    seen.opened().await;
    first.next_request().await;
    let mut unseen = stage.forward();
    unseen.opened().await;
    settle().await;
    let second = stage.tunnel(Peer::default()).await;

    first.connection.close(TunnelEnd::PeerLeft);
    assert_eq!(seen.failure().await, Failure::TunnelLost);
    unseen.opened().await;
    assert_eq!(second.next_request().await.0, unseen.request);
    second.connection.answered(unseen.request, answer_frame(Form::Whole, "from the second"));
    assert_eq!(text_of(&unseen.part().await), "from the second");
}

// === Frames of callers ===

#[actix::test]
async fn a_call_withdrawn_before_its_peer_saw_it_frees_its_slot_without_a_word() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let (mut gone, mut kept) = (stage.forward(), stage.forward());
    let line = gone.opened().await;
    kept.opened().await;
    settle().await;

    stage.registry().hang_up(gone.request, Failure::Cancelled);
    gone.is_over().await;
    settle().await;
    assert_eq!(line.load.load(Ordering::Relaxed), 1);
    assert_eq!(tunnel.next_request().await.0, kept.request);
    assert!(tunnel.down.try_next().is_none());
}

#[actix::test]
async fn what_was_said_before_a_message_that_is_too_large_is_delivered() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let mut call = stage.forward();
    call.opened().await;
    settle().await;
    stage.registry().hang_up(call.request, Failure::MessageTooLarge);
    settle().await;
    assert_eq!(tunnel.next_request().await.0, call.request);
    assert_eq!(tunnel.next_cancel().await, (call.request, Failure::MessageTooLarge));
}

#[actix::test]
async fn a_withdrawn_call_gives_its_room_in_the_queue_back() {
    let cost = MESSAGE_OVERHEAD_BYTES + 2;
    let limits = Limits { tunnel_queue_bytes_max: cost, ..Limits::default() };
    let (stage, tunnel) = stage_and_tunnel(limits).await;
    let mut gone = stage.forward();
    gone.opened().await;
    assert_eq!(stage.forward().refused().await, Failure::QueueFull);
    stage.registry().hang_up(gone.request, Failure::Cancelled);
    settle().await;
    assert!(tunnel.credit.try_take(cost).is_some());
}

#[actix::test]
async fn what_a_caller_says_after_the_end_goes_nowhere() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let mut call = stage.forward_from(0, Frame::Message { sequence: 0, message: message("a") });
    let line = call.opened().await;
    tunnel.next_request().await;
    tunnel.connection.answered(call.request, answer_frame(Form::Whole, "enough"));
    call.part().await;

    let head = Arc::new(crate::actors::testing::head());
    let frame = Frame::Message { sequence: 1, message: message("b") };
    line.carry.tell(Carry { request: call.request, head, frame, opening: None });
    settle().await;
    assert!(tunnel.down.try_next().is_none());
}

// === The end of a tunnel ===

#[actix::test]
async fn a_panic_ends_the_calls_at_once_and_the_tunnel_with_the_reason() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let (mut one, mut other) = open_two(&stage, &tunnel).await;
    let before = tokio::time::Instant::now();
    tunnel.connection.crash();
    assert_eq!(one.failure().await, Failure::TunnelLost);
    assert_eq!(other.failure().await, Failure::TunnelLost);
    assert_eq!(tunnel.down.until_ended().await, TunnelEnd::Panic);
    assert_eq!(before.elapsed(), Duration::ZERO);
    one.is_over().await;
    assert_eq!(stage.forward().refused().await, Failure::NoTunnel);
}

#[actix::test]
async fn a_closed_tunnel_ends_with_the_first_reason_and_takes_its_calls_along() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let (mut one, mut other) = open_two(&stage, &tunnel).await;
    tunnel.connection.close(TunnelEnd::PeerLeft);
    tunnel.connection.close(TunnelEnd::BadFrames);
    assert_eq!(one.failure().await, Failure::TunnelLost);
    assert_eq!(other.failure().await, Failure::TunnelLost);
    assert_eq!(tunnel.down.ended(), Some(TunnelEnd::PeerLeft));
    assert!(tunnel.credit.try_take(1).is_none(), "nobody waits for room any more");
}

#[actix::test]
async fn an_answer_that_came_before_the_end_of_its_tunnel_is_delivered() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let mut call = stage.forward();
    call.opened().await;
    tunnel.connection.answered(call.request, answer_frame(Form::Whole, "just in time"));
    tunnel.connection.close(TunnelEnd::PeerLeft);
    assert_eq!(text_of(&call.part().await), "just in time");
    call.is_over().await;
}

#[actix::test]
async fn a_rejected_tunnel_is_told_why() {
    let stage = Stage::new();
    stage.registry().drain(Drain::Finish);
    let tunnel = stage.open(Peer::default());
    let end = tunnel.down.until_ended().await;
    assert_eq!(end, TunnelEnd::Rejected(Rejection::Draining));
    assert!(tunnel.down.try_next().is_none(), "it was never connected");
}

#[actix::test]
async fn a_peer_that_says_goodbye_gets_no_new_call_and_finishes_the_old_ones() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let mut kept = stage.forward();
    kept.opened().await;
    tunnel.connection.peer_drains();
    settle().await;
    assert_eq!(stage.forward().refused().await, Failure::NoTunnel);
    tunnel.connection.answered(kept.request, answer_frame(Form::Whole, "kept"));
    assert_eq!(text_of(&kept.part().await), "kept");
}

// === Helpers ===

async fn stage_and_tunnel(limits: Limits) -> (Stage, Tunnel) {
    let stage = Stage::with(1, limits);
    let tunnel = stage.tunnel(Peer::default()).await;
    (stage, tunnel)
}

/// Two calls that the peer has seen.
async fn open_two(stage: &Stage, tunnel: &Tunnel) -> (Called, Called) {
    let (mut one, mut other) = (stage.forward(), stage.forward());
    for call in [&mut one, &mut other] {
        call.opened().await;
        tunnel.next_request().await;
    }
    (one, other)
}
