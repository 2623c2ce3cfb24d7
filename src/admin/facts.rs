//! What the listener shows beside the window: the state of the run, and the configuration in force.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::{Mutex, oneshot};

use super::lately::Lately;
use crate::observe::window::Window;

/// How long an arbiter may take to answer that it is alive. Its longest single step takes
/// milliseconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// Everything that the listener shows. Clones share it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the parts of the gateway count.
    pub window: Window,
    /// Asks each arbiter for a sign of life.
    pub arbiters: Vec<Probe>,
    /// What changes as the gateway runs.
    pub run: Arc<Run>,
    /// What calls took lately.
    pub lately: Arc<Lately>,
}

/// Asks an arbiter for a sign of life, once at a time: one that does nothing any more is not asked again
/// and again.
#[derive(Clone)]
pub struct Probe {
    ask: Arc<dyn Fn(SignOfLife) + Send + Sync>,
    turn: Arc<Mutex<()>>,
    is_asked: Arc<AtomicBool>,
}

/// What an arbiter gives as soon as it does anything.
#[derive(Debug)]
pub struct SignOfLife {
    alive: oneshot::Sender<()>,
    is_asked: Arc<AtomicBool>,
}

/// The state of a run.
#[derive(Debug)]
pub struct Run {
    /// When it began.
    pub started_at: SystemTime,
    started: Instant,
    state: AtomicU8,
    in_force: ArcSwap<InForce>,
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// All of it, its secrets as stars.
    pub configuration: Value,
    /// Its limits, by name: counts, bytes or seconds, as the name says.
    pub limits: Vec<(&'static str, f64)>,
    /// Since when.
    pub since: SystemTime,
}

/// What a gateway is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It takes calls and tunnels.
    Serving,
    /// It lets calls in flight finish.
    Draining,
}

impl SignOfLife {
    /// The arbiter does something.
    pub fn give(self) {
        self.is_asked.store(false, Ordering::Relaxed);
        // Who asked may have lost its patience.
        let _ = self.alive.send(());
    }
}

impl Probe {
    /// `ask` has the arbiter give the sign.
    pub fn new(ask: impl Fn(SignOfLife) + Send + Sync + 'static) -> Self {
        Self { ask: Arc::new(ask), turn: Arc::default(), is_asked: Arc::default() }
    }

    async fn is_answered(&self) -> bool {
        let _turn = self.turn.lock().await;
        if self.is_asked.swap(true, Ordering::Relaxed) {
            // It still owes the answer to an earlier question.
            return false;
        }
        let (alive, answer) = oneshot::channel();
        (self.ask)(SignOfLife { alive, is_asked: self.is_asked.clone() });
        matches!(tokio::time::timeout(ANSWER_TIME_MAX, answer).await, Ok(Ok(())))
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

impl Facts {
    /// The arbiters that give no sign of life within a second.
    pub(super) async fn silent_arbiters(&self) -> Vec<usize> {
        let asked: Vec<_> = self.arbiters.iter().map(Probe::is_answered).collect();
        let answers = futures_util::future::join_all(asked).await;
        let silent = answers.into_iter().enumerate().filter(|(_, answered)| !answered);
        silent.map(|(arbiter, _)| arbiter).collect()
    }
}

impl Run {
    /// A run that begins now.
    pub fn new(in_force: InForce) -> Self {
        Self {
            started_at: SystemTime::now(),
            started: Instant::now(),
            state: AtomicU8::new(State::Serving as u8),
            in_force: ArcSwap::from_pointee(in_force),
        }
    }

    /// It stops.
    pub fn drains(&self) {
        self.state.store(State::Draining as u8, Ordering::Relaxed);
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        let draining = self.state.load(Ordering::Relaxed) == State::Draining as u8;
        if draining { State::Draining } else { State::Serving }
    }

    /// Another configuration is in force.
    pub fn reconfigured(&self, in_force: InForce) {
        self.in_force.store(Arc::new(in_force));
    }

    pub(super) fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_arbiter_that_is_stuck_is_asked_once() {
        let (asked, mut signs) = tokio::sync::mpsc::channel(9);
        let probe = Probe::new(move |sign| asked.try_send(sign).unwrap());
        assert!(!probe.is_answered().await);
        assert!(!probe.is_answered().await);
        signs.recv().await.unwrap().give();
        assert!(signs.try_recv().is_err(), "the second time it was not asked");
        let answering = async { signs.recv().await.unwrap().give() };
        assert!(tokio::join!(probe.is_answered(), answering).0);
    }
}
