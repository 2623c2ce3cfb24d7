//! The scene of an attack: a gateway, a service that is attacked, and somebody who must not notice.

#![allow(dead_code, reason = "each test file uses the words that it needs")]

pub(crate) mod process;
pub(crate) mod raw;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use adit::grpc::proto::connection_message::MessageType;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::words::{Caller, KEY, Peer, call_whole, ok, until};
use process::{Ledger, Process};
use raw::Raw;

/// The path that attackers call. Its service takes calls and answers none.
pub(crate) const VICTIM: &str = "/demo.Victim/Say";

/// A path of the same service whose calls are answered with a mebibyte.
pub(crate) const BIG: &str = "/demo.Victim/Big";

/// A gateway under attack.
pub(crate) struct Scene {
    pub(crate) process: Process,
    victim: Victim,
    bystander: Bystander,
}

/// A service with the features of a modern one that answers nothing but [`BIG`].
struct Victim {
    seen: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

/// A caller and a service that have nothing to do with it all, on connections of their own. Every
/// call must succeed, and be answered soon.
struct Bystander {
    calls: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    calling: JoinHandle<()>,
    serving: JoinHandle<()>,
}

impl Scene {
    pub(crate) async fn open(settings: Value) -> Self {
        Self::open_on(Process::start(settings).await).await
    }

    /// The same around a gateway that runs already.
    pub(crate) async fn open_on(process: Process) -> Self {
        let (victim, bystander) = (Victim::start(&process).await, Bystander::start(&process).await);
        let scene = Self { process, victim, bystander };
        scene.bystander_is_served().await;
        scene
    }

    /// A connection that has said hello.
    pub(crate) async fn attacker(&self) -> Raw {
        Raw::hello(self.process.address).await
    }

    /// A caller as any gRPC client is one.
    pub(crate) async fn caller(&self) -> Caller {
        Caller::connect(self.process.address).await
    }

    /// How many requests have reached the service.
    pub(crate) fn requests(&self) -> usize {
        self.victim.seen.load(Ordering::Relaxed)
    }

    /// Waits until somebody else has been served since now.
    pub(crate) async fn bystander_is_served(&self) {
        let before = self.bystander.calls.load(Ordering::Relaxed);
        until("the bystander to be served", async || {
            assert!(!self.bystander.calling.is_finished(), "the bystander's call failed");
            self.bystander.calls.load(Ordering::Relaxed) > before + 2
        })
        .await;
    }

    /// Ends the scene: nobody else has noticed, nothing is left, and the books balance.
    pub(crate) async fn closes(self) -> Ledger {
        self.bystander_is_served().await;
        let Self { process, victim, bystander } = self;
        bystander.stop.store(true, Ordering::Relaxed);
        bystander.calling.await.unwrap();
        let ledger = process.stop().await;
        victim.serving.abort();
        bystander.serving.abort();
        ledger.balances();
        ledger
    }
}

impl Victim {
    async fn start(process: &Process) -> Self {
        let mut peer = Peer::dial(process.address).await;
        peer.register(KEY, &["demo.Victim"], &["stream", "cancel", "headers"]).await;
        peer.connected().await;
        let seen = Arc::new(AtomicUsize::new(0));
        let counted = seen.clone();
        let serving = tokio::spawn(async move {
            while let Some(frame) = peer.try_receive().await {
                let MessageType::Request(request) = frame else { continue };
                counted.fetch_add(1, Ordering::Relaxed);
                if request.method_path == BIG {
                    peer.answer(ok(&request, vec![7; 1024 * 1024])).await;
                }
            }
        });
        Self { seen, serving }
    }
}

impl Bystander {
    async fn start(process: &Process) -> Self {
        let mut peer = Peer::dial(process.address).await;
        peer.register(KEY, &["demo.Bystander"], &["stream", "cancel", "headers"]).await;
        peer.connected().await;
        let serving = tokio::spawn(async move {
            while let Some(frame) = peer.try_receive().await {
                if let MessageType::Request(request) = frame {
                    peer.answer(ok(&request, request.payload.clone())).await;
                }
            }
        });
        let caller = Caller::connect(process.address).await;
        let (calls, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped) = (calls.clone(), stop.clone());
        let calling = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let mut call = call_whole(&caller, "/demo.Bystander/Say", "hello").await;
                assert_eq!(call.message().await, "hello");
                call.succeeds().await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { calls, stop, calling, serving }
    }
}
