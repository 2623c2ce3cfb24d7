//! Tunnels come, count, go and are looked at.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn a_tunnel_is_open_until_it_ends_and_then_among_the_closed() {
    let tunnels = tunnels(2_000);
    let watched = tunnels.watch(About::serving(&["a.A"]));
    let id = watched.gauge().id();
    watched.gauge().came(FrameKind::Register, 20, FrameCall::None);
    watched.gauge().went(FrameKind::Status, 30, FrameCall::None, ticks::now());
    watched.gauge().went(FrameKind::Request, 40, FrameCall::Own(7), ticks::now());
    let open = tunnels.open();
    assert_eq!(open.len(), 1);
    let told = (open[0].frames_in, open[0].bytes_in, open[0].frames_out, open[0].bytes_out);
    assert_eq!(told, (1, 20, 2, 70));
    assert_eq!((open[0].state, open[0].services.as_slice()), ("opening", &["a.A".to_owned()][..]));
    let one = tunnels.one(id).unwrap();
    assert!(matches!(one.tunnel, OpenOrClosed::Open(ref tunnel) if tunnel.id == open[0].id));
    let kinds: Vec<_> = one.frames.iter().map(|frame| (frame.kind, frame.inbound)).collect();
    assert_eq!(kinds, [("register", true), ("status", false), ("request", false)]);

    watched.gauge().is_connected();
    watched.close(closing("left"));
    assert!(tunnels.open().is_empty());
    let closed = tunnels.closed();
    assert_eq!((closed[0].reason, closed[0].detail.as_str()), ("left", "in words"));
    assert_eq!((closed[0].tunnel.frames_out, closed[0].tunnel.bytes_out), (2, 70));
    let one = tunnels.one(id).unwrap();
    assert!(matches!(one.tunnel, OpenOrClosed::Closed(_)) && one.frames.len() == 3);
    assert!(tunnels.one(id ^ 1).is_none());
}

#[test]
fn a_thousand_closed_tunnels_are_remembered_the_newest_first() {
    let tunnels = tunnels(2_000);
    let mut ids = Vec::new();
    for _ in 0..=CLOSED_MAX {
        let watched = tunnels.watch(About::serving(&["a.A"]));
        watched.gauge().is_connected();
        ids.push(watched.gauge().id());
        watched.close(closing("left"));
    }
    let closed = tunnels.closed();
    let newest = tunnels.one(*ids.last().unwrap()).unwrap();
    assert!(
        matches!(newest.tunnel, OpenOrClosed::Closed(ref it) if it.tunnel.id == closed[0].tunnel.id)
    );
    assert_eq!(closed.len(), CLOSED_MAX);
    assert!(tunnels.one(ids[0]).is_none() && tunnels.one(ids[1]).is_some());
    assert_eq!(tunnels.disconnects(), [("left", 1 + CLOSED_MAX as u64)]);
}

#[test]
fn a_tunnel_that_is_dropped_without_a_word_has_panicked() {
    let tunnels = tunnels(2_000);
    drop(tunnels.watch(About::serving(&[])));
    assert_eq!(tunnels.closed()[0].reason, "panic");
}

#[test]
fn connects_are_counted_by_how_they_ended_and_disconnects_only_of_who_was_connected() {
    let tunnels = tunnels(2_000);
    tunnels.refused("bad_credentials");
    tunnels.watch(About::serving(&["a.A"])).close(closing("left"));
    let watched = tunnels.watch(About::serving(&["a.A"]));
    watched.gauge().is_connected();
    watched.gauge().is_connected();
    watched.close(closing("draining"));
    let refused = ("bad_credentials", 1);
    assert_eq!(tunnels.connects(), [("ok", 1), refused, ("no", 1)]);
    assert_eq!(tunnels.disconnects(), [("draining", 1)]);
    let reasons: Vec<_> = tunnels.closed().iter().map(|closed| closed.reason).collect();
    assert_eq!(reasons, ["draining", "no"]);
}

#[test]
fn a_leave_is_not_taken_back_and_an_opening_does_not_undo_it() {
    let tunnels = tunnels(2_000);
    let state = |watched: &Watched| watched.gauge().snapshot(ticks::now()).state;
    let watched = tunnels.watch(About::serving(&[]));
    assert_eq!(state(&watched), "opening");
    for (change, seen) in [(State::Late, "late"), (State::Ready, "ready")] {
        watched.gauge().is_open();
        watched.gauge().stands(change);
        assert_eq!(state(&watched), seen);
    }
    let leaving = tunnels.watch(About::serving(&[]));
    leaving.gauge().stands(State::Draining);
    leaving.gauge().is_open();
    leaving.gauge().stands(State::Late);
    assert_eq!(state(&leaving), "draining");
}

#[test]
fn the_time_that_a_writer_waits_counts_while_it_waits() {
    let tunnels = tunnels(2_000);
    let watched = tunnels.watch(About::serving(&["a.A"]));
    let stalled = || tunnels.open()[0].stalled;
    assert_eq!(stalled(), Duration::ZERO);
    let stall = watched.gauge().stall();
    while stalled() < Duration::from_millis(1) {
        std::hint::spin_loop();
    }
    drop(stall);
    let after = stalled();
    assert!(after >= Duration::from_millis(1) && stalled() == after, "{after:?}");
    watched.close(closing("left"));
    assert!(row(&tunnels, "a.A").stalled_seconds >= after.as_secs_f64());
}

// === By service ===

#[test]
fn a_tunnel_counts_under_its_first_name_and_stands_under_each() {
    let tunnels = tunnels(2_000);
    let both = tunnels.watch(About::serving(&["b.B", "a.A"]));
    let silent = tunnels.watch(About::serving(&[]));
    for watched in [&both, &silent] {
        watched.gauge().is_open();
        watched.gauge().is_connected();
        watched.gauge().came(FrameKind::Heartbeat, 10, FrameCall::None);
        watched.gauge().round_trip(Duration::from_millis(3));
    }
    let rows = tunnels.by_service();
    let told: Vec<_> = rows.iter().map(|row| (&*row.service, row.ready, row.connects)).collect();
    assert_eq!(told, [("a.A", 1, 0), ("b.B", 1, 1), (NONE, 1, 1)]);
    assert_eq!(rows[1].frames, [("heartbeat", true, 1)]);
    assert_eq!((rows[1].round_trip.count(), rows[1].handshake.count()), (1, 1));
    assert_eq!((rows[0].bytes_in, rows[0].round_trip.count()), (0, 0));
}

#[test]
fn what_a_tunnel_has_counted_stays_when_it_ends() {
    let tunnels = tunnels(2_000);
    for _ in 0..3 {
        let watched = tunnels.watch(About::serving(&["a.A"]));
        watched.gauge().is_open();
        watched.gauge().is_connected();
        watched.gauge().came(FrameKind::Response, 100, FrameCall::None);
        watched.gauge().went(FrameKind::Request, 10, FrameCall::None, ticks::now());
    }
    let row = row(&tunnels, "a.A");
    assert_eq!(row.frames, [("request", false, 3), ("response", true, 3)]);
    assert_eq!((row.bytes_in, row.bytes_out, row.connects, row.ready), (300, 30, 3, 0));
}

#[test]
fn ten_thousand_names_stay_under_the_cap_and_no_sum_goes_down() {
    const SERIES_MAX: usize = 2_000;
    let tunnels = tunnels(SERIES_MAX);
    let mut kept = Vec::new();
    for number in 0..10_000_u64 {
        let watched = tunnels.watch(About::serving(&[&format!("demo.S{number}")]));
        watched.gauge().is_connected();
        watched.gauge().came(FrameKind::Heartbeat, 10, FrameCall::None);
        watched.gauge().round_trip(Duration::from_millis(1));
        if number % 3 == 0 {
            kept.push(watched);
        }
        if number % 500 == 499 {
            let rows = tunnels.by_service();
            let lines = |row: &ServiceTunnels| row.round_trip.counts.len() + 2;
            assert!(rows.iter().map(lines).sum::<usize>() <= SERIES_MAX);
            let sum = |of: fn(&ServiceTunnels) -> u64| rows.iter().map(of).sum::<u64>();
            assert_eq!(sum(|row| row.connects), number + 1);
            assert_eq!(sum(|row| row.bytes_in), 10 * (number + 1));
            assert_eq!(sum(|row| row.round_trip.count()), number + 1);
        }
    }
    assert!(row(&tunnels, "demo.S0").connects == 1, "who is there keeps its place");
    drop(kept);
    drop(tunnels.watch(About::serving(&["demo.New"])));
    assert_eq!(
        row(&tunnels, "demo.New").connects,
        0,
        "who needs a place gets that of who has gone"
    );
    assert_eq!(tunnels.by_service().iter().map(|row| row.connects).sum::<u64>(), 10_000);
}

#[test]
fn a_name_that_found_no_place_counts_as_other_until_its_tunnel_ends() {
    // Room for one name, with `other` and `none`.
    let tunnels = tunnels(3 * (BOUNDS.len() + 3));
    let first = tunnels.watch(About::serving(&["a.A"]));
    let second = tunnels.watch(About::serving(&["b.B", "c.C", "a.A"]));
    second.gauge().is_open();
    second.gauge().is_connected();
    let told = |tunnels: &Tunnels| {
        let rows = tunnels.by_service();
        rows.into_iter().map(|row| (row.service, row.ready, row.connects)).collect::<Vec<_>>()
    };
    let row = |name: &str, ready, connects| (name.to_owned(), ready, connects);
    assert_eq!(told(&tunnels), [row("a.A", 1, 0), row(OTHER, 1, 1)]);
    drop(first);
    let third = tunnels.watch(About::serving(&["b.B"]));
    third.gauge().is_connected();
    assert_eq!(told(&tunnels), [row("a.A", 1, 0), row(OTHER, 1, 2)], "the place is not free yet");
    drop(second);
    let fourth = tunnels.watch(About::serving(&["b.B"]));
    fourth.gauge().is_connected();
    third.gauge().is_open();
    assert_eq!(told(&tunnels), [row("b.B", 0, 1), row(OTHER, 1, 2)]);
}

#[test]
fn services_that_are_called_other_or_none_count_in_those_rows() {
    let tunnels = tunnels(2_000);
    let watched = [OTHER, NONE].map(|name| tunnels.watch(About::serving(&[name])));
    for watched in &watched {
        watched.gauge().is_open();
    }
    let rows = tunnels.by_service();
    assert_eq!(rows.iter().map(|row| row.ready).collect::<Vec<_>>(), [1, 1]);
}

// === Looking does not hold up ===

/// The time is printed, not asserted: it is the machine's. What is asserted is what is done under the
/// lock, which [`Table::gauges`] is all of: a tunnel can be told while nobody holds the lock.
#[test]
fn who_looks_at_ten_thousand_tunnels_reads_them_without_the_lock() {
    let tunnels = tunnels(2_000);
    let reader = tunnels.clone();
    let reads = move || usize::from(reader.table.try_lock().is_err());
    let open: Vec<_> = (0..10_000)
        .map(|number| {
            let mut about = About::serving(&[&format!("demo.S{}", number % 200)]);
            about.held.queued_bytes = Reading::new(reads.clone());
            tunnels.watch(about)
        })
        .collect();
    let looked = AtomicBool::new(false);
    let longest = thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !looked.load(Ordering::Relaxed) {
                let begun = Instant::now();
                drop(tunnels.table());
                longest = longest.max(begun.elapsed());
            }
            longest
        });
        for _ in 0..5 {
            drop(tunnels.open());
            drop(tunnels.by_service());
        }
        looked.store(true, Ordering::Relaxed);
        waits.join().unwrap()
    });
    println!("the longest wait for the lock: {longest:?}");
    let held = tunnels.open().iter().map(|tunnel| tunnel.queued_bytes).sum::<u64>();
    assert_eq!(held, 0, "no reading is made under the lock");
    let held = tunnels.by_service().iter().map(|row| row.queued_bytes).sum::<u64>();
    assert_eq!(held, 0, "no reading is made under the lock");
    assert_eq!(open.len(), 10_000);
}

#[test]
fn an_idle_tunnel_takes_little_memory() {
    assert!(size_of::<TunnelGauge>() <= 768, "{}", size_of::<TunnelGauge>());
}

fn tunnels(series_max: usize) -> Arc<Tunnels> {
    Arc::new(Tunnels::new(series_max))
}

fn closing(closed: &'static str) -> Closing {
    Closing { refused: "no", closed, detail: "in words".to_owned() }
}

fn row(tunnels: &Tunnels, service: &str) -> ServiceTunnels {
    tunnels.by_service().into_iter().find(|row| row.service == service).expect("it has a row")
}
