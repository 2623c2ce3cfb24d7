//! Tunnels of a gateway that drains.

use super::*;
use crate::actors::testing::pass;

const GRACE: Duration = Duration::from_secs(30);

#[actix::test]
async fn a_tunnel_that_drains_ends_after_its_last_call() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let mut call = stage.forward();
    call.opened().await;
    stage.registry().drain(Drain::Begin(GRACE));
    pass(Duration::from_secs(5)).await;
    assert_eq!(tunnel.down.ended(), None);
    assert!(matches!(tunnel.next().await, Outgoing::Request { .. }));

    tunnel.connection.answered(call.request, answer_frame(Form::Whole, "finished"));
    assert_eq!(text_of(&call.part().await), "finished");
    let (end, ()) = tokio::join!(tunnel.down.until_ended(), tunnel.down.ready());
    assert_eq!(end, TunnelEnd::Draining);
}

#[actix::test]
async fn a_tunnel_that_drains_waits_for_the_calls_of_its_peer_and_for_what_is_not_written() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let own_call = tunnel.own_calls.take(1);
    stage.registry().drain(Drain::Finish);
    pass(Duration::from_secs(5)).await;
    assert_eq!(tunnel.down.ended(), None);

    drop(own_call);
    tunnel.connection.0.tell(Beat);
    pass(Duration::from_secs(5)).await;
    assert_eq!(tunnel.down.ended(), None, "a heartbeat is not written");
    assert!(matches!(tunnel.next().await, Outgoing::Heartbeat));
    let (end, ()) = tokio::join!(tunnel.down.until_ended(), tunnel.down.ready());
    assert_eq!(end, TunnelEnd::Draining);
}

#[actix::test]
async fn a_peer_that_takes_drain_is_asked_and_not_cut_off() {
    let stage = Stage::new();
    let tunnel = stage.tunnel(Peer { drains: true, ..Peer::default() }).await;
    stage.registry().drain(Drain::Begin(GRACE));
    assert!(matches!(tunnel.next().await, Outgoing::Drain { grace: GRACE }));
    pass(Duration::from_secs(5)).await;
    assert_eq!(tunnel.down.ended(), None);
    stage.registry().drain(Drain::Finish);
    let (end, ()) = tokio::join!(tunnel.down.until_ended(), tunnel.down.ready());
    assert_eq!(end, TunnelEnd::Draining);
}

#[actix::test]
async fn a_tunnel_that_is_cut_cancels_what_its_peer_has_seen() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let mut seen = stage.forward();
    seen.opened().await;
    assert!(matches!(tunnel.next().await, Outgoing::Request { .. }));
    let mut unseen = stage.forward();
    unseen.opened().await;
    stage.registry().drain(Drain::Cut);
    tunnel.down.until_ended().await;
    let word = tunnel.down.last_word();
    assert!(matches!(word, Some(Outgoing::Cancel { request, .. }) if request == seen.request));
    assert!(tunnel.down.last_word().is_none());
    assert_eq!(unseen.refused().await, Failure::Draining);
}

#[actix::test]
async fn a_tunnel_that_is_admitted_just_before_the_drain_is_asked_to_leave_after_its_welcome() {
    let stage = Stage::with(2, Limits::default());
    // The news of the tunnel comes to its worker after that of the drain.
    stage.registries[1].drain(Drain::Begin(GRACE));
    let tunnel = stage.open(Peer { worker: 1, drains: true, ..Peer::default() });
    stage.registry().drain(Drain::Begin(GRACE));
    assert!(matches!(tunnel.next().await, Outgoing::Connected));
    assert!(matches!(tunnel.next().await, Outgoing::Drain { grace: GRACE }));
}
