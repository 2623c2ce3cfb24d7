//! The entry of one worker: admits calls and starts a [`Pending`] for each.

use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::mpsc;

use crate::observe::cast::Presence;
use crate::observe::limits::{self, Limit};
use crate::observe::tally::{Count, count};
use crate::tunnel::allowance::Allowance;
use crate::tunnel::call::Said;
use crate::tunnel::failure::Failure;

use super::farewell::PermanentFarewell;
use super::mailbox::{Post, Watched, watched};
use super::pending::{CallerLine, Pending, Reply, Surroundings};
use super::traffic::{Message, RequestHead};

/// A call has come.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Admit {
    /// What is known of it.
    pub head: Arc<RequestHead>,
    /// What its caller has said already.
    pub first: Option<Said<Message>>,
    /// Where its caller listens.
    pub replies: mpsc::Sender<Reply>,
}

/// Admit no call any more.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
struct Drain;

/// The entry as everyone else sees it.
#[derive(Clone, Debug)]
pub struct EntryHandle(Post<Entry>);

impl EntryHandle {
    /// Starts the entry of one worker, on that worker. `calls` are all calls of the gateway.
    pub fn start(
        calls: Allowance,
        surroundings: Surroundings,
        died: mpsc::UnboundedSender<&'static str>,
    ) -> Self {
        let farewell = PermanentFarewell { kind: "entry", died };
        let presence = surroundings.arbiter.enter(Entry::ROLE, None);
        let entry = Entry { calls, surroundings, draining: false, _farewell: farewell, presence };
        Self(Post::start(entry))
    }

    /// Admits a call, or refuses it through its `replies`.
    pub fn admit(&self, call: Admit) {
        self.0.tell(call);
    }

    /// Refuses every further call as draining. Returns when all that came before have been admitted
    /// or refused.
    pub async fn drain(&self) {
        // An entry that is gone admits nothing either.
        let _ = self.0.ask(Drain).await;
    }

    #[cfg(test)]
    pub(crate) fn crash(&self) {
        self.0.tell(super::testing::Crash);
    }
}

/// The actor behind the handle.
#[derive(Debug)]
struct Entry {
    calls: Allowance,
    surroundings: Surroundings,
    draining: bool,
    _farewell: PermanentFarewell,
    presence: Presence,
}

watched!(Entry is Entry, told: [Admit], asked: [Drain], timers: []);

impl Actor for Entry {
    type Context = Context<Self>;
}

impl Handler<Admit> for Entry {
    type Result = ();

    fn handle(&mut self, Admit { head, first, replies }: Admit, _: &mut Self::Context) {
        count(Count::CallStarted);
        let caller = CallerLine::new(replies);
        if self.draining {
            return caller.fail(Failure::Draining);
        }
        if let Some(slot) = self.calls.take(1) {
            let caller = caller.holding(slot);
            Pending::begin(head, first, caller, self.surroundings.clone());
        } else {
            limits::hit(Limit::CallsMax);
            caller.fail(Failure::InflightLimit);
        }
    }
}

impl Handler<Drain> for Entry {
    type Result = MessageResult<Drain>;

    fn handle(&mut self, _: Drain, _: &mut Self::Context) -> Self::Result {
        self.draining = true;
        MessageResult(())
    }
}

#[cfg(test)]
mod tests;
