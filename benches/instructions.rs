//! How many instructions a call takes, by callgrind; the gateway of this build, and others to compare.
//!
//! `cargo bench --bench instructions [-- BINARY ..]` needs `h2load` (Debian: nghttp2-client) and
//! `valgrind`. Instructions hardly depend on what else the machine does: what is left are some hundred a
//! call, by how calls happen to be handled together. So each binary is measured several times, in turn
//! with the others. `x-request-id` is switched off: it is no counting, and older versions have none.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{KEY, Outcome, Proxy, body, echo, load, wait_for_tunnels, with_folder};

const ROUNDS: usize = 3;
const CALLS: usize = 5_000;
/// Before that everything that is done once has been done.
const CALLS_BEFORE: usize = 500;
const PAYLOAD_BYTES: usize = 64;

fn main() -> Outcome<()> {
    with_folder("instructions", |folder| {
        // What cargo itself adds begins with dashes.
        let others = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
        let own = PathBuf::from(env!("CARGO_BIN_EXE_adit"));
        let binaries: Vec<_> = std::iter::once(own).chain(others.map(PathBuf::from)).collect();
        println!("instructions a call, {ROUNDS} rounds of {CALLS} calls of {PAYLOAD_BYTES} B");
        for round in 1..=ROUNDS {
            for binary in &binaries {
                let instructions = measure(binary, folder)?;
                println!("round {round}  {:>9.0}  {}", instructions, binary.display());
            }
        }
        Ok(())
    })
}

/// Instructions a call.
fn measure(binary: &Path, folder: &Path) -> Outcome<f64> {
    let counts = folder.join("callgrind.out");
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--instr-atstart=no"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(binary)
        .env("ADIT_CALLERS_REQUEST_ID", "false")
        .env("ADIT_WORKERS", "1");
    let mut gateway = Proxy::gateway(folder, command)?;
    let address = gateway.address;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let echo = runtime.block_on(echo::listen())?;
    std::thread::spawn(move || runtime.block_on(echo::serve(echo, address, KEY)));
    let body = body(folder, PAYLOAD_BYTES)?;
    wait_for_tunnels(&gateway, &body)?;
    load(address, &body, CALLS_BEFORE)?;
    control("on", &gateway)?;
    load(address, &body, CALLS)?;
    control("off", &gateway)?;
    Command::new("kill").arg(gateway.process.id().to_string()).status()?;
    gateway.process.wait()?;
    total(&fs::read_to_string(counts)?)
}

/// Has valgrind begin or stop to count.
fn control(what: &str, gateway: &Proxy) -> Outcome<()> {
    let process = gateway.process.id().to_string();
    let output = Command::new("callgrind_control").args(["-i", what, &process]).output()?;
    if output.status.success() { Ok(()) } else { Err("callgrind_control failed".into()) }
}

/// What the file that callgrind writes counts in all, a call.
fn total(counts: &str) -> Outcome<f64> {
    let total = counts.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: f64 = total.ok_or("callgrind has counted nothing")?.trim().parse()?;
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    Ok(total / CALLS as f64)
}
