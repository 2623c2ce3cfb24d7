//! The entry: what is admitted and what is not.

use super::*;
use crate::actors::testing::{Peer, Stage, answer, message, next, settle, text_of};
use crate::tunnel::limits::Limits;

#[actix::test]
async fn a_call_over_the_global_limit_is_refused_and_the_slot_comes_back_after_an_answer() {
    let stage = Stage::with(1, Limits { calls_max: 1, ..Limits::default() });
    let mut wire = stage.attach(Peer::default()).await;
    let mut first = stage.call(Some(Said::LastMessage(message("hi"))));
    first.admitted().await;
    let mut second = stage.call(Some(Said::LastMessage(message("hi"))));
    assert_eq!(second.failure().await, Failure::InflightLimit);

    let carried = next(&mut wire.carried).await;
    wire.answer(carried.request, answer("hi back"));
    assert_eq!(text_of(&first.part().await), "hi back");
    first.is_over().await;
    assert_eq!(stage.calls.used(), 0);
    stage.call(Some(Said::LastMessage(message("hi")))).admitted().await;
}

#[actix::test]
async fn a_refused_call_gives_its_slot_back() {
    let stage = Stage::with(1, Limits { calls_max: 1, ..Limits::default() });
    for _ in 0..3 {
        let mut call = stage.call(Some(Said::LastMessage(message("hi"))));
        call.admitted().await;
        assert_eq!(call.failure().await, Failure::UnknownService);
    }
    assert_eq!(stage.calls.used(), 0);
}

#[actix::test]
async fn a_draining_entry_refuses_calls_and_lets_go_on_what_it_has_admitted() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut admitted = stage.call(Some(Said::LastMessage(message("hi"))));
    admitted.admitted().await;

    stage.entry.drain().await;
    let mut refused = stage.call(Some(Said::LastMessage(message("hi"))));
    assert_eq!(refused.failure().await, Failure::Draining);
    let carried = next(&mut wire.carried).await;
    wire.answer(carried.request, answer("hi back"));
    assert_eq!(text_of(&admitted.part().await), "hi back");
}

#[actix::test]
async fn a_caller_that_is_gone_before_it_is_refused_harms_nobody() {
    let mut stage = Stage::new();
    stage.entry.drain().await;
    drop(stage.call(None));
    settle().await;
    assert!(stage.died.try_recv().is_err());
    assert_eq!(stage.calls.used(), 0);
}

#[actix::test]
async fn an_entry_that_panics_says_so_and_its_calls_go_on() {
    let mut stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut call = stage.call(Some(Said::LastMessage(message("hi"))));
    call.admitted().await;

    stage.entry.crash();
    assert_eq!(next(&mut stage.died).await, "entry");
    let carried = next(&mut wire.carried).await;
    wire.answer(carried.request, answer("hi back"));
    assert_eq!(text_of(&call.part().await), "hi back");
}
