//! What it costs to hand an event to all who listen, beside NATS in the same run.
//!
//! `cargo bench --bench fanout [-- BINARY ..]` needs `nats-server`. One publisher publishes bursts of
//! events, each as soon as every subscriber has got the one before, to the gateway of this build, to
//! others to compare, and to NATS, in turn. It prints how many deliveries each server's process made in
//! a second of CPU time; CPU, not wall time: machines are shared. One that is missing ends it.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;

use support::audience::Audience;
use support::{Outcome, Proxy, cpu, nats, tunnels, with_folder};

/// Payloads of the events, in bytes.
const SIZES: [usize; 2] = [64, 1024];
const ROUNDS: usize = 5;

/// Who listens, and how much is published before all have to have it.
struct Arrangement {
    subscribers: usize,
    connections: usize,
    /// Events; fewer than the queue of a subscriber takes, and than NATS holds for a connection.
    burst: usize,
    /// How often, for each measurement.
    bursts: usize,
}

const ARRANGEMENTS: [Arrangement; 4] = [
    Arrangement { subscribers: 1_000, connections: 8, burst: 100, bursts: 10 },
    Arrangement { subscribers: 1_000, connections: 8, burst: 1, bursts: 300 },
    Arrangement { subscribers: 64, connections: 64, burst: 100, bursts: 100 },
    Arrangement { subscribers: 64, connections: 64, burst: 1, bursts: 2_000 },
];

fn main() -> Outcome<()> {
    with_folder("fanout", |folder| {
        println!(
            "deliveries a CPU second of the server, in thousands: median of {ROUNDS} (least, most)"
        );
        for arrangement in ARRANGEMENTS {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(compare(folder, &arrangement))?;
        }
        Ok(())
    })
}

async fn compare(folder: &Path, arrangement: &Arrangement) -> Outcome<()> {
    let Arrangement { subscribers, connections, burst, .. } = arrangement;
    println!("{subscribers} subscribers over {connections} connections, bursts of {burst}");
    // What cargo itself adds begins with dashes.
    let others = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let mut servers = vec![
        Server::nats(arrangement).await?,
        Server::adit(folder, env!("CARGO_BIN_EXE_adit").into(), arrangement).await?,
    ];
    for other in others {
        servers.push(Server::adit(folder, other.into(), arrangement).await?);
    }
    for size in SIZES {
        let mut rates = vec![Vec::new(); servers.len()];
        for _ in 0..ROUNDS {
            for (server, rates) in servers.iter_mut().zip(&mut rates) {
                rates.push(server.rate(arrangement, size).await?);
            }
        }
        let nats = cpu::spread(&mut rates[0]).0;
        for (server, rates) in servers.iter().zip(&mut rates) {
            let (median, least, most) = cpu::spread(rates);
            let ratio = median / nats;
            let name = &server.name;
            println!(
                "{size:>5} B {median:>6.0} ({least:.0}, {most:.0})  {ratio:.2} of NATS  {name}"
            );
        }
    }
    Ok(())
}

/// A server, and those who listen there.
struct Server {
    name: String,
    process: Proxy,
    audience: Arc<Audience>,
    publisher: Publisher,
}

enum Publisher {
    Tunnel(tunnels::Publisher),
    Nats(nats::Publisher),
}

impl Server {
    async fn adit(folder: &Path, binary: PathBuf, arrangement: &Arrangement) -> Outcome<Self> {
        let mut command = Command::new(&binary);
        command
            .env("ADIT_WORKERS", "2")
            .env("ADIT_LIMITS_TUNNELS_PER_KEY_MAX", "2000")
            .env("ADIT_HEARTBEAT_DEAD_AFTER", "1h");
        let process = Proxy::gateway(folder, command)?;
        let audience = Arc::new(Audience::new(arrangement.subscribers));
        let mut publisher = tunnels::Publisher::open(process.address).await?;
        tunnels::subscribe(process.address, arrangement.connections, &audience, &mut publisher)
            .await?;
        let own = binary == Path::new(env!("CARGO_BIN_EXE_adit"));
        let name = if own { "adit".to_owned() } else { binary.display().to_string() };
        let publisher = Publisher::Tunnel(publisher);
        Ok(Self { name, process, audience, publisher })
    }

    async fn nats(arrangement: &Arrangement) -> Outcome<Self> {
        let process = nats::server()?;
        let audience = Arc::new(Audience::new(arrangement.subscribers));
        nats::subscribe(process.address, arrangement.connections, &audience).await?;
        let publisher = Publisher::Nats(nats::Publisher::open(process.address).await?);
        Ok(Self { name: "nats-server".to_owned(), process, audience, publisher })
    }

    /// Thousands of deliveries a CPU second.
    async fn rate(&mut self, arrangement: &Arrangement, size: usize) -> Outcome<f64> {
        let Arrangement { subscribers, burst, bursts, .. } = *arrangement;
        let payload = Bytes::from(vec![b'x'; size]);
        let before = cpu::seconds(&self.process)?;
        for _ in 0..bursts {
            self.publish(burst, &payload).await?;
        }
        let seconds = cpu::seconds(&self.process)? - before;
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        let deliveries = (bursts * burst * subscribers) as f64;
        Ok(deliveries / seconds / 1e3)
    }

    async fn publish(&mut self, events: usize, payload: &Bytes) -> Outcome<()> {
        self.audience.expect(events);
        match &mut self.publisher {
            Publisher::Tunnel(tunnel) => tunnel.publish(events, payload, &self.audience).await?,
            Publisher::Nats(connection) => connection.publish(events, payload).await?,
        }
        self.audience.all_heard(events).await
    }
}
