//! How a tunnel stands, as who watches sees it.

use super::*;
use crate::actors::testing::{now, pass};
use crate::observe::ticks;

#[actix::test]
async fn it_stands_as_the_registries_have_it() {
    let stage = Stage::with(2, Limits::default());
    let tunnel = stage.open(Peer { worker: 1, ..Peer::default() });
    assert_eq!(state(&tunnel), "opening");
    tunnel.next().await;
    assert_eq!(state(&tunnel), "ready");
    pass(Duration::from_secs(62)).await;
    assert_eq!(state(&tunnel), "late");
    tunnel.heard.touch(now());
    pass(Duration::from_secs(2)).await;
    assert_eq!(state(&tunnel), "ready");
    tunnel.connection.peer_drains();
    settle().await;
    assert_eq!(state(&tunnel), "draining");
    tunnel.heard.touch(now());
    pass(Duration::from_secs(62)).await;
    assert_eq!(state(&tunnel), "draining", "a goodbye is not taken back");
}

#[actix::test]
async fn it_drains_when_the_gateway_does() {
    let (stage, tunnel) = stage_and_tunnel(Limits::default()).await;
    let mut call = stage.forward();
    call.opened().await;
    stage.registry().drain(Drain::Begin(Duration::from_secs(30)));
    settle().await;
    assert_eq!(state(&tunnel), "draining");
    assert_eq!(tunnel.gauge.snapshot(ticks::now()).calls_started, 1);
}

fn state(tunnel: &Tunnel) -> &'static str {
    tunnel.gauge.snapshot(ticks::now()).state
}
