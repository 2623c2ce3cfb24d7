//! What is counted of the messages between the actors of a worker.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::actors::testing::{
    Peer, Stage, Tunnel, answer, answer_frame, message, next, pass, settle, text_of,
};
use crate::observe::cast::{Cast, CastSnapshot, KindTotals};
use crate::tunnel::answer::Form;
use crate::tunnel::call::Said;
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::failure::Failure;

const CALLS: u64 = 25;

#[actix::test]
async fn every_message_of_unary_calls_is_counted_and_none_is_dead() {
    let stage = Stage::new();
    let tunnel = stage.tunnel(Peer::default()).await;
    for _ in 0..CALLS {
        whole_call(&stage, &tunnel).await;
    }
    settle().await;

    let seen = stage.window.cast.look();
    let expected: [(&str, &[(&str, u64)]); 6] = [
        ("entry", &[("Admit", CALLS)]),
        ("pending", &[("Outcome", 2 * CALLS)]),
        ("connection", &[("Answered", CALLS), ("TunnelOpened", 1), ("Carry", CALLS)]),
        ("heartbeat", &[("Watch", 1)]),
        ("bus", &[("MeetBuses", 1)]),
        (
            "registry",
            &[
                ("Meet", 1),
                ("OfferTunnel", 1),
                ("AttachTunnel", 1),
                ("ForwardRequest", CALLS),
                ("ForwardResponse", CALLS),
            ],
        ),
    ];
    for (kind, messages) in expected {
        let totals = of(&seen, kind);
        assert_eq!(totals.messages, messages, "{kind}");
        let handled: u64 = messages.iter().map(|(_, handled)| handled).sum();
        assert_eq!((totals.handled, totals.dead_letters), (handled, 0), "{kind}");
        assert_eq!((totals.handle.count, totals.wait.count), (handled, handled), "{kind}");
        assert_eq!((totals.depth, totals.panics), (0, 0), "{kind}");
    }
    let pending = of(&seen, "pending");
    assert_eq!((pending.started, pending.stopped, pending.alive), (CALLS, CALLS, 0));
    let all: u64 = seen.kinds.iter().map(|kind| kind.handled).sum();
    assert_eq!((seen.arbiters[0].handled, seen.arbiters[0].alive), (all, 5));
}

#[actix::test]
async fn every_message_of_a_stream_is_counted_and_none_is_dead() {
    let stage = Stage::new();
    let tunnel = stage.tunnel(Peer::default()).await;
    let mut caller = stage.call(Some(Said::Message(message("a"))));
    let pending = caller.admitted().await;
    caller.go_on().await;
    pending.said(Said::Message(message("b")));
    pending.said(Said::HalfClose);
    let (request, _) = tunnel.next_request().await;
    for end in [false, false, true] {
        let frame = answer_frame(Form::Stream { end }, "x");
        tunnel.connection.answered(request, frame);
        caller.part().await;
    }
    caller.is_over().await;
    settle().await;

    let seen = stage.window.cast.look();
    assert_eq!(of(&seen, "pending").messages, [("CallerSaid", 2), ("Outcome", 4)]);
    let connection = [("Answered", 3), ("TunnelOpened", 1), ("Carry", 3)];
    assert_eq!(of(&seen, "connection").messages, connection);
    assert!(seen.kinds.iter().all(|kind| kind.dead_letters == 0), "{:?}", seen.kinds);
}

#[actix::test]
async fn a_tunnel_and_a_call_are_known_by_their_ids() {
    let stage = Stage::new();
    let tunnel = stage.tunnel(Peer::default()).await;
    let mut caller = stage.call(Some(Said::LastMessage(message("hi"))));
    caller.admitted().await;
    let (request, _) = tunnel.next_request().await;
    settle().await;

    let seen = stage.window.cast.look();
    let ids_of = |kind| {
        let actors = seen.actors.iter().filter(move |actor| actor.kind == kind);
        actors.map(|actor| actor.id.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(ids_of("pending"), [request.to_string()]);
    assert_eq!(ids_of("registry"), ["0"]);
    assert_eq!((ids_of("connection").len(), ids_of("connection")[0].len()), (1, 36));
    assert_eq!(of(&seen, "pending").alive, 1);
}

#[actix::test]
async fn what_is_said_to_a_call_that_is_over_is_a_dead_letter() {
    let stage = Stage::new();
    let mut wire = stage.attach(Peer::default()).await;
    let mut caller = stage.call(Some(Said::Message(message("a"))));
    let pending = caller.admitted().await;
    let request = next(&mut wire.carried).await.request;
    // The second waits in the mailbox when the first ends the call.
    pending.left(Failure::Cancelled);
    pending.left(Failure::Cancelled);
    settle().await;
    pending.said(Said::HalfClose);
    wire.answer(request, answer("too late"));
    settle().await;

    let seen = stage.window.cast.look();
    let totals = of(&seen, "pending");
    assert_eq!(totals.dead_letters_by_reason, [("stopped", 1), ("gone", 1)]);
    assert_eq!((totals.alive, totals.dead_letters, totals.depth), (0, 2, 0));
    assert_eq!(of(&seen, "registry").dead_letters, 0);
}

#[actix::test]
async fn a_tunnel_that_ends_leaves_no_dead_letters() {
    let stage = Stage::new();
    let tunnel = stage.tunnel(Peer::default()).await;
    whole_call(&stage, &tunnel).await;
    tunnel.connection.close(TunnelEnd::PeerLeft);
    settle().await;
    tunnel.connection.abandoned();
    pass(Duration::from_secs(2)).await;
    let seen = stage.window.cast.look();
    assert!(seen.kinds.iter().all(|kind| kind.dead_letters == 0), "{:?}", seen.kinds);
    let connection = of(&seen, "connection");
    assert_eq!((connection.started, connection.stopped), (1, 1));
    let registry = &of(&seen, "registry").messages;
    assert!(registry.contains(&("TunnelClosed", 1)) && registry.contains(&("DetachTunnel", 1)));
}

#[actix::test]
async fn an_actor_that_panics_is_remembered_with_its_message() {
    let stage = Stage::new();
    let _wire = stage.attach(Peer::default()).await;
    let mut caller = stage.call(None);
    let pending = caller.admitted().await;
    pending.crash();
    pending.left(Failure::Cancelled);
    settle().await;
    stage.registry().crash();
    settle().await;
    assert_eq!(stage.registry().changes().await.has_changed().ok(), None, "it is gone");

    let seen = stage.window.cast.look();
    let told = |place: usize| (seen.panicked[place].kind, seen.panicked[place].message);
    assert_eq!(told(0), ("registry", Some("Crash")));
    assert_eq!(told(1), ("pending", Some("Crash")));
    let totals = of(&seen, "pending");
    assert_eq!((totals.panics, totals.dead_letters), (1, 1));
    let registry = of(&seen, "registry");
    assert_eq!((registry.panics, registry.alive), (1, 0));
    assert!(registry.dead_letters_by_reason.contains(&("gone", 1)), "{registry:?}");
}

#[actix::test]
async fn timers_are_handled_and_wait_in_no_mailbox() {
    let stage = Stage::new();
    pass(Duration::from_millis(5_500)).await;
    let seen = stage.window.cast.look();
    let heartbeat = of(&seen, "heartbeat");
    assert_eq!(heartbeat.messages, [("Sweep", 5)]);
    assert_eq!((heartbeat.handle.count, heartbeat.wait.count, heartbeat.depth), (5, 0, 0));
}

#[actix::test]
async fn a_question_whose_asker_is_gone_is_handled_all_the_same() {
    let stage = Stage::new();
    let registry = stage.registry().clone();
    {
        let asked = registry.changes();
        tokio::pin!(asked);
        // It goes out with the first poll, and is given up at once.
        tokio::select! {
            biased;
            _ = &mut asked => panic!("the registry has not run yet"),
            () = std::future::ready(()) => {}
        }
    }
    settle().await;
    let seen = stage.window.cast.look();
    let totals = of(&seen, "registry");
    assert_eq!(totals.messages, [("Meet", 1), ("Changes", 1)]);
    assert_eq!((totals.depth, totals.dead_letters), (0, 0));
}

/// The handler is held up for as long as another thread needs to see it.
#[actix::test]
async fn a_stuck_actor_is_seen_from_another_thread_while_its_arbiter_is_blocked() {
    let stage = Stage::new();
    let _wire = stage.attach(Peer::default()).await;
    let cast = stage.window.cast.clone();
    let (go_on, gone_on) = mpsc::sync_channel(1);
    let watcher = thread::spawn(move || {
        let seen = until_stuck(&cast);
        go_on.send(()).unwrap();
        seen
    });
    let gone_on = std::sync::Mutex::new(gone_on);
    let admits = move |_: &str| gone_on.lock().unwrap().recv().is_ok();
    assert!(stage.registry().conditions(std::sync::Arc::new(admits), 10).await.is_some());

    let seen = watcher.join().unwrap();
    let stuck = seen.actors.iter().find(|actor| actor.kind == "registry").unwrap();
    let handling = stuck.handling.as_ref().unwrap();
    assert_eq!((handling.message, stuck.depth), ("Conditions", 0));
    assert_eq!(seen.arbiters[0].handling.as_ref().unwrap().kind, "registry");
    assert!(stage.window.cast.look().arbiters[0].handling.is_none());
}

fn until_stuck(cast: &Cast) -> CastSnapshot {
    loop {
        let seen = cast.look();
        let handling = seen.actors.iter().filter_map(|actor| actor.handling.as_ref());
        if handling.clone().any(|handling| handling.for_ > Duration::from_millis(20)) {
            return seen;
        }
        thread::yield_now();
    }
}

async fn whole_call(stage: &Stage, tunnel: &Tunnel) {
    let mut caller = stage.call(Some(Said::LastMessage(message("hi"))));
    caller.admitted().await;
    let (request, _) = tunnel.next_request().await;
    tunnel.connection.answered(request, answer_frame(Form::Whole, "hi back"));
    assert_eq!(text_of(&caller.part().await), "hi back");
    caller.is_over().await;
}

fn of<'a>(seen: &'a CastSnapshot, kind: &str) -> &'a KindTotals {
    seen.kinds.iter().find(|totals| totals.kind == kind).unwrap()
}
