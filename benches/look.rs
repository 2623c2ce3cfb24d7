//! How long a tunnel that comes or goes waits for somebody who looks at ten thousand others.
//!
//! `cargo bench --bench look`: one thread asks for everything that the pages show, again and again, and
//! another, in the place of an arbiter, opens and closes tunnels and starts and ends actors meanwhile. It
//! prints how long one of these takes with nobody looking, and with somebody.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use adit::observe::cast::{Cast, Kind, Role};
use adit::observe::ticks;
use adit::observe::tunnels::{About, Held, Tunnels};
use uuid::Uuid;

const CONNECTIONS: usize = 10_000;
const ROUNDS: usize = 20_000;
const SERIES_MAX: usize = 2_000;
static ROLE: Role = Role { kind: Kind::Connection, messages: &["Carry"] };

fn main() {
    let (tunnels, cast) = (Arc::new(Tunnels::new(SERIES_MAX)), Arc::new(Cast::new(1)));
    let arbiter = cast.arbiter(0);
    let enter = |number| {
        let id = Uuid::from_u128(number);
        (tunnels.watch(about(id)), arbiter.enter(&ROLE, Some(id)))
    };
    let open: Vec<_> = (0..CONNECTIONS as u128).map(enter).collect();
    println!("a tunnel and its actor come and go beside {CONNECTIONS} others, {ROUNDS} times");
    let round = || {
        let begun = Instant::now();
        drop(enter(u128::MAX));
        begun.elapsed()
    };
    report("nobody looks", (0..ROUNDS).map(|_| round()).collect());

    let over = Arc::new(AtomicBool::new(false));
    let looking = {
        let (tunnels, cast, over) = (tunnels.clone(), cast.clone(), over.clone());
        std::thread::spawn(move || {
            let mut looks = 0;
            while !over.load(Ordering::Relaxed) {
                drop((tunnels.open(), tunnels.by_service(), tunnels.standing(), cast.look()));
                looks += 1;
            }
            looks
        })
    };
    // Some looks must have been taken meanwhile.
    let (begun, mut waits) = (Instant::now(), Vec::new());
    while waits.len() < ROUNDS || begun.elapsed() < Duration::from_secs(3) {
        waits.push(round());
    }
    over.store(true, Ordering::Relaxed);
    let looks = looking.join().unwrap_or_default();
    report(&format!("somebody looks ({looks} times)"), waits);
    drop(open);
}

fn about(id: Uuid) -> About {
    About {
        id: id.as_u128(),
        key_id: "bench".to_owned(),
        peer_address: ([127, 0, 0, 1], 1).into(),
        plain: false,
        features: vec!["stream".to_owned()],
        services: vec![format!("bench.Service{}", id.as_u128() % 100)],
        worker: 0,
        arrived: ticks::now(),
        held: Held::default(),
    }
}

fn report(what: &str, mut waits: Vec<Duration>) {
    waits.sort_unstable();
    let at = |part: usize| waits[(waits.len() - 1) * part / 1_000];
    let [half, most, nearly_all, all] = [at(500), at(990), at(999), at(1_000)];
    println!("{what:<32} p50 {half:?}  p99 {most:?}  p99.9 {nearly_all:?}  longest {all:?}");
}
