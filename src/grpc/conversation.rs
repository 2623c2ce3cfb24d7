//! What both kinds of callers have in common: they speak when they may, and hang up if they go.

use std::future::Future;

use tokio::sync::mpsc;

use crate::actors::credit::Credit;
use crate::actors::pending::{PendingHandle, Reply};
use crate::actors::traffic::{MESSAGE_OVERHEAD_BYTES, Message, Part, RequestHead};
use crate::tunnel::call::Said;
use crate::tunnel::failure::Failure;

/// Replies beside parts of the answer that one call may get.
const CONTROL_REPLIES: usize = 4;

/// What a caller says next.
#[derive(Debug)]
pub enum Word {
    /// Something.
    Said(Said<Message>),
    /// What it says cannot be taken, or it is gone.
    Failed(Failure),
}

/// Where a caller's words come from.
pub trait Words {
    /// The next word. Not asked again after the last.
    fn next(&mut self) -> impl Future<Output = Word>;

    /// Until the next word the call does not go on: that time is the caller's.
    fn is_awaited(&mut self);
}

/// What a caller is allowed to do.
#[derive(Debug)]
pub enum Licence {
    /// Speak to this.
    Speak(PendingHandle),
    /// Go on, taking room in both queues.
    GoOn {
        /// The tunnel's queue.
        tunnel_queue: Credit,
        /// The call's share of it.
        call_queue: Credit,
    },
    /// Say one more word, which should be the half-close.
    Finish,
}

/// The queue of a caller's replies. It holds as many as the call's buffer can ever allow, so it is
/// never full.
pub fn replies(head: &RequestHead) -> (mpsc::Sender<Reply>, mpsc::Receiver<Reply>) {
    mpsc::channel(head.call_buffer.limit() / MESSAGE_OVERHEAD_BYTES + CONTROL_REPLIES)
}

/// The queue of a caller's licences: three at most, and the last is not waited for.
pub fn licences() -> (mpsc::Sender<Licence>, mpsc::Receiver<Licence>) {
    mpsc::channel(CONTROL_REPLIES)
}

/// Passes a caller's words on as fast as it is licensed to. `begun` if its first word has been
/// passed on already. Ends with the caller's last word.
pub async fn speak(mut words: impl Words, mut begun: bool, mut licences: mpsc::Receiver<Licence>) {
    let mut pending: Option<PendingHandle> = None;
    let mut queues: Option<(Credit, Credit)> = None;
    if !begun {
        words.is_awaited();
    }
    loop {
        // Without queues to take room in, a licence is good for one word: the first, or the last
        // of a call to a plain peer.
        if queues.is_none() {
            match licences.recv().await {
                Some(Licence::Speak(handle)) => pending = Some(handle),
                Some(Licence::GoOn { tunnel_queue, call_queue }) => {
                    queues = Some((tunnel_queue, call_queue));
                }
                Some(Licence::Finish) => words.is_awaited(),
                None => return,
            }
            if std::mem::take(&mut begun) {
                continue;
            }
        }
        let Some(pending) = &pending else { return };
        if !pass_on(words.next().await, pending, queues.as_ref()).await {
            return;
        }
    }
}

/// Passes one word on. Whether there may be another.
async fn pass_on(word: Word, pending: &PendingHandle, queues: Option<&(Credit, Credit)>) -> bool {
    let mut said = match word {
        Word::Said(said) => said,
        Word::Failed(failure) => {
            pending.left(failure);
            return false;
        }
    };
    if let (Some((tunnel, call)), Said::Message(message) | Said::LastMessage(message)) =
        (queues, &mut said)
    {
        let cost = message.cost();
        // The own share first: who waits for that must not sit on room that others could use.
        let (Some(call), Some(tunnel)) = (call.take(cost).await, tunnel.take(cost).await) else {
            // The queue is closed: the tunnel is gone, and the call is being told.
            return false;
        };
        (message.room.call_queue, message.room.tunnel_queue) = (Some(call), Some(tunnel));
    }
    let more = matches!(said, Said::Message(_));
    pending.said(said);
    more
}

/// Hangs up when it is dropped before the call is over.
#[derive(Debug, Default)]
pub struct HangUp {
    pending: Option<PendingHandle>,
    /// The call has been given up before it was admitted.
    leaving: Option<Failure>,
    /// The gateway stops.
    drained: bool,
    over: bool,
}

impl HangUp {
    /// The call has been admitted.
    fn admitted(&mut self, pending: PendingHandle) {
        if let Some(failure) = self.leaving.take() {
            pending.left(failure);
        }
        if self.drained {
            pending.drained();
        }
        self.pending = Some(pending);
    }

    /// What a reply allows the caller, or the part of the answer that it is.
    ///
    /// # Errors
    ///
    /// The part.
    pub fn heard(&mut self, reply: Reply) -> Result<Licence, Box<Part>> {
        match reply {
            Reply::Part(part) => Err(part),
            Reply::Admitted(pending) => {
                self.admitted(pending.clone());
                Ok(Licence::Speak(pending))
            }
            Reply::GoOn { tunnel_queue, call_queue } => {
                Ok(Licence::GoOn { tunnel_queue, call_queue })
            }
            Reply::AwaitHalfClose => Ok(Licence::Finish),
        }
    }

    /// Gives the call up; its end comes as an answer.
    pub fn leave(&mut self, failure: Failure) {
        match &self.pending {
            Some(pending) => pending.left(failure),
            None => self.leaving = Some(failure),
        }
    }

    /// The gateway stops: the call ends if nothing of it has begun.
    pub fn drained(&mut self) {
        self.drained = true;
        if let Some(pending) = &self.pending {
            pending.drained();
        }
    }

    /// Whether the call has been admitted.
    pub fn is_admitted(&self) -> bool {
        self.pending.is_some()
    }

    /// The call is over.
    pub fn over(&mut self) {
        self.over = true;
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take().filter(|_| !self.over) {
            pending.left(Failure::Cancelled);
        }
    }
}
