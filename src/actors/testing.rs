//! What every actor test needs: a stand-in that hands over what it is told.

use actix::prelude::*;
use tokio::sync::mpsc;

/// An actor in the shape of a recipient, and everything that it is sent.
pub(crate) fn probe<M>() -> (Recipient<M>, mpsc::UnboundedReceiver<M>)
where
    M: Message<Result = ()> + Send + Unpin + 'static,
{
    let (sender, receiver) = mpsc::unbounded_channel();
    (Probe { sender }.start().recipient(), receiver)
}

struct Probe<M> {
    sender: mpsc::UnboundedSender<M>,
}

impl<M: Unpin + 'static> Actor for Probe<M> {
    type Context = Context<Self>;
}

impl<M: Message<Result = ()> + Unpin + 'static> Handler<M> for Probe<M> {
    type Result = ();

    fn handle(&mut self, message: M, _: &mut Context<Self>) {
        // A test that does not look any more has dropped its end.
        drop(self.sender.send(message));
    }
}

/// A bug in an actor, on demand.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Crash;
