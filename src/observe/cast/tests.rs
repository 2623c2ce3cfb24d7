//! The counts of actors, by threads that stand in for arbiters.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use uuid::Uuid;

use super::*;
use crate::observe::ticks::{Tick, now};

static ECHO: Role = Role { kind: Kind::Connection, messages: &["Say", "Sing"] };
static CALL: Role = Role { kind: Kind::Pending, messages: &["Answer"] };

const SAY: usize = 0;
const SING: usize = 1;

#[test]
fn what_an_actor_handles_is_counted_by_name_and_what_waits_is_its_depth() {
    let cast = Cast::new(2);
    let id = Uuid::from_u128(7);
    let presence = cast.arbiter(1).enter(&ECHO, Some(id));
    post(&presence, 5);
    for message in [SAY, SAY, SING] {
        handle(&presence, message);
    }

    let seen = cast.look();
    let [actor] = &seen.actors[..] else { panic!("one actor: {:?}", seen.actors) };
    assert_eq!((actor.kind, &actor.id, actor.arbiter), ("connection", &id.to_string(), 1));
    assert_eq!((actor.handled, actor.depth, actor.dead_letters), (3, 2, 0));
    assert!(actor.handling.is_none());

    let kind = of(&seen.kinds, Kind::Connection);
    assert_eq!((kind.alive, kind.started, kind.stopped), (1, 1, 0));
    assert_eq!((kind.handled, kind.depth, kind.depth_max, kind.dead_letters), (3, 2, 2, 0));
    assert_eq!(kind.messages, [("Say", 2), ("Sing", 1)]);
    assert_eq!((kind.handle.count, kind.wait.count), (3, 3));

    let arbiter = &seen.arbiters[1];
    assert_eq!((arbiter.alive, arbiter.handled, arbiter.depth), (1, 3, 2));
    assert!(arbiter.kinds.contains(&("connection", 1, 3)));
    assert_eq!((seen.arbiters[0].alive, seen.arbiters[0].handled), (0, 0));
}

#[test]
fn a_permanent_actor_is_known_by_the_number_of_its_worker() {
    let cast = Cast::new(3);
    let _presence = cast.arbiter(2).enter(&ECHO, None);
    assert_eq!(cast.look().actors[0].id, "2");
}

#[test]
fn a_timer_is_handled_without_having_waited() {
    let cast = Cast::new(1);
    let presence = cast.arbiter(0).enter(&ECHO, None);
    let begun_at = presence.begin_timer(SING);
    assert_eq!(cast.look().actors[0].depth, 0);
    presence.end(SING, begun_at);
    let kind = cast.totals().kinds.swap_remove(Kind::Connection as usize);
    assert_eq!((kind.handled, kind.handle.count, kind.wait.count, kind.depth), (1, 1, 0, 0));
}

#[test]
fn the_deepest_mailbox_of_a_kind_is_told() {
    let cast = Cast::new(2);
    let shallow = cast.arbiter(0).enter(&ECHO, None);
    let deep = cast.arbiter(1).enter(&ECHO, None);
    post(&shallow, 1);
    post(&deep, 9);
    let kind = cast.totals().kinds.swap_remove(Kind::Connection as usize);
    assert_eq!((kind.depth, kind.depth_max), (10, 9));
}

#[test]
fn what_waits_when_an_actor_ends_and_what_comes_afterwards_is_dead() {
    let cast = Cast::new(1);
    let presence = cast.arbiter(0).enter(&CALL, None);
    let gauge = presence.gauge().clone();
    (0..3).for_each(|_| assert!(gauge.post()));
    handle(&presence, 0);
    drop(presence);
    assert!(!gauge.is_alive() && !gauge.post());

    let seen = cast.look();
    let kind = of(&seen.kinds, Kind::Pending);
    assert_eq!(kind.dead_letters_by_reason, [("stopped", 2), ("gone", 1)]);
    assert_eq!((kind.alive, kind.stopped, kind.dead_letters, kind.depth), (0, 1, 3, 0));
    assert_eq!(seen.arbiters[0].dead_letters, 3);
    assert!(seen.actors.is_empty());
}

/// Each message is handled or dead, whoever sends it and whenever its actor ends.
#[test]
fn dead_letters_are_exact_while_many_send() {
    const SENDERS: u64 = 4;
    const ROUNDS: u64 = 300;
    let cast = Cast::new(1);
    let (sent, refused, handled) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    for round in 0..ROUNDS {
        let presence = cast.arbiter(0).enter(&CALL, None);
        let gauge = presence.gauge().clone();
        let (post, mailbox) = mpsc::sync_channel::<()>(10_000);
        let begin = Barrier::new(5);
        thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| {
                    begin.wait();
                    for _ in 0..50 {
                        sent.fetch_add(1, Ordering::Relaxed);
                        if gauge.post() {
                            post.send(()).unwrap();
                        } else {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            begin.wait();
            for () in mailbox.iter().take(usize::try_from(round % 200).unwrap()) {
                handle(&presence, 0);
                handled.fetch_add(1, Ordering::Relaxed);
            }
            drop(presence);
        });
    }
    let kind = cast.totals().kinds.swap_remove(Kind::Pending as usize);
    let (sent, handled) = (sent.into_inner(), handled.into_inner());
    assert_eq!((kind.handled, sent), (handled, SENDERS * ROUNDS * 50));
    assert_eq!(kind.dead_letters, sent - handled);
    assert_eq!(kind.dead_letters_by_reason[1], ("gone", refused.into_inner()));
    assert_eq!((kind.started, kind.stopped, kind.alive), (ROUNDS, ROUNDS, 0));
}

#[test]
fn a_panic_is_remembered_with_its_message_which_is_no_dead_letter() {
    let cast = Cast::new(1);
    let id = Uuid::from_u128(1);
    let presence = cast.arbiter(0).enter(&ECHO, Some(id));
    post(&presence, 2);
    fall(presence, Some(SING));

    let seen = cast.look();
    let kind = of(&seen.kinds, Kind::Connection);
    assert_eq!((kind.panics, kind.stopped, kind.dead_letters), (1, 1, 1));
    assert_eq!(kind.messages, [("Sing", 1)]);
    let [panicked] = &seen.panicked[..] else { panic!("one panic: {:?}", seen.panicked) };
    assert_eq!((panicked.kind, panicked.message), ("connection", Some("Sing")));
    assert_eq!((&panicked.id, panicked.arbiter), (&id.to_string(), 0));
    assert_eq!(seen.arbiters[0].panics, 1);
    assert!(seen.arbiters[0].handling.is_none());
}

#[test]
fn the_last_panics_of_all_arbiters_are_kept_the_newest_first() {
    let cast = Cast::new(2);
    for number in 0..PANICKED_MAX + 20 {
        let presence = cast.arbiter(number % 2).enter(&ECHO, Some(Uuid::from_u128(number as u128)));
        fall(presence, None);
    }
    let seen = cast.look();
    assert_eq!(seen.panicked.len(), PANICKED_MAX);
    let newest = Uuid::from_u128(PANICKED_MAX as u128 + 19);
    assert_eq!((&seen.panicked[0].id, seen.panicked[0].message), (&newest.to_string(), None));
    assert_eq!(of(&seen.kinds, Kind::Connection).panics, PANICKED_MAX as u64 + 20);
}

#[test]
fn a_stuck_actor_is_seen_while_its_arbiter_does_nothing_else() {
    let cast = Cast::new(1);
    let (go_on, gone_on) = mpsc::sync_channel::<()>(1);
    let (tell, told) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        let arbiter = cast.arbiter(0);
        scope.spawn(move || {
            let presence = arbiter.enter(&ECHO, None);
            post(&presence, 4);
            let begun_at = presence.begin(SING, now());
            tell.send(begun_at).unwrap();
            gone_on.recv().unwrap();
            presence.end(SING, begun_at);
        });
        let begun_at: Tick = told.recv().unwrap();
        for _ in 0..3 {
            let least = begun_at.elapsed();
            let seen = cast.look();
            let handling = seen.actors[0].handling.clone().unwrap();
            assert_eq!((handling.kind, handling.message), ("connection", "Sing"));
            assert!(handling.for_ >= least && handling.for_ <= begun_at.elapsed());
            assert_eq!((seen.actors[0].depth, seen.actors[0].handled), (3, 0));
            let of_arbiter = cast.totals().arbiters[0].handling.clone().unwrap();
            assert_eq!((of_arbiter.id.as_str(), of_arbiter.message), ("0", "Sing"));
        }
        go_on.send(()).unwrap();
    });
    let kind = cast.totals().kinds.swap_remove(Kind::Connection as usize);
    assert_eq!((kind.handled, kind.dead_letters), (1, 3));
}

#[test]
fn who_looks_at_a_busy_actor_sees_numbers_that_only_grow() {
    let cast = Cast::new(1);
    let done = AtomicBool::new(false);
    let arbiter = cast.arbiter(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let presence = arbiter.enter(&ECHO, None);
            for round in 0..20_000 {
                presence.gauge().post();
                handle(&presence, round % 2);
            }
            done.store(true, Ordering::Release);
        });
        let mut before = 0;
        while !done.load(Ordering::Acquire) {
            let started = now();
            for actor in cast.look().actors {
                assert!(actor.handled >= before, "{} after {before}", actor.handled);
                before = actor.handled;
                assert!(actor.depth <= 1);
                if let Some(handling) = actor.handling {
                    assert!(handling.for_ <= started.elapsed() + Duration::from_secs(1));
                }
            }
        }
    });
    let kind = cast.totals().kinds.swap_remove(Kind::Connection as usize);
    assert_eq!(kind.messages, [("Say", 10_000), ("Sing", 10_000)]);
}

#[test]
fn the_places_of_those_that_ended_are_taken_again() {
    let cast = Cast::new(1);
    let arbiter = cast.arbiter(0);
    let mut there: Vec<_> =
        (0..1_000).map(|n| arbiter.enter(&CALL, Some(Uuid::from_u128(n)))).collect();
    assert_eq!(cast.look().actors.len(), 1_000);
    there.retain(|presence| presence.gauge().started.0 % 2 == 0);
    let left = there.len();
    assert_eq!(cast.look().actors.len(), left);
    there.extend((left..1_000).map(|_| arbiter.enter(&CALL, None)));
    assert_eq!(cast.look().actors.len(), 1_000);
    assert_eq!(arbiter.roster.places(), 1_000);
    drop(there);
    assert!(cast.look().actors.is_empty());
}

#[test]
fn actors_come_and_go_while_many_are_looked_at() {
    let cast = Cast::new(1);
    let arbiter = cast.arbiter(0);
    let _there: Vec<_> = (0..20_000).map(|_| arbiter.enter(&CALL, None)).collect();
    let looks = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                assert!(cast.look().actors.len() >= 20_000);
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut came = 0_u64;
        while looks.load(Ordering::Relaxed) < 3 {
            drop(arbiter.enter(&ECHO, None));
            came += 1;
        }
        assert!(came > 0);
    });
    assert_eq!(of(&cast.totals().kinds, Kind::Pending).alive, 20_000);
}

#[test]
fn every_kind_has_its_own_name() {
    for (number, kind) in Kind::ALL.iter().enumerate() {
        assert_eq!(*kind as usize, number);
        assert_eq!(Kind::ALL.iter().filter(|other| other.name() == kind.name()).count(), 1);
    }
}

fn post(presence: &Presence, messages: usize) {
    for _ in 0..messages {
        assert!(presence.gauge().post());
    }
}

fn handle(presence: &Presence, message: usize) {
    let begun_at = presence.begin(message, now());
    presence.end(message, begun_at);
}

/// Has an actor panic, in a message or outside of one.
fn fall(presence: Presence, message: Option<usize>) {
    let fallen = catch_unwind(AssertUnwindSafe(move || {
        if let Some(message) = message {
            presence.begin(message, now());
        }
        let _presence = presence;
        std::panic::resume_unwind(Box::new("a bug"));
    }));
    assert!(fallen.is_err());
}

fn of(kinds: &[KindTotals], kind: Kind) -> &KindTotals {
    kinds.iter().find(|totals| totals.kind == kind.name()).unwrap()
}
