//! The heartbeat supervisor of one worker: notices tunnels that have gone silent, or do not take their
//! events.
//!
//! It reads when each tunnel was last heard, a few times in the shortest wait, instead of being
//! told of every frame. A late tunnel is not chosen for new calls; a dead one is closed.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::mpsc;

use crate::observe::cast::{Arbiter, Presence};
use crate::tunnel::directory::Standing;
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::id::TunnelId;
use crate::tunnel::liveness::{LastSeen, Patience, Pulse, Verdict};

use super::farewell::PermanentFarewell;
use super::lane::EventLane;
use super::mailbox::{Mailbox, Post, Watched, ring, watched};
use super::now;
use super::registry::{CloseTunnel, RegistryHandle};

/// A tunnel to be watched until its actor is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Watch {
    /// Which tunnel.
    pub tunnel: TunnelId,
    /// When it was last heard.
    pub heard: LastSeen,
    /// When something was last sent to it.
    pub sent: LastSeen,
    /// Its events.
    pub lane: EventLane,
    /// Sends a heartbeat.
    pub beat: Mailbox<Beat>,
    /// Closes it.
    pub close: Mailbox<CloseTunnel>,
}

/// To a connection: send a heartbeat, unless something is on its way already.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Beat;

/// It is time to look at all tunnels.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Sweep;

/// The supervisor as everyone else sees it.
#[derive(Clone, Debug)]
pub struct HeartbeatHandle(Post<Heartbeat>);

impl HeartbeatHandle {
    /// Starts the supervisor of one worker, on that worker. `registry` is that of worker 0, `arbiter`
    /// counts the actors of its own.
    pub fn start(
        patience: Patience,
        registry: RegistryHandle,
        arbiter: &Arc<Arbiter>,
        died: mpsc::UnboundedSender<&'static str>,
    ) -> Self {
        let farewell = PermanentFarewell { kind: "heartbeat", died };
        Self(Post::start(Heartbeat {
            patience,
            registry,
            watched: Vec::new(),
            _farewell: farewell,
            presence: arbiter.enter(Heartbeat::ROLE, None),
        }))
    }

    /// Watches a tunnel.
    pub fn watch(&self, watch: Watch) {
        self.0.tell(watch);
    }

    #[cfg(test)]
    pub(crate) fn crash(&self) {
        self.0.tell(super::testing::Crash);
    }
}

/// The actor behind the handle.
#[derive(Debug)]
struct Heartbeat {
    patience: Patience,
    registry: RegistryHandle,
    watched: Vec<WatchedTunnel>,
    _farewell: PermanentFarewell,
    presence: Presence,
}

watched!(Heartbeat is Heartbeat, told: [Watch], asked: [], timers: [Sweep]);

#[derive(Debug)]
struct WatchedTunnel {
    watch: Watch,
    pulse: Pulse,
}

impl Heartbeat {
    /// How often to look: no verdict comes later than this after it is due.
    fn sweep_interval(&self) -> Duration {
        let Patience { interval, late_after, dead_after } = self.patience;
        let shortest = interval.min(late_after).min(dead_after.saturating_sub(late_after));
        (shortest / 10).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    fn sweep(&mut self) {
        let now = now();
        self.watched.retain(|watched| watched.watch.beat.is_open());
        for watched in &mut self.watched {
            let tunnel = watched.watch.tunnel;
            match watched.pulse.judge(now, &self.patience) {
                Verdict::Leave => {}
                Verdict::TurnedLate => {
                    log::warn!("tunnel late: tunnel={tunnel}");
                    self.registry.set_standing(tunnel, Standing::Late);
                }
                Verdict::Recovered => {
                    log::info!("tunnel alive again: tunnel={tunnel}");
                    self.registry.set_standing(tunnel, Standing::Ready);
                }
                Verdict::Dead => watched.watch.close.tell(CloseTunnel(TunnelEnd::Silent)),
            }
            if watched.watch.lane.is_stuck(now) {
                watched.watch.close.tell(CloseTunnel(TunnelEnd::SlowConsumer));
            }
            if watched.watch.sent.silence(now) >= self.patience.interval {
                watched.watch.beat.tell(Beat);
            }
        }
    }
}

impl Actor for Heartbeat {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let look = |heartbeat: &mut Self, ctx: &mut _| ring(heartbeat, Sweep, ctx);
        ctx.run_interval(self.sweep_interval(), look);
    }
}

impl Handler<Sweep> for Heartbeat {
    type Result = ();

    fn handle(&mut self, _: Sweep, _: &mut Self::Context) {
        self.sweep();
    }
}

impl Handler<Watch> for Heartbeat {
    type Result = ();

    fn handle(&mut self, watch: Watch, _: &mut Self::Context) {
        let pulse = Pulse::new(watch.heard.clone());
        self.watched.push(WatchedTunnel { watch, pulse });
    }
}

#[cfg(test)]
mod tests;
