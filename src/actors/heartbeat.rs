//! The heartbeat supervisor of one worker: notices tunnels that have gone silent.
//!
//! It reads when each tunnel was last heard, a few times in the shortest wait, instead of being
//! told of every frame. A late tunnel is not chosen for new calls; a dead one is closed.

use std::time::Duration;

use actix::prelude::*;
use tokio::sync::mpsc;

use crate::tunnel::directory::Standing;
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::id::TunnelId;
use crate::tunnel::liveness::{LastSeen, Patience, Pulse, Verdict};

use super::farewell::PermanentFarewell;
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
    /// Sends a heartbeat.
    pub beat: Recipient<Beat>,
    /// Closes it.
    pub close: Recipient<CloseTunnel>,
}

/// To a connection: send a heartbeat, unless something is on its way already.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Beat;

/// The supervisor as everyone else sees it.
#[derive(Clone, Debug)]
pub struct HeartbeatHandle(Addr<Heartbeat>);

impl HeartbeatHandle {
    /// Starts the supervisor of one worker, on that worker. `registry` is that of worker 0.
    pub fn start(
        patience: Patience,
        registry: RegistryHandle,
        died: mpsc::UnboundedSender<&'static str>,
    ) -> Self {
        let farewell = PermanentFarewell { kind: "heartbeat", died };
        let supervisor = Heartbeat { patience, registry, watched: Vec::new(), _farewell: farewell };
        Self(supervisor.start())
    }

    /// Watches a tunnel.
    pub fn watch(&self, watch: Watch) {
        self.0.do_send(watch);
    }

    #[cfg(test)]
    pub(crate) fn crash(&self) {
        self.0.do_send(super::testing::Crash);
    }
}

/// The actor behind the handle.
#[derive(Debug)]
struct Heartbeat {
    patience: Patience,
    registry: RegistryHandle,
    watched: Vec<Watched>,
    _farewell: PermanentFarewell,
}

#[derive(Debug)]
struct Watched {
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

    fn sweep(&mut self, _: &mut Context<Self>) {
        let now = now();
        self.watched.retain(|watched| watched.watch.beat.connected());
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
                Verdict::Dead => watched.watch.close.do_send(CloseTunnel(TunnelEnd::Silent)),
            }
            if watched.watch.sent.silence(now) >= self.patience.interval {
                watched.watch.beat.do_send(Beat);
            }
        }
    }
}

impl Actor for Heartbeat {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.sweep_interval(), Self::sweep);
    }
}

impl Handler<Watch> for Heartbeat {
    type Result = ();

    fn handle(&mut self, watch: Watch, _: &mut Self::Context) {
        let pulse = Pulse::new(watch.heard.clone());
        self.watched.push(Watched { watch, pulse });
    }
}

#[cfg(test)]
impl Handler<super::testing::Crash> for Heartbeat {
    type Result = ();

    fn handle(&mut self, _: super::testing::Crash, _: &mut Self::Context) {
        panic!("a bug in the supervisor");
    }
}

#[cfg(test)]
mod tests;
