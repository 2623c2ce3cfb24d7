//! What a call costs the gateway, beside haproxy in the same run.
//!
//! `cargo bench --bench overhead` needs `h2load` (Debian: nghttp2-client) and `haproxy`. It starts
//! both proxies before the same kind of echo service, lets h2load call each in turn, and prints
//! the CPU time that each proxy's process took per call. CPU, not wall time: machines are shared.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{KEY, Outcome, Proxy, body, cpu, echo, load, wait_for_tunnels, with_folder};

/// Payloads of the calls, in bytes.
const SIZES: [usize; 2] = [64, 1024];
const ROUNDS: usize = 5;
const CALLS: usize = 100_000;

fn main() -> Outcome<()> {
    with_folder("overhead", run)
}

fn run(folder: &Path) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let echo = runtime.block_on(echo::listen())?;
    let gateway = Proxy::gateway(folder, Command::new(env!("CARGO_BIN_EXE_adit")))?;
    let haproxy = haproxy(folder, echo.address)?;
    let address = gateway.address;
    std::thread::spawn(move || runtime.block_on(echo::serve(echo, address, KEY)));
    wait_for_tunnels(&gateway, &body(folder, SIZES[0])?)?;
    println!("CPU of the proxy's process, us a call: median of {ROUNDS} (least, most)");
    for size in SIZES {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(cost(&gateway, folder, size)?);
            theirs.push(cost(&haproxy, folder, size)?);
        }
        println!("{size:>5} B  adit {}  haproxy {}", spread(&mut ours), spread(&mut theirs));
    }
    Ok(())
}

fn haproxy(folder: &Path, echo: SocketAddr) -> Outcome<Proxy> {
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = folder.join("haproxy.cfg");
    let text = format!(
        "global\n  nbthread 2\ndefaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  \
         timeout connect 5s\nfrontend in\n  bind {address} proto h2\n  default_backend echo\n\
         backend echo\n  http-reuse always\n  server echo {echo} proto h2\n"
    );
    fs::write(&config, text)?;
    let process = Command::new("haproxy").arg("-f").arg(&config).stderr(Stdio::null()).spawn()?;
    while std::net::TcpStream::connect(address).is_err() {
        std::thread::yield_now();
    }
    Ok(Proxy { process, address })
}

/// Microseconds of CPU per call.
fn cost(proxy: &Proxy, folder: &Path, size: usize) -> Outcome<f64> {
    let body = body(folder, size)?;
    let before = cpu::seconds(proxy)?;
    load(proxy.address, &body, CALLS)?;
    let seconds = cpu::seconds(proxy)? - before;
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    Ok(seconds * 1e6 / CALLS as f64)
}

fn spread(costs: &mut [f64]) -> String {
    let (median, least, most) = cpu::spread(costs);
    format!("{median:.1} ({least:.1}, {most:.1})")
}
