//! One call: what must be done at each event, by example and by random events.

use super::*;
use proptest::prelude::*;

#[test]
fn one_message_with_its_half_close_is_one_frame() {
    let mut call = Call::new();
    assert_eq!(call.said(Said::LastMessage("hi")), Order::Ask(Frame::Whole("hi")));
    assert_eq!(call.opened(true), Order::Nothing);
    assert!(call.answered(true));
    assert!(!call.answered(true), "the answer is given once");
}

#[test]
fn a_stream_is_numbered_and_its_half_close_is_a_frame() {
    let mut call = Call::new();
    assert_eq!(
        call.said(Said::Message("a")),
        Order::Ask(Frame::Message { sequence: 0, message: "a" })
    );
    call.opened(false);
    assert_eq!(
        call.said(Said::Message("b")),
        Order::Send(Frame::Message { sequence: 1, message: "b" }, None)
    );
    assert_eq!(
        call.said(Said::LastMessage("c")),
        Order::Send(
            Frame::Message { sequence: 2, message: "c" },
            Some(Frame::HalfClose { sequence: 3 })
        )
    );
    assert_eq!(call.said(Said::Message("late")), Order::Nothing);
}

#[test]
fn a_call_without_a_message_is_its_half_close() {
    let mut call = Call::<&str>::new();
    assert_eq!(call.said(Said::HalfClose), Order::Ask(Frame::HalfClose { sequence: 0 }));
    assert_eq!(call.only_whole(Frame::HalfClose { sequence: 0 }), Order::Fail(Failure::UnaryOnly));
}

#[test]
fn a_plain_peer_gets_the_message_when_the_half_close_has_come() {
    let mut call = gathering();
    assert_eq!(call.said(Said::HalfClose), Order::Ask(Frame::Whole("a")));
    assert_eq!(call.opened(true), Order::Nothing);
    assert!(call.answered(true));
}

#[test]
fn a_plain_peer_cannot_be_sent_a_second_message() {
    let mut call = gathering();
    assert_eq!(call.said(Said::Message("b")), Order::Fail(Failure::UnaryOnly));
    assert!(call.is_ended());
}

#[test]
fn a_gathered_call_does_not_wait_for_ever() {
    let mut call = gathering();
    assert_eq!(call.half_close_overdue(), Order::Fail(Failure::HalfCloseOverdue));
    assert_eq!(call.half_close_overdue(), Order::Nothing);
}

#[test]
fn a_caller_that_leaves_while_the_registry_looks_is_cancelled_afterwards() {
    let mut call = Call::new();
    call.said(Said::LastMessage("hi"));
    assert_eq!(call.left(Failure::Deadline), Order::FailAndWithdraw(Failure::Deadline));
    assert_eq!(call.left(Failure::Cancelled), Order::Nothing, "it has been told");
    assert_eq!(call.waits(), Order::Withdraw(Failure::Deadline), "it need not wait");
    assert!(!call.is_ended(), "the line is not known yet");
    assert_eq!(call.opened(true), Order::Cancel(Failure::Deadline));
    assert!(call.is_ended());
}

#[test]
fn that_nobody_serves_a_method_ends_only_a_call_that_has_not_asked_yet() {
    let mut idle = Call::<&str>::new();
    assert_eq!(idle.unserved(Failure::NoTunnel), Order::Fail(Failure::NoTunnel));
    let mut asking = Call::new();
    asking.said(Said::LastMessage("hi"));
    assert_eq!(asking.unserved(Failure::NoTunnel), Order::Nothing);
    assert_eq!(asking.opened(true), Order::Nothing);
    assert!(asking.answered(true));
}

fn gathering() -> Call<&'static str> {
    let mut call = Call::new();
    call.said(Said::Message("a"));
    let back = Frame::Message { sequence: 0, message: "a" };
    assert_eq!(call.only_whole(back), Order::AwaitHalfClose);
    call
}

#[derive(Clone, Debug)]
enum Event {
    Message,
    Last,
    HalfClose,
    Opened,
    Waits,
    Refused,
    Unserved,
    OnlyWhole,
    Part,
    LastPart,
    Left,
    Overdue,
}

fn event() -> impl Strategy<Value = Event> {
    use Event::*;
    prop::sample::select(vec![
        Message, Last, HalfClose, Opened, Waits, Refused, Unserved, OnlyWhole, Part, LastPart,
        Left, Overdue,
    ])
}

proptest! {
    /// The caller is told an end at most once, nothing is delivered after it, frames are
    /// numbered without a gap, and after a goodbye the call is over.
    #[test]
    fn a_call_ends_exactly_once(events in prop::collection::vec(event(), 0..40)) {
        let mut call = Call::new();
        let (mut ends, mut asked) = (0, None);
        let mut next = 0;
        for event in events {
            let order = match event {
                Event::Message => call.said(Said::Message(())),
                Event::Last => call.said(Said::LastMessage(())),
                Event::HalfClose => call.said(Said::HalfClose),
                // The registry answers each question once.
                Event::Opened => match asked.take() {
                    Some(first) => call.opened(Frame::is_last(&first)),
                    None => Order::Nothing,
                },
                Event::Waits if asked.is_some() => call.waits(),
                Event::Waits => Order::Nothing,
                Event::Refused => match asked.take() {
                    Some(_) => call.refused(Failure::NoTunnel),
                    None => Order::Nothing,
                },
                Event::Unserved => call.unserved(Failure::UnknownService),
                Event::OnlyWhole => match asked.take() {
                    Some(first) => { next = 0; call.only_whole(first) }
                    None => Order::Nothing,
                },
                Event::Part | Event::LastPart => {
                    let last = matches!(event, Event::LastPart);
                    // Answers come only when a tunnel carries the call; the news of that may
                    // be overtaken by them.
                    let carried = matches!(call.state, State::Open { .. } | State::Asking);
                    if carried && call.answered(last) {
                        prop_assert_eq!(ends, 0);
                        ends += usize::from(last);
                    }
                    Order::Nothing
                }
                Event::Left => call.left(Failure::Cancelled),
                Event::Overdue => call.half_close_overdue(),
            };
            match order {
                Order::Ask(first) => {
                    prop_assert!(asked.is_none());
                    next = i64::from(!matches!(first, Frame::Whole(()))) ;
                    asked = Some(first);
                }
                Order::Send(first, second) => for frame in [Some(first), second].into_iter().flatten() {
                    let (Frame::Message { sequence, .. } | Frame::HalfClose { sequence }) = frame
                        else { return Err(TestCaseError::fail("a whole call is the first frame")) };
                    prop_assert_eq!(sequence, next);
                    next += 1;
                },
                Order::Fail(_) | Order::FailAndCancel(_) => ends += 1,
                Order::FailAndWithdraw(_) => {
                    prop_assert_eq!(call.is_with_registry(), asked.is_some());
                    ends += 1;
                }
                Order::Nothing
                | Order::AwaitHalfClose
                | Order::Cancel(_)
                | Order::Withdraw(_) => {}
            }
        }
        ends += usize::from(matches!(
            call.left(Failure::Cancelled),
            Order::Fail(_) | Order::FailAndCancel(_) | Order::FailAndWithdraw(_)
        ));
        if asked.is_some() {
            call.refused(Failure::NoTunnel);
        }
        prop_assert_eq!(ends, 1);
        prop_assert!(call.is_ended());
    }
}

#[test]
fn a_drain_ends_a_call_that_nobody_carries_and_no_other() {
    let mut silent = Call::<&str>::new();
    assert_eq!(silent.drained(), Order::FailAndWithdraw(Failure::Draining));
    assert!(silent.is_ended());

    let mut asking = Call::new();
    asking.said(Said::Message("one"));
    assert_eq!(asking.drained(), Order::Nothing);
    asking.opened(false);
    assert_eq!(asking.drained(), Order::Nothing);

    let mut gathering = Call::new();
    gathering.said(Said::Message("one"));
    gathering.only_whole(Frame::Message { sequence: 0, message: "one" });
    assert_eq!(gathering.drained(), Order::Fail(Failure::Draining));
}
