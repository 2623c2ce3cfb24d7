//! A registry as everyone else sees it.

use tokio::sync::mpsc;

use crate::observe::window::Window;
use crate::tunnel::directory::{Routing, Standing};
use crate::tunnel::failure::Failure;
use crate::tunnel::id::{RequestId, ServiceName, TunnelId, WorkerId};
use crate::tunnel::waiting::WaitingRoom;

use crate::actors::live::LiveLimits;
use crate::actors::mailbox::Post;

use super::{
    CallFailed, CallUnseen, Drain, ForwardRequest, ForwardResponse, HangUp, Inquire, Meet,
    OfferTunnel, Reconfigure, Registry, SetStanding, TakeBack, TunnelClosed,
};

/// A registry as everyone else sees it.
#[derive(Clone, Debug)]
pub struct RegistryHandle(pub(super) Post<Registry>);

/// What a registry needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How names are matched.
    pub routing: Routing,
    /// How much of everything.
    pub limits: LiveLimits,
    /// Names that are known although nobody has registered them.
    pub declared: Vec<ServiceName>,
    /// The calls that wait for a tunnel, counted by all workers together.
    pub waiting_room: WaitingRoom,
    /// Where everything is counted.
    pub window: Window,
}

impl RegistryHandle {
    /// Starts the registry of one worker, on that worker.
    pub fn start(
        worker: WorkerId,
        settings: &Settings,
        died: mpsc::UnboundedSender<&'static str>,
    ) -> Self {
        Self(Post::start(Registry::new(worker, settings, died)))
    }

    /// Introduces all registries, in the order of their workers, before any tunnel comes.
    pub fn meet(&self, registries: Vec<Self>) {
        self.0.tell(Meet(registries));
    }

    /// Offers a tunnel. For registry 0 only.
    pub fn offer(&self, offer: OfferTunnel) {
        self.0.tell(offer);
    }

    /// A tunnel is gone. For registry 0 only.
    pub fn tunnel_closed(&self, tunnel: TunnelId) {
        self.0.tell(TunnelClosed { tunnel });
    }

    /// A tunnel may be chosen again, or no longer. For registry 0 only.
    pub fn set_standing(&self, tunnel: TunnelId, standing: Standing) {
        self.0.tell(SetStanding { tunnel, standing, announced: false });
    }

    /// Puts a request through.
    pub fn forward(&self, request: ForwardRequest) {
        self.0.tell(request);
    }

    /// Asks whether there is anybody at all who could take a call, or soon will be.
    pub fn inquire(&self, inquiry: Inquire) {
        self.0.tell(inquiry);
    }

    /// The last part of an answer.
    pub fn answer(&self, response: ForwardResponse) {
        self.0.tell(response);
    }

    /// A call that its tunnel cannot carry any more, and of which the peer has seen nothing.
    pub fn take_back(&self, call: TakeBack) {
        self.0.tell(call);
    }

    /// The gateway ends a call whose peer may still be working on it.
    pub fn fail(&self, failed: CallFailed) {
        self.0.tell(failed);
    }

    /// A caller is gone. For the registry that opened the call, and for the one that was asked for
    /// a tunnel, where the call may be waiting.
    pub fn hang_up(&self, request: RequestId, failure: Failure) {
        self.0.tell(HangUp { request, failure });
    }

    /// A call that was hung up never reached its peer.
    pub fn call_unseen(&self, request: RequestId) {
        self.0.tell(CallUnseen { request });
    }

    /// The configuration has changed, and the limits with it.
    pub fn reconfigure(&self, message: Reconfigure) {
        self.0.tell(message);
    }

    /// Admits no tunnel any more, and brings those of the worker to their end.
    pub fn drain(&self, drain: Drain) {
        self.0.tell(drain);
    }

    #[cfg(test)]
    pub(crate) fn crash(&self) {
        self.0.tell(crate::actors::testing::Crash);
    }
}
