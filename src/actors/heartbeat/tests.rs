//! The supervisor and the tunnels that it watches.

use super::*;
use crate::actors::event::Publication;
use crate::actors::testing::{Peer, Stage, event, next, now, pass, probe, settle};
use crate::actors::traffic::Outgoing;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::MemberId;
use crate::tunnel::limits::Limits;
use crate::tunnel::topic::TopicPattern;

// === Silence ===

#[actix::test]
async fn a_tunnel_silent_for_a_minute_is_not_chosen_until_it_is_heard() {
    let stage = Stage::new();
    let tunnel = stage.tunnel(Peer::default()).await;
    pass(Duration::from_millis(59_900)).await;
    stage.forward().opened().await;
    pass(Duration::from_millis(1_200)).await;
    assert_eq!(stage.forward().refused().await, Failure::NoTunnel);

    tunnel.heard.touch(now());
    pass(Duration::from_millis(1_100)).await;
    stage.forward().opened().await;
    assert_eq!(tunnel.down.ended(), None);
}

#[actix::test]
async fn a_tunnel_silent_for_two_minutes_is_closed_and_its_calls_are_lost_at_once() {
    let stage = Stage::new();
    let tunnel = stage.tunnel(Peer::default()).await;
    let since = tokio::time::Instant::now();
    let mut call = stage.forward();
    call.opened().await;
    tunnel.next_request().await;

    assert_eq!(call.failure().await, Failure::TunnelLost);
    let took = since.elapsed();
    let (due, look) = (Duration::from_mins(2), Duration::from_millis(1_010));
    assert!(took >= due && took <= due + look, "{took:?}");
    assert_eq!(tunnel.down.ended(), Some(TunnelEnd::Silent));
    assert_eq!(stage.forward().refused().await, Failure::NoTunnel);
}

#[actix::test]
async fn a_tunnel_that_is_heard_now_and_then_stays_open() {
    let stage = Stage::new();
    let tunnel = stage.tunnel(Peer::default()).await;
    for _ in 0..20 {
        pass(Duration::from_secs(59)).await;
        tunnel.heard.touch(now());
    }
    stage.forward().opened().await;
    assert_eq!(tunnel.down.ended(), None);
}

#[actix::test]
async fn only_the_silent_tunnel_is_closed() {
    let stage = Stage::new();
    let silent = stage.tunnel(Peer::default()).await;
    let alive = stage.tunnel(Peer::default()).await;
    for _ in 0..5 {
        pass(Duration::from_secs(30)).await;
        alive.heard.touch(now());
    }
    assert_eq!(silent.down.ended(), Some(TunnelEnd::Silent));
    assert_eq!(alive.down.ended(), None);
    stage.forward().opened().await;
}

#[actix::test]
async fn a_tunnel_that_said_goodbye_does_not_come_back_by_being_heard() {
    let stage = Stage::new();
    let tunnel = stage.tunnel(Peer::default()).await;
    tunnel.connection.peer_drains();
    pass(Duration::from_secs(62)).await;
    tunnel.heard.touch(now());
    pass(Duration::from_secs(2)).await;
    assert_eq!(stage.forward().refused().await, Failure::NoTunnel);
}

// === Heartbeats ===

#[actix::test]
async fn a_tunnel_to_which_nothing_was_sent_for_half_a_minute_gets_a_heartbeat() {
    let stage = Stage::new();
    let tunnel = stage.tunnel(Peer::default()).await;
    let since = tokio::time::Instant::now();
    assert!(matches!(tunnel.next().await, Outgoing::Heartbeat));
    let took = since.elapsed();
    let (due, look) = (Duration::from_secs(30), Duration::from_millis(1_010));
    assert!(took >= due && took <= due + look, "{took:?}");
}

#[actix::test]
async fn a_tunnel_that_carries_frames_needs_no_heartbeat() {
    let stage = Stage::new();
    let tunnel = stage.tunnel(Peer::default()).await;
    for _ in 0..5 {
        pass(Duration::from_secs(20)).await;
        tunnel.sent.touch(now());
    }
    assert!(tunnel.down.try_next().is_none());
}

#[actix::test]
async fn every_heartbeat_that_is_written_is_followed_by_the_next_half_a_minute_later() {
    let stage = Stage::new();
    let tunnel = stage.tunnel(Peer::default()).await;
    let since = tokio::time::Instant::now();
    for _ in 0..10 {
        assert!(matches!(tunnel.next().await, Outgoing::Heartbeat));
        tunnel.sent.touch(now());
        tunnel.heard.touch(now());
    }
    let took = since.elapsed();
    assert!(took >= Duration::from_mins(5) && took <= Duration::from_secs(311), "{took:?}");
}

// === Who is watched ===

#[actix::test]
async fn a_dead_tunnel_is_told_so_until_it_is_gone_and_not_looked_at_any_more() {
    let stage = Stage::new();
    let mut watched = watch(&stage);
    for _ in 0..2 {
        assert_eq!(next(&mut watched.closed).await.0, TunnelEnd::Silent);
    }
    drop(watched.beats);
    watched.closed.close();
    settle().await;
}

#[actix::test]
async fn a_supervisor_that_panics_says_so() {
    let mut stage = Stage::new();
    stage.heartbeat.crash();
    assert_eq!(next(&mut stage.died).await, "heartbeat");
}

#[actix::test]
async fn the_supervisor_looks_ten_times_in_the_shortest_wait_within_bounds() {
    let stage = Stage::new();
    let patience = |interval, late, dead| Patience {
        interval: Duration::from_millis(interval),
        late_after: Duration::from_millis(late),
        dead_after: Duration::from_millis(dead),
    };
    for (patience, expected) in [
        (Patience::default(), 1_000),
        (patience(2_000, 4_000, 8_000), 200),
        (patience(2_000, 4_000, 5_000), 100),
        (patience(2_000, 4_000, 4_000), 10),
    ] {
        let (died, _) = mpsc::unbounded_channel();
        let supervisor = Heartbeat {
            patience,
            registry: stage.registry().clone(),
            watched: Vec::new(),
            _farewell: PermanentFarewell { kind: "heartbeat", died },
            presence: stage.window.cast.arbiter(0).enter(Heartbeat::ROLE, None),
        };
        assert_eq!(supervisor.sweep_interval(), Duration::from_millis(expected));
    }
}

// === Helpers ===

/// A tunnel whose actor is two stand-ins.
struct Stub {
    beats: mpsc::UnboundedReceiver<Beat>,
    closed: mpsc::UnboundedReceiver<CloseTunnel>,
    lane: EventLane,
}

#[actix::test]
async fn a_peer_that_speaks_and_does_not_read_has_one_heartbeat_waiting() {
    let stage = Stage::new();
    let tunnel = stage.tunnel(Peer::default()).await;
    for _ in 0..10 {
        pass(Duration::from_secs(30)).await;
        tunnel.heard.touch(now());
    }
    assert_eq!(std::iter::from_fn(|| tunnel.down.try_next()).count(), 1);
}

// === Events ===

#[actix::test]
async fn a_tunnel_whose_events_nobody_takes_for_a_minute_is_closed() {
    let limits = Limits { subscriber_queue_events_max: 1, ..Limits::default() };
    let stage = Stage::with(1, limits);
    let [mut stuck, mut slow] = [watch(&stage), watch(&stage)];
    let members = [&stuck, &slow].map(|tunnel| {
        let (ended, _) = probe();
        let member = stage.buses[0].member(MemberId::random(), tunnel.lane.clone(), ended);
        member.subscribe(vec![TopicPattern::all()]);
        member
    });
    for _ in 0..59 {
        for _ in 0..2 {
            let event = event(MemberId::random(), "a", "id");
            let counted = stage.window.topics.clone();
            stage.buses[0].publish(Publication::new(event, None, None, counted));
        }
        pass(Duration::from_secs(1)).await;
        slow.lane.pop();
    }
    assert!(stuck.closed.try_recv().is_err(), "there is still time");
    pass(Duration::from_secs(3)).await;
    assert_eq!(next(&mut stuck.closed).await.0, TunnelEnd::SlowConsumer);
    assert!(slow.closed.try_recv().is_err(), "it takes some");
    drop(members);
}

fn watch(stage: &Stage) -> Stub {
    let (beat, beats) = probe();
    let (close, closed) = probe();
    let (heard, sent) = (LastSeen::new(now()), LastSeen::new(now()));
    let lane = EventLane::new(&stage.limits.now());
    let tunnel = TunnelId::random();
    stage.heartbeat.watch(Watch { tunnel, heard, sent, lane: lane.clone(), beat, close });
    Stub { beats, closed, lane }
}
