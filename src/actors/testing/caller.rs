//! A caller as its pending call knows it.

use tokio::sync::mpsc;

use super::{failure_in, patiently};
use crate::actors::credit::Credit;
use crate::actors::pending::{PendingHandle, Reply};
use crate::actors::traffic::Part;
use crate::tunnel::failure::Failure;

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
