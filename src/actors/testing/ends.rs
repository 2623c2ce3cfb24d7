//! The ends of tunnels and calls that a test holds in its hands.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::{failure_in, next, patiently};
use crate::actors::connection::ConnectionHandle;
use crate::actors::credit::Credit;
use crate::actors::down::DownEnd;
use crate::actors::pending::{PendingHandle, Reply};
use crate::actors::registry::{
    CallLeft, Carried, Carry, CloseTunnel, DrainTunnel, ForwardResponse, Line, Outcome,
    RegistryHandle, TunnelOpened,
};
use crate::actors::traffic::{Message, Outgoing, Part};
use crate::observe::tunnels::TunnelGauge;
use crate::tunnel::allowance::Allowance;
use crate::tunnel::call::Frame;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::{RequestId, TunnelId};
use crate::tunnel::liveness::LastSeen;

/// A tunnel without a connection.
pub(crate) struct Wire {
    pub(crate) id: TunnelId,
    pub(crate) line: Arc<Line>,
    pub(crate) home: RegistryHandle,
    pub(crate) carried: mpsc::UnboundedReceiver<Carry>,
    pub(crate) left: mpsc::UnboundedReceiver<CallLeft>,
    pub(crate) closed: mpsc::UnboundedReceiver<CloseTunnel>,
    pub(crate) drained: mpsc::UnboundedReceiver<DrainTunnel>,
    pub(crate) opened: mpsc::UnboundedReceiver<TunnelOpened>,
}

impl Wire {
    /// Brings the last part of an answer to its registry.
    pub(crate) fn answer(&self, request: RequestId, part: Box<Part>) {
        self.home.answer(ForwardResponse { request, tunnel: self.id, part });
    }

    /// Its calls in flight, as it is published.
    pub(crate) fn load(&self) -> usize {
        self.line.load.load(Ordering::Relaxed)
    }
}

/// A tunnel with a real connection, seen from its peer.
pub(crate) struct Tunnel {
    pub(crate) connection: ConnectionHandle,
    pub(crate) down: DownEnd,
    pub(crate) heard: LastSeen,
    pub(crate) sent: LastSeen,
    pub(crate) credit: Credit,
    pub(crate) buffer: Allowance,
    pub(crate) own_calls: Allowance,
    pub(crate) gauge: Arc<TunnelGauge>,
}

impl Tunnel {
    /// The next frame that comes down.
    pub(crate) async fn next(&self) -> Outgoing {
        patiently(self.down.ready()).await;
        self.down.try_next().expect("the tunnel is still open")
    }

    /// The next frame, which is one of a call.
    pub(crate) async fn next_request(&self) -> (RequestId, Frame<Message>) {
        match self.next().await {
            Outgoing::Request { request, frame, .. } => (request, frame),
            other => panic!("no frame of a call: {other:?}"),
        }
    }

    /// The next frame, which is a cancel.
    pub(crate) async fn next_cancel(&self) -> (RequestId, Failure) {
        match self.next().await {
            Outgoing::Cancel { request, failure } => (request, failure),
            other => panic!("no cancel: {other:?}"),
        }
    }
}

/// A caller as registries know it.
pub(crate) struct Called {
    pub(crate) request: RequestId,
    pub(crate) outcomes: mpsc::UnboundedReceiver<Outcome>,
    /// What carries the call, from when it is opened. The registries know the caller's end from
    /// what the test tells them, so that nothing is said when this is dropped.
    pub(super) carried: Option<Carried>,
}

impl Called {
    /// The line of the call, which has been opened.
    pub(crate) async fn opened(&mut self) -> Arc<Line> {
        match next(&mut self.outcomes).await {
            Outcome::Opened { carried, .. } => {
                let line = carried.line.clone();
                if let Some(mut before) = self.carried.replace(carried) {
                    before.is_over();
                }
                line
            }
            other => panic!("not opened: {other:?}"),
        }
    }

    /// There is no tunnel, and the registry lets the call wait for one.
    pub(crate) async fn waits(&mut self) {
        match next(&mut self.outcomes).await {
            Outcome::Waits => {}
            other => panic!("does not wait: {other:?}"),
        }
    }

    pub(crate) async fn refused(&mut self) -> Failure {
        match next(&mut self.outcomes).await {
            Outcome::Refused(failure) => failure,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(crate) async fn part(&mut self) -> Part {
        match next(&mut self.outcomes).await {
            Outcome::Part(part) => *part,
            other => panic!("no part of an answer: {other:?}"),
        }
    }

    /// How the gateway ended the call.
    pub(crate) async fn failure(&mut self) -> Failure {
        failure_in(&self.part().await)
    }

    /// Nobody can tell this caller anything any more, and nothing more was said.
    pub(crate) async fn is_over(&mut self) {
        let more = patiently(self.outcomes.recv()).await;
        assert!(more.is_none(), "one end is enough: {more:?}");
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        if let Some(carried) = &mut self.carried {
            carried.is_over();
        }
    }
}

/// A caller as its pending call knows it.
pub(crate) struct Caller {
    pub(crate) replies: mpsc::Receiver<Reply>,
}

impl Caller {
    pub(crate) async fn next(&mut self) -> Reply {
        patiently(self.replies.recv()).await.expect("the call goes on")
    }

    pub(crate) async fn admitted(&mut self) -> PendingHandle {
        match self.next().await {
            Reply::Admitted(pending) => pending,
            other => panic!("not admitted: {other:?}"),
        }
    }

    /// The rooms to take, of the tunnel and of the call, now that it has a tunnel.
    pub(crate) async fn go_on(&mut self) -> (Credit, Credit) {
        match self.next().await {
            Reply::GoOn { tunnel_queue, call_queue } => (tunnel_queue, call_queue),
            other => panic!("may not go on: {other:?}"),
        }
    }

    pub(crate) async fn part(&mut self) -> Part {
        match self.next().await {
            Reply::Part(part) => *part,
            other => panic!("no part of an answer: {other:?}"),
        }
    }

    /// How the gateway ended the call; it has said so once and is gone.
    pub(crate) async fn failure(&mut self) -> Failure {
        let failure = failure_in(&self.part().await);
        self.is_over().await;
        failure
    }

    /// The call is gone and has said nothing more.
    pub(crate) async fn is_over(&mut self) {
        let more = patiently(self.replies.recv()).await;
        assert!(more.is_none(), "one end is enough: {more:?}");
    }
}
