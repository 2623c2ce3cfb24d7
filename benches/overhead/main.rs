//! What a call costs the gateway, beside haproxy in the same run.
//!
//! `cargo bench --bench overhead` needs `h2load` (Debian: nghttp2-client) and `haproxy`. It starts
//! both proxies before the same kind of echo service, lets h2load call each in turn, and prints
//! the CPU time that each proxy's process took per call. CPU, not wall time: machines are shared.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

mod echo;

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Payloads of the calls, in bytes.
const SIZES: [usize; 2] = [64, 1024];
const ROUNDS: usize = 5;
const CALLS: usize = 100_000;
/// Jiffies of /proc, per second; fixed by the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;
const KEY: &str = "a-key-for-benchmarks-only-0123456789-0123456789";

fn main() -> Outcome<()> {
    let folder = std::env::temp_dir().join(format!("adit-overhead-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let done = run(&folder);
    fs::remove_dir_all(&folder)?;
    done
}

fn run(folder: &Path) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let echo = runtime.block_on(echo::listen())?;
    let gateway = Proxy::gateway(folder)?;
    let haproxy = Proxy::haproxy(folder, echo.address)?;
    let address = gateway.address;
    std::thread::spawn(move || runtime.block_on(echo::serve(echo, address, KEY)));
    wait_for_tunnels(&gateway, folder)?;
    println!("CPU of the proxy's process, us a call: median of {ROUNDS} (least, most)");
    for size in SIZES {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(gateway.cost(folder, size, CALLS)?);
            theirs.push(haproxy.cost(folder, size, CALLS)?);
        }
        println!("{size:>5} B  adit {}  haproxy {}", spread(&mut ours), spread(&mut theirs));
    }
    Ok(())
}

/// A proxy process under test.
struct Proxy {
    process: Child,
    address: SocketAddr,
}

impl Proxy {
    fn gateway(folder: &Path) -> Outcome<Self> {
        let config = folder.join("config.json");
        let digest = adit::auth::key::KeyDigest::of(KEY.as_bytes());
        let text = format!(
            r#"{{"listeners":[{{"address":"127.0.0.1:0"}}],"limits":{{"streams_per_connection_max":1000}},
                "keys":[{{"id":"bench","sha256":"{digest}"}}]}}"#
        );
        fs::write(&config, text)?;
        let mut process = Command::new(env!("CARGO_BIN_EXE_adit"))
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()?;
        let log = process.stderr.take().ok_or("no log")?;
        let mut lines = BufReader::new(log).lines();
        let address = loop {
            let line = lines.next().ok_or("the gateway did not start")??;
            if let Some((_, address)) = line.split_once("listening: address=") {
                break address.parse()?;
            }
        };
        // The log must be read on, or the gateway would wait for its reader.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, address })
    }

    fn haproxy(folder: &Path, echo: SocketAddr) -> Outcome<Self> {
        let address = free_address()?;
        let config = folder.join("haproxy.cfg");
        let text = format!(
            "global\n  nbthread 2\ndefaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  \
             timeout connect 5s\nfrontend in\n  bind {address} proto h2\n  default_backend echo\n\
             backend echo\n  http-reuse always\n  server echo {echo} proto h2\n"
        );
        fs::write(&config, text)?;
        let process =
            Command::new("haproxy").arg("-f").arg(&config).stderr(Stdio::null()).spawn()?;
        while std::net::TcpStream::connect(address).is_err() {
            std::thread::yield_now();
        }
        Ok(Self { process, address })
    }

    /// Microseconds of CPU per call.
    fn cost(&self, folder: &Path, size: usize, calls: usize) -> Outcome<f64> {
        let body = body(folder, size)?;
        let before = self.cpu_seconds()?;
        load(self.address, &body, calls)?;
        let seconds = self.cpu_seconds()? - before;
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        Ok(seconds * 1e6 / calls as f64)
    }

    /// User and system time of the whole process (proc(5), /proc/pid/stat fields 14 and 15).
    fn cpu_seconds(&self) -> Outcome<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields = stat.rsplit_once(')').ok_or("stat")?.1;
        let ticks: f64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<f64>().unwrap_or(0.0))
            .sum();
        Ok(ticks / TICKS_PER_SECOND)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn free_address() -> Outcome<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// One gRPC message of `size` bytes, in a file for h2load.
fn body(folder: &Path, size: usize) -> Outcome<PathBuf> {
    let path = folder.join(format!("{size}.bin"));
    let mut message = vec![0];
    message.extend_from_slice(&u32::try_from(size)?.to_be_bytes());
    message.resize(5 + size, b'x');
    fs::write(&path, message)?;
    Ok(path)
}

/// Calls `calls` times over 8 connections with 16 calls at once on each.
fn load(address: SocketAddr, body: &Path, calls: usize) -> Outcome<()> {
    let output = Command::new("h2load")
        .args(["-n", &calls.to_string(), "-c", "8", "-m", "16", "-d"])
        .arg(body)
        .args(["-H", "content-type: application/grpc", "-H", "te: trailers"])
        .arg(format!("http://{address}/bench.Echo/Say"))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let wanted = format!("{calls} succeeded, 0 failed");
    if text.contains(&wanted) { Ok(()) } else { Err(format!("h2load: {text}").into()) }
}

/// Calls until the peers have registered: an answer of the gateway's own has no message.
fn wait_for_tunnels(gateway: &Proxy, folder: &Path) -> Outcome<()> {
    let body = body(folder, SIZES[0])?;
    while echo::served() == 0 {
        load(gateway.address, &body, 8)?;
    }
    Ok(())
}

fn spread(costs: &mut [f64]) -> String {
    costs.sort_by(f64::total_cmp);
    let mut text = String::new();
    let _ = write!(
        text,
        "{:.1} ({:.1}, {:.1})",
        costs[costs.len() / 2],
        costs[0],
        costs[costs.len() - 1]
    );
    text
}
