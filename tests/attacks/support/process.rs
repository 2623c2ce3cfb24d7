//! The gateway as a process of its own, whose memory and last words can be looked at.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use adit::auth::key::KeyDigest;
use serde_json::{Value, json};

use crate::words::gateway::lay_over;
use crate::words::{KEY, soon, until};

/// A running gateway; it is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    config: PathBuf,
    lines: Arc<Mutex<Vec<String>>>,
    pub(crate) address: SocketAddr,
}

/// What the last line of a run says.
#[derive(Debug)]
pub(crate) struct Ledger(String);

impl Process {
    /// Starts it with two workers and these settings laid over.
    pub(crate) async fn start(settings: Value) -> Self {
        Self::start_within("unlimited", settings).await
    }

    /// The same with so much memory for its data, in KiB: past it the system gives no more.
    pub(crate) async fn start_within(memory: &str, settings: Value) -> Self {
        let mut written = json!({
            "listeners": [{ "address": "127.0.0.1:0" }],
            "metrics": { "address": "127.0.0.1:0" },
            "workers": 2,
            "keys": [{ "id": "tests", "sha256": KeyDigest::of(KEY.as_bytes()).to_string() }],
            "routing": { "startup_grace": "0s" },
            "drain": { "grace": "2s" },
        });
        lay_over(&mut written, settings);
        let config = config_path();
        std::fs::write(&config, written.to_string()).unwrap();
        // A shell sets the limit, because only a process itself can before it starts.
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -d \"$0\" && exec \"$1\" --config \"$2\"", memory])
            .args([env!("CARGO_BIN_EXE_adit").as_ref(), config.as_os_str()])
            .env_remove("ADIT_API_KEY")
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let kept = lines.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        let listening = |lines: &Arc<Mutex<Vec<String>>>| find(lines, "listening: address=");
        until("the gateway to listen", async || listening(&lines).is_some()).await;
        let line = listening(&lines).unwrap();
        let address = line.rsplit_once('=').unwrap().1.parse().unwrap();
        Self { child, config, lines, address }
    }

    /// A line that it has logged with this in it.
    pub(crate) fn logged(&self, part: &str) -> Option<String> {
        find(&self.lines, part)
    }

    /// How often it has logged a line with this in it.
    pub(crate) fn times_logged(&self, part: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }

    /// The memory that it has, in bytes.
    pub(crate) fn resident_bytes(&self) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }

    /// The descriptors that it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Asks it to stop; its last words.
    pub(crate) async fn stop(mut self) -> Ledger {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(asked.success());
        soon("the gateway to stop", async {
            while self.child.try_wait().unwrap().is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        until("its last words", async || self.logged("run ended: ").is_some()).await;
        assert_eq!(self.logged("panicked"), None);
        assert_eq!(self.logged("actor died"), None);
        Ledger(self.logged("run ended: ").unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}

impl Ledger {
    /// How often something was counted.
    pub(crate) fn count(&self, name: &str) -> usize {
        let mut words = self.0.split(' ').filter_map(|word| word.split_once('='));
        words.find(|(word, _)| *word == name).map_or(0, |(_, number)| number.parse().unwrap())
    }

    /// Every call that was started has ended, and none was in flight when the gateway was stopped.
    pub(crate) fn balances(&self) {
        assert!(self.0.contains("how=Drained"), "{self:?}");
        let ended = self.count("calls_answered") + self.count("calls_failed");
        assert_eq!(self.count("calls_started"), ended, "{self:?}");
        assert_eq!(self.count("panics"), 0, "{self:?}");
    }
}

fn find(lines: &Arc<Mutex<Vec<String>>>, part: &str) -> Option<String> {
    lines.lock().unwrap().iter().find(|line| line.contains(part)).cloned()
}

fn config_path() -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("attack-{}-{number}.json", std::process::id());
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}
