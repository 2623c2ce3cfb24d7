//! A tunnel that comes and goes under load: the ledger balances, on both sides of the wire.
//!
//! The gateway is the program itself, because what it counts belongs to a process. The run takes 5 s
//! of flapping for each way of it; `ADIT_FLAP_SECONDS` makes it longer.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use adit::auth::key::KeyDigest;
use adit::grpc::proto::connection_message::MessageType;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval, timeout_at};

use crate::support::gateway::lay_over;
use crate::support::{Caller, KEY, Peer, ok};

/// 500 calls a second.
const CALL_INTERVAL: Duration = Duration::from_millis(2);
/// How long each tunnel lives, and how long nobody is there after it: once a second it flaps.
const TUNNEL_LIFE: Duration = Duration::from_millis(900);
const TUNNEL_GAP: Duration = Duration::from_millis(100);
/// Callers' connections, and the calls that each has room for, on average: on a machine that is too
/// slow for the pace, it is kept less well.
const CONNECTIONS: usize = 8;
const STREAMS: usize = 50;

/// The variable that says for how long.
const SECONDS: &str = "ADIT_FLAP_SECONDS";

/// How many calls ended how.
type Ends = BTreeMap<String, u64>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_that_flaps_under_load_leaves_a_ledger_that_balances() {
    let (ends, ledger) = flap(json!({})).await;
    let documented = ["0", "14 no_tunnel", "14 tunnel_lost"];
    assert!(ends.keys().all(|end| documented.contains(&end.as_str())), "{ends:?}");
    balances(&ends, &ledger);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_for_a_tunnel_that_flaps_find_it() {
    let settings = json!({
        "routing": { "wait_for_tunnel": "60s" },
        "limits": { "waiting_calls_per_service_max": 1000 },
    });
    let (ends, ledger) = flap(settings).await;
    assert!(ends.keys().all(|end| ["0", "14 tunnel_lost"].contains(&end.as_str())), "{ends:?}");
    assert!(ledger["calls_waited"] > 0, "{ledger:?}");
    balances(&ends, &ledger);
}

#[expect(clippy::print_stdout, reason = "the ledger of a long run is worth reading")]
fn balances(ends: &Ends, ledger: &Ends) {
    println!("callers: {ends:?}\ngateway: {ledger:?}");
    let of = |name: &str| ledger.get(name).copied().unwrap_or(0);
    let made: u64 = ends.values().sum();
    let served = ends.get("0").copied().unwrap_or(0);
    // How many depends on how busy the machine is.
    assert!(served > 0, "{ends:?}");
    assert_eq!(of("calls_started"), made);
    assert_eq!(of("calls_answered"), served);
    assert_eq!(of("calls_failed"), made - served);
    assert_eq!(of("tunnels_opened"), of("tunnels_closed"));
    assert!(of("tunnels_opened") > 2, "{ledger:?}");
    assert_eq!((of("calls_refused"), of("panics")), (0, 0));
}

/// Runs a gateway with a tunnel that breaks every second, calls it all the while, stops it.
/// Returns how the calls ended as their callers saw it, and what the gateway counted.
async fn flap(settings: Value) -> (Ends, Ends) {
    let seconds = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok());
    let program = Program::start(settings);
    let flapping = tokio::spawn(flap_for_ever(program.address));
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(5));
    let ends = call_until(end, program.address).await;
    flapping.abort();
    assert!(flapping.await.unwrap_err().is_cancelled(), "the peer met nothing unexpected");
    (ends, program.stop())
}

/// A peer that answers everything at once. After each life its connection is cut, and nobody is
/// there for a while.
async fn flap_for_ever(address: SocketAddr) {
    let mut gap = interval(TUNNEL_GAP);
    loop {
        let life = Instant::now() + TUNNEL_LIFE;
        let mut peer = Peer::dial(address).await;
        peer.register(KEY, &["demo.Echo"], &["stream", "cancel"]).await;
        peer.connected().await;
        while let Ok(frame) = timeout_at(life, peer.receive()).await {
            if let MessageType::Request(request) = frame {
                peer.answer(ok(&request, request.payload.clone())).await;
            }
        }
        drop(peer);
        gap.reset();
        gap.tick().await;
    }
}

async fn call_until(end: Instant, address: SocketAddr) -> Ends {
    let mut callers = Vec::new();
    for _ in 0..CONNECTIONS {
        callers.push(Caller::connect(address).await);
    }
    let mut calls = Vec::new();
    let streams = Arc::new(Semaphore::new(CONNECTIONS * STREAMS));
    let mut pace = interval(CALL_INTERVAL);
    while Instant::now() < end {
        pace.tick().await;
        let stream = streams.clone().acquire_owned().await.unwrap();
        let caller = callers[calls.len() % CONNECTIONS].clone();
        calls.push(tokio::spawn(async move {
            let end = one_call(&caller).await;
            drop(stream);
            end
        }));
    }
    let mut ends = Ends::new();
    for call in calls {
        *ends.entry(call.await.unwrap()).or_default() += 1;
    }
    ends
}

async fn one_call(caller: &Caller) -> String {
    let mut call = caller.call("/demo.Echo/Say").await;
    call.send_last("hi").await;
    let mut answers = 0;
    while call.next().await.is_some() {
        answers += 1;
    }
    let end = call.end().await;
    assert_eq!(answers, u32::from(end.code == "0"), "one answer or none");
    match end.reason {
        Some(reason) => format!("{} {reason}", end.code),
        None => end.code,
    }
}

/// The gateway's program on a port of its own.
struct Program {
    child: Child,
    address: SocketAddr,
    /// Reads on until the program ends; then it has its ledger.
    log: Option<JoinHandle<String>>,
}

impl Program {
    /// With one key for the one name, which is so known before anybody has registered it.
    fn start(settings: Value) -> Self {
        let digest = KeyDigest::of(KEY.as_bytes()).to_string();
        let mut written = json!({
            "listeners": [{ "address": "127.0.0.1:0" }],
            "metrics": { "address": "127.0.0.1:0" },
            "workers": 2,
            "keys": [{ "id": "tests", "sha256": digest, "services": ["demo.Echo"] }],
        });
        lay_over(&mut written, settings);
        let mut child = Command::new(env!("CARGO_BIN_EXE_adit"))
            .args(["--config", "/dev/stdin"])
            .env_remove("ADIT_API_KEY")
            .env_remove("RUST_LOG")
            .env_remove(SECONDS)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(written.to_string().as_bytes()).unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().expect("it says where it listens").unwrap();
        let (_, address) = first.split_once("address=").expect(&first);
        let address = address.parse().unwrap();
        let is_ledger = |line: &String| line.contains("run ended: ");
        let log = std::thread::spawn(move || {
            lines.map(Result::unwrap).filter(is_ledger).last().unwrap_or_default()
        });
        Self { child, address, log: Some(log) }
    }

    /// Asks it to stop; returns what it counted.
    fn stop(mut self) -> Ends {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        let last = self.log.take().unwrap().join().unwrap();
        let (_, counts) = last.split_once("how=Drained ").expect(&last);
        let counts = counts.split(' ').filter_map(|word| word.split_once('='));
        counts.map(|(name, number)| (name.to_owned(), number.parse().unwrap())).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already, unless a test has failed.
        drop(self.child.kill());
    }
}
