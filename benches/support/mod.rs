//! What the benchmarks share: a gateway, an echo service behind it, and h2load before it.
#![allow(dead_code, reason = "each benchmark needs a part of it")]

pub(crate) mod audience;
pub(crate) mod cpu;
pub(crate) mod echo;
pub(crate) mod nats;
pub(crate) mod tunnels;

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

pub(crate) const KEY: &str = "a-key-for-benchmarks-only-0123456789-0123456789";

/// Runs a benchmark with a folder for its files.
pub(crate) fn with_folder(name: &str, run: impl FnOnce(&Path) -> Outcome<()>) -> Outcome<()> {
    let folder = std::env::temp_dir().join(format!("adit-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let done = run(&folder);
    fs::remove_dir_all(&folder)?;
    done
}

/// A proxy process under test.
pub(crate) struct Proxy {
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
}

impl Proxy {
    /// A gateway, started by `command` with its configuration.
    pub(crate) fn gateway(folder: &Path, mut command: Command) -> Outcome<Self> {
        let config = folder.join("config.json");
        let digest = adit::auth::key::KeyDigest::of(KEY.as_bytes());
        let text = format!(
            r#"{{"listeners":[{{"address":"127.0.0.1:0"}}],"limits":{{"streams_per_connection_max":1000}},
                "keys":[{{"id":"bench","sha256":"{digest}"}}]}}"#
        );
        fs::write(&config, text)?;
        // Not in the file: older versions, to compare with, know no such section.
        command.arg("--config").arg(&config).env("ADIT_METRICS_ADDRESS", "127.0.0.1:0");
        Self::start(command, "listening: address=")
    }

    /// A server whose log says, after `before`, where it listens.
    pub(crate) fn start(mut command: Command, before: &str) -> Outcome<Self> {
        let mut process = command.stderr(Stdio::piped()).spawn()?;
        let log = process.stderr.take().ok_or("no log")?;
        let mut lines = BufReader::new(log).lines();
        let address = loop {
            let line = lines.next().ok_or_else(|| format!("{command:?} did not start"))??;
            if let Some((_, address)) = line.split_once(before) {
                break address.parse()?;
            }
        };
        // The log must be read on, or the server would wait for its reader.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, address })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// One gRPC message of `size` bytes, in a file for h2load.
pub(crate) fn body(folder: &Path, size: usize) -> Outcome<PathBuf> {
    let path = folder.join(format!("{size}.bin"));
    let mut message = vec![0];
    message.extend_from_slice(&u32::try_from(size)?.to_be_bytes());
    message.resize(5 + size, b'x');
    fs::write(&path, message)?;
    Ok(path)
}

/// Calls `calls` times over 8 connections with 16 calls at once on each.
pub(crate) fn load(address: SocketAddr, body: &Path, calls: usize) -> Outcome<()> {
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
pub(crate) fn wait_for_tunnels(gateway: &Proxy, body: &Path) -> Outcome<()> {
    let before = echo::served();
    while echo::served() == before {
        load(gateway.address, body, 8)?;
    }
    Ok(())
}
