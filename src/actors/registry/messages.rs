//! What registries are told, and what they tell others.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::observe::tunnels::TunnelGauge;
use crate::tunnel::allowance::Hold;
use crate::tunnel::call::Frame;
use crate::tunnel::directory::{Routing, Standing};
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::{MethodPath, RequestId, ServiceName, TunnelId, WorkerId};
use crate::tunnel::quota::{KeyQuota, Service};

use super::RegistryHandle;
use crate::actors::credit::Credit;
use crate::actors::mailbox::Mailbox;
use crate::actors::traffic::{MESSAGE_OVERHEAD_BYTES, Message, Part, RequestHead};

/// A tunnel as registries and callers reach it.
#[derive(Debug)]
pub struct Line {
    /// The key that opened it, and how many tunnels that may have.
    pub key: KeyQuota,
    /// Takes frames of calls.
    pub carry: Mailbox<Carry>,
    /// Is told of callers that left.
    pub left: Mailbox<CallLeft>,
    /// Closes it.
    pub close: Mailbox<CloseTunnel>,
    /// Has it end after its last call.
    pub drain: Mailbox<DrainTunnel>,
    /// Room in its queue.
    pub credit: Credit,
    /// Its calls in flight, written by the registry that owns them, read by all.
    pub load: Arc<AtomicUsize>,
    /// Where it is counted.
    pub gauge: Arc<TunnelGauge>,
    /// Its peer asked for no feature: calls without a deadline get one.
    pub plain: bool,
}

impl Line {
    /// Has the tunnel end as the drain of the gateway says.
    pub(super) fn drained(&self, drain: Drain) {
        match drain {
            Drain::Begin(grace) => self.drain.tell(DrainTunnel { ask: Some(grace) }),
            Drain::Finish => self.drain.tell(DrainTunnel { ask: None }),
            Drain::Cut => self.close.tell(CloseTunnel(TunnelEnd::Draining)),
        }
    }
}

// === What a registry is told ===

/// These are all the registries.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Meet(pub Vec<RegistryHandle>);

/// Names are matched differently from now on, or other ones are declared; limits are looked at
/// again.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Reconfigure {
    /// How names are matched.
    pub routing: Routing,
    /// Names that are known although nobody has registered them.
    pub declared: Vec<ServiceName>,
}

/// A tunnel has connected and would like to serve these names.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct OfferTunnel {
    /// Which tunnel.
    pub tunnel: TunnelId,
    /// The worker it lives on.
    pub worker: WorkerId,
    /// The names it offers.
    pub services: Vec<ServiceName>,
    /// Whether it takes calls that are not one whole message.
    pub streams: bool,
    /// The way to it.
    pub line: Arc<Line>,
    /// Is told once every registry knows the tunnel.
    pub opened: Mailbox<TunnelOpened>,
}

/// Registry 0 has admitted a tunnel.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct AttachTunnel {
    /// Which tunnel.
    pub tunnel: TunnelId,
    /// The worker it lives on.
    pub worker: WorkerId,
    /// The names it offers.
    pub services: Vec<Service>,
    /// Whether it takes calls that are not one whole message.
    pub streams: bool,
    /// The way to it.
    pub line: Arc<Line>,
    /// Dropped by each registry that has the tunnel.
    pub arrival: Arc<Arrival>,
}

/// Tells a tunnel that it is open when the last registry has dropped its share of this.
#[derive(Debug)]
pub struct Arrival(Mailbox<TunnelOpened>);

/// A tunnel is gone: closed, lost or crashed.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct TunnelClosed {
    /// Which tunnel.
    pub tunnel: TunnelId,
}

/// Registry 0 has learnt that a tunnel is gone.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct DetachTunnel {
    /// Which tunnel.
    pub tunnel: TunnelId,
}

/// A tunnel may be chosen, or not.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct SetStanding {
    /// Which tunnel.
    pub tunnel: TunnelId,
    /// Whether it may be chosen.
    pub standing: Standing,
    /// Whether registry 0 has sent this on to everyone.
    pub announced: bool,
}

/// Put this request through to a tunnel that serves its path.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct ForwardRequest {
    /// The call.
    pub request: RequestId,
    /// Its head.
    pub head: Arc<RequestHead>,
    /// Its first frame.
    pub first: Frame<Message>,
    /// Who waits for the outcome.
    pub caller: Mailbox<Outcome>,
    /// Tunnels that could not take it.
    pub tried: Vec<TunnelId>,
    /// Why not: because they were gone, or what one that was there said.
    pub refused: Option<Failure>,
    /// Its place among the calls of its service, from when a tunnel was first picked.
    pub place: Option<Hold>,
}

/// Another worker's registry has picked this tunnel here for a call of its own.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct OpenHere {
    /// Which tunnel.
    pub tunnel: TunnelId,
    /// The call.
    pub call: ForwardRequest,
    /// Who picks again if the tunnel cannot take it.
    pub from: RegistryHandle,
}

/// Refuse this call if nobody could take it, after the wait for a tunnel if there is one;
/// otherwise say nothing.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Inquire {
    /// The call.
    pub request: RequestId,
    /// The method called.
    pub path: MethodPath,
    /// Who is told of a refusal.
    pub caller: Mailbox<Outcome>,
}

/// A tunnel has brought the last part of an answer.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct ForwardResponse {
    /// The call.
    pub request: RequestId,
    /// The tunnel that brought it.
    pub tunnel: TunnelId,
    /// The part.
    pub part: Box<Part>,
}

/// The tunnel is ending and its peer never saw this call.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct TakeBack {
    /// The call.
    pub request: RequestId,
    /// The tunnel.
    pub tunnel: TunnelId,
    /// Its head.
    pub head: Arc<RequestHead>,
    /// Its first frame.
    pub first: Frame<Message>,
}

/// The gateway ends a call; its peer may still be working on it.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct CallFailed {
    /// The call.
    pub request: RequestId,
    /// Why.
    pub failure: Failure,
}

/// A caller is gone.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct HangUp {
    /// The call.
    pub request: RequestId,
    /// Why.
    pub failure: Failure,
}

/// A call that was hung up never reached its peer.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct CallUnseen {
    /// The call.
    pub request: RequestId,
}

/// Admit no tunnel any more, and bring those of the worker to their end.
#[derive(Clone, Copy, Debug, actix::Message)]
#[rtype(result = "()")]
pub enum Drain {
    /// Each after its last call. Peers that take `drain` are asked to leave, and have so long.
    Begin(Duration),
    /// Each after what is still to be written: there are no calls any more.
    Finish,
    /// At once.
    Cut,
}

// === What a registry tells others ===

/// To a connection: carry this frame down the tunnel.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Carry {
    /// The call.
    pub request: RequestId,
    /// Its head.
    pub head: Arc<RequestHead>,
    /// What the caller said.
    pub frame: Frame<Message>,
    /// On the first frame: who gets the answer.
    pub opening: Option<Mailbox<Outcome>>,
}

/// To a connection: the caller of this call is gone.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct CallLeft {
    /// The call.
    pub request: RequestId,
    /// What the caller was told.
    pub failure: Failure,
}

/// To a connection: close the tunnel.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct CloseTunnel(pub TunnelEnd);

/// To a connection: end once nothing is left to be done.
#[derive(Clone, Copy, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct DrainTunnel {
    /// Ask the peer to leave and wait for that, if it takes `drain`: it has so long.
    pub ask: Option<Duration>,
}

/// To a connection: every registry knows the tunnel.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct TunnelOpened;

/// To a pending call: what became of its request.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub enum Outcome {
    /// A tunnel has the first frame.
    Opened {
        /// What carries the call.
        carried: Carried,
        /// The first frame was all there is to say.
        whole: bool,
    },
    /// There is no tunnel now; the call waits for one.
    Waits,
    /// The answer to an inquiry: nobody serves the method.
    Unserved(Failure),
    /// Only peers that take whole calls serve this; here is the first frame again.
    OnlyWhole(Frame<Message>),
    /// Nobody takes it.
    Refused(Failure),
    /// A part of the answer.
    Part(Box<Part>),
}

/// The tunnel that carries a call, for as long as the call goes on: dropped before, in whatever
/// hands or mailbox, it hangs up.
#[derive(Debug)]
pub struct Carried {
    /// The way to the tunnel.
    pub line: Arc<Line>,
    home: RegistryHandle,
    request: RequestId,
    over: bool,
}

impl Carried {
    /// The call `request` is owned by the registry `home`.
    pub(super) fn new(line: Arc<Line>, home: RegistryHandle, request: RequestId) -> Self {
        Self { line, home, request, over: false }
    }

    /// The caller leaves: the tunnel is told why.
    pub fn hang_up(&mut self, failure: Failure) {
        if !std::mem::replace(&mut self.over, true) {
            self.home.hang_up(self.request, failure);
        }
    }

    /// The answer is complete; there is nobody to hang up on.
    pub fn is_over(&mut self) {
        self.over = true;
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.hang_up(Failure::Panic);
    }
}

impl Arrival {
    pub(super) fn new(opened: Mailbox<TunnelOpened>) -> Self {
        Self(opened)
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.0.tell(TunnelOpened);
    }
}

impl ForwardRequest {
    /// A request that no tunnel has been tried for.
    pub fn new(
        request: RequestId,
        head: Arc<RequestHead>,
        first: Frame<Message>,
        caller: Mailbox<Outcome>,
    ) -> Self {
        Self { request, head, first, caller, tried: Vec::new(), refused: None, place: None }
    }

    /// The same request after `tunnel` could not take it. That one was there and had no room says
    /// more than that another was gone.
    pub(super) fn refused_by(mut self, tunnel: TunnelId, reason: Failure) -> Box<Self> {
        self.tried.push(tunnel);
        let known = self.refused.filter(|known| *known != Failure::NoTunnel);
        self.refused = known.or(Some(reason));
        Box::new(self)
    }

    /// What the first frame counts for in the tunnel's queue, in bytes.
    pub fn cost(&self) -> usize {
        self.first.message().map_or(MESSAGE_OVERHEAD_BYTES, Message::cost)
    }
}
