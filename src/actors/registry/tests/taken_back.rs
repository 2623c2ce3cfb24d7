//! Tunnels that end before their peers saw a call.

use super::*;

#[actix::test]
async fn a_whole_call_that_its_peer_never_saw_is_put_through_to_another_tunnel() {
    let stage = Stage::with(2, Limits::default());
    let mut first = stage.attach(Peer::default()).await;
    let mut call = stage.forward();
    call.opened().await;
    let Carry { request, head, frame, .. } = next(&mut first.carried).await;
    let mut second = stage.attach(Peer { worker: 1, ..Peer::default() }).await;

    let tunnel = first.id;
    stage.registry().take_back(TakeBack { request, tunnel, head, first: frame });
    stage.registry().tunnel_closed(first.id);
    assert!(Arc::ptr_eq(&call.opened().await, &second.line));
    let again = next(&mut second.carried).await.request;
    assert_eq!((again, first.load(), second.load()), (request, 0, 1));
    second.answer(request, answer("from the second"));
    assert_eq!(text_of(&call.part().await), "from the second");
    call.is_over().await;
}

#[actix::test]
async fn a_call_that_its_peer_never_saw_did_not_run() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let stream = Frame::Message { sequence: 0, message: message("first of several") };
    for first in [whole(), stream] {
        let mut call = stage.forward_from(0, first);
        call.opened().await;
        let Carry { request, head, frame, .. } = next(&mut wire.carried).await;
        let tunnel = wire.id;
        stage.registry().take_back(TakeBack { request, tunnel, head, first: frame });
        assert_eq!(call.refused().await, Failure::NoTunnel);
        call.is_over().await;
    }
    assert_eq!(wire.load(), 0);
}

#[actix::test]
async fn a_call_taken_back_after_its_caller_left_is_over() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut call = stage.forward();
    call.opened().await;
    let Carry { request, head, frame, .. } = next(&mut wire.carried).await;
    stage.registry().hang_up(request, Failure::Cancelled);
    let tunnel = wire.id;
    stage.registry().take_back(TakeBack { request, tunnel, head, first: frame });
    call.is_over().await;
    settle().await;
    assert_eq!(wire.load(), 0);
}

#[actix::test]
async fn nothing_is_put_through_again_while_the_gateway_drains() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut call = stage.forward();
    call.opened().await;
    let Carry { request, head, frame, .. } = next(&mut wire.carried).await;
    let _other = stage.attach(Peer::default()).await;
    stage.registry().drain(Drain::Begin(GRACE));
    let tunnel = wire.id;
    stage.registry().take_back(TakeBack { request, tunnel, head, first: frame });
    assert_eq!(call.refused().await, Failure::Draining);
}
