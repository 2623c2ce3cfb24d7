//! A gateway on a port of its own, in a thread of its own.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use adit::app::{Ended, Gateway as App};
use adit::auth::key::KeyDigest;
use adit::config::{self, Config};
use adit::observe::window::Window;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Caller, Peer};

/// The key that every test gateway admits.
pub(crate) const KEY: &str = "a-key-for-tests-only-0123456789-0123456789";

/// A running gateway; it stops when it is dropped.
pub(crate) struct Gateway {
    pub(crate) addresses: Vec<SocketAddr>,
    window: Window,
    stop: mpsc::Sender<()>,
    reload: mpsc::Sender<Box<Config>>,
    run: Option<JoinHandle<Ended>>,
}

impl Gateway {
    /// With two workers, one key for all names, and no grace after the start.
    pub(crate) fn start() -> Self {
        Self::with(json!({}))
    }

    /// The same with other settings laid over.
    pub(crate) fn with(settings: Value) -> Self {
        let config = config_with(settings);
        let (stop, stopped) = mpsc::channel(2);
        let (reload, reloads) = mpsc::channel(1);
        let (up, started) = std::sync::mpsc::channel();
        let run = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let app = App::start(config).await.unwrap();
                up.send((app.addresses().to_vec(), app.window())).unwrap();
                app.run(stopped, reloads).await
            })
        });
        let (addresses, window) = started.recv().unwrap();
        Self { addresses, window, stop, reload, run: Some(run) }
    }

    /// What it counts of itself.
    pub(crate) fn window(&self) -> Window {
        self.window.clone()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// A caller with a connection of its own.
    pub(crate) async fn caller(&self) -> Caller {
        Caller::connect(self.address()).await
    }

    /// A peer that asks for all features and serves `service`.
    pub(crate) async fn peer(&self, service: &str) -> Peer {
        self.peer_with(&[service], &["stream", "cancel", "headers", "compression"]).await
    }

    /// A peer that asks for nothing.
    pub(crate) async fn plain_peer(&self, service: &str) -> Peer {
        self.peer_with(&[service], &[]).await
    }

    pub(crate) async fn peer_with(&self, services: &[&str], features: &[&str]) -> Peer {
        let mut peer = Peer::dial(self.address()).await;
        peer.register(KEY, services, features).await;
        peer.connected().await;
        peer
    }

    /// Puts other settings in the place of those it runs with.
    pub(crate) async fn reload(&self, settings: Value) {
        self.reload.send(Box::new(config_with(settings))).await.unwrap();
    }

    /// Asks the gateway to stop: once to drain, twice to stop at once.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.try_send(()).unwrap();
    }

    /// Waits until it has stopped.
    pub(crate) async fn ended(mut self) -> Ended {
        let run = self.run.take().unwrap();
        tokio::task::spawn_blocking(move || run.join().unwrap()).await.unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            let _ = self.stop.try_send(());
            let _ = self.stop.try_send(());
            drop(run.join());
        }
    }
}

/// One key of its own in a configuration.
pub(crate) fn key(id: &str, key: &str, more: Value) -> Value {
    let mut entry = json!({ "id": id, "sha256": KeyDigest::of(key.as_bytes()).to_string() });
    lay_over(&mut entry, more);
    entry
}

fn config_with(settings: Value) -> Config {
    let mut written = json!({
        "listeners": [{ "address": "127.0.0.1:0" }],
        "workers": 2,
        "keys": [key("tests", KEY, json!({}))],
        "routing": { "startup_grace": "0s" },
        "metrics": { "address": "127.0.0.1:0" },
    });
    lay_over(&mut written, settings);
    config::parse(&written.to_string(), &config::Environment::default()).unwrap()
}

/// Puts settings over others, field by field.
pub(crate) fn lay_over(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                lay_over(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}
