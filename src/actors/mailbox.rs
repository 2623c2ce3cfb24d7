//! The way into an actor: every message passes here, is counted, and knows when it was sent.
//!
//! An actor names its messages once, with `watched!`; nothing else can be sent to it.

use std::fmt;
use std::sync::Arc;

use actix::dev::MessageResponse;
use actix::prelude::*;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::observe::cast::{Gauge, Presence, Role};
use crate::observe::ticks::{self, Tick};

/// An actor whose messages are counted.
pub(super) trait Watched: Actor<Context = Context<Self>> {
    /// What it is, and the names of its messages.
    const ROLE: &'static Role;

    /// That it is there; it owns this as its last field.
    fn presence(&self) -> &Presence;
}

/// That an actor handles a message, and under which number it is counted.
pub(super) trait Hears<M: Message>: Watched + Handler<M> {
    /// The place of its name in the role of the actor.
    const NUMBER: usize;
}

/// A message on its way, in an envelope.
#[derive(Debug)]
pub(super) struct Posted<M> {
    pub(super) message: M,
    pub(super) posted_at: Tick,
}

/// A question on its way.
#[derive(Debug)]
pub(super) struct Asked<M: Message> {
    pub(super) question: Posted<M>,
    pub(super) answer: oneshot::Sender<M::Result>,
}

impl<M> Message for Posted<M> {
    type Result = ();
}

impl<M: Message> Message for Asked<M> {
    type Result = ();
}

/// The address of an actor. Clones share it, which costs less than a clone of what is inside.
pub(super) struct Post<A: Watched>(Arc<Address<A>>);

struct Address<A: Watched> {
    actor: Addr<A>,
    gauge: Arc<Gauge>,
}

impl<A: Watched> Post<A> {
    /// The address of an actor that is about to run.
    pub(super) fn new(actor: Addr<A>, presence: &Presence) -> Self {
        Self(Arc::new(Address { actor, gauge: presence.gauge().clone() }))
    }

    /// Starts an actor on the current arbiter.
    pub(super) fn start(actor: A) -> Self {
        let ctx = Context::new();
        let post = Self::of(&actor, &ctx);
        ctx.run(actor);
        post
    }

    /// The actor's own address.
    pub(super) fn of(actor: &A, ctx: &Context<A>) -> Self {
        Self::new(ctx.address(), actor.presence())
    }

    /// Sends a message. To an actor that is gone it is a dead letter.
    pub(super) fn tell<M>(&self, message: M)
    where
        M: Send + 'static,
        A: Handler<Posted<M>>,
    {
        self.0.tell(message);
    }

    /// Whether the actor is there.
    pub(super) fn is_open(&self) -> bool {
        self.0.gauge.is_alive()
    }

    /// Sends a question; `None` when nobody is left to answer it. It does not go without being
    /// awaited, and once gone is handled even if the asker is gone.
    pub(super) async fn ask<M>(&self, question: M) -> Option<M::Result>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<Asked<M>>,
    {
        if !self.0.gauge.post() {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let question = Posted { message: question, posted_at: ticks::now() };
        self.0.actor.do_send(Asked { question, answer });
        answered.await.ok()
    }

    /// The address itself, for what only a test asks.
    #[cfg(test)]
    pub(super) fn uncounted(&self) -> &Addr<A> {
        &self.0.actor
    }

    /// The way in for one kind of message only.
    pub(super) fn mailbox<M>(&self) -> Mailbox<M>
    where
        M: Send + 'static,
        A: Handler<Posted<M>>,
    {
        Mailbox(self.0.clone())
    }
}

/// Takes one kind of message.
trait Takes<M>: Send + Sync {
    fn tell(&self, message: M);
    fn is_open(&self) -> bool;
}

impl<A, M> Takes<M> for Address<A>
where
    M: Send + 'static,
    A: Watched + Handler<Posted<M>>,
{
    #[inline]
    fn tell(&self, message: M) {
        if self.gauge.post() {
            self.actor.do_send(Posted { message, posted_at: ticks::now() });
        }
    }

    fn is_open(&self) -> bool {
        self.gauge.is_alive()
    }
}

/// The way into some actor for one kind of message: who holds it need not know which actor.
pub struct Mailbox<M>(Arc<dyn Takes<M>>);

impl<M> Mailbox<M> {
    /// Sends a message. To an actor that is gone it is a dead letter.
    pub fn tell(&self, message: M) {
        self.0.tell(message);
    }

    /// Whether the actor is there.
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }
}

impl<M: Send + 'static> Mailbox<M> {
    /// The way to a task that is no actor, for so many messages: to be chosen so that there are never
    /// more.
    pub fn of_task(messages_max: usize) -> (Self, mpsc::Receiver<M>) {
        let (sender, receiver) = mpsc::channel(messages_max);
        (Self(Arc::new(sender)), receiver)
    }
}

impl<M: Send + 'static> Takes<M> for mpsc::Sender<M> {
    fn tell(&self, message: M) {
        if let Err(TrySendError::Full(_)) = self.try_send(message) {
            debug_assert!(false, "there is room for all that can come");
        }
    }

    fn is_open(&self) -> bool {
        !self.is_closed()
    }
}

/// Handles a message and counts it.
#[inline]
pub(super) fn handle<A, M>(actor: &mut A, posted: Posted<M>, ctx: &mut Context<A>) -> A::Result
where
    A: Hears<M>,
    M: Message,
{
    let begun_at = actor.presence().begin(A::NUMBER, posted.posted_at);
    let result = Handler::<M>::handle(actor, posted.message, ctx);
    actor.presence().end(A::NUMBER, begun_at);
    result
}

/// Handles what a timer brings, which never was in the mailbox. For timers only: an actor does not
/// speak to itself while it handles something else.
pub(super) fn ring<A, M>(actor: &mut A, message: M, ctx: &mut Context<A>)
where
    A: Hears<M>,
    A::Result: MessageResponse<A, M>,
    M: Message<Result = ()>,
{
    let begun_at = actor.presence().begin_timer(A::NUMBER);
    Handler::<M>::handle(actor, message, ctx);
    actor.presence().end(A::NUMBER, begun_at);
}

/// Names the messages of an actor: those it is told, the questions it is asked, what its timers
/// bring. The actor has a field `presence`.
macro_rules! watched {
    (
        $actor:ident is $kind:ident,
        told: [$($told:ident),* $(,)?],
        asked: [$($asked:ident),* $(,)?],
        timers: [$($timer:ident),* $(,)?] $(,)?
    ) => {
        const _: () = {
            use $crate::actors::mailbox::{self, Hears, Posted, Watched};
            use $crate::observe::cast::{Kind, MESSAGES_MAX, Presence, Role};

            /// The numbers of the messages.
            enum Number {
                $($told,)* $($asked,)* $($timer,)*
                #[cfg(test)]
                Crash,
            }

            impl Watched for $actor {
                const ROLE: &'static Role = &Role {
                    kind: Kind::$kind,
                    messages: &[
                        $(stringify!($told),)* $(stringify!($asked),)* $(stringify!($timer),)*
                        #[cfg(test)]
                        "Crash",
                    ],
                };

                fn presence(&self) -> &Presence {
                    &self.presence
                }
            }

            const _: () = assert!(<$actor as Watched>::ROLE.messages.len() <= MESSAGES_MAX);

            $(impl Hears<$told> for $actor {
                const NUMBER: usize = Number::$told as usize;
            }

            impl Handler<Posted<$told>> for $actor {
                type Result = ();

                fn handle(&mut self, posted: Posted<$told>, ctx: &mut Self::Context) {
                    mailbox::handle(self, posted, ctx);
                }
            })*

            $(impl Hears<$asked> for $actor {
                const NUMBER: usize = Number::$asked as usize;
            }

            impl Handler<mailbox::Asked<$asked>> for $actor {
                type Result = ();

                fn handle(&mut self, asked: mailbox::Asked<$asked>, ctx: &mut Self::Context) {
                    let MessageResult(answer) = mailbox::handle(self, asked.question, ctx);
                    // Who asked may be gone.
                    let _ = asked.answer.send(answer);
                }
            })*

            $(impl Hears<$timer> for $actor {
                const NUMBER: usize = Number::$timer as usize;
            })*

            #[cfg(test)]
            use $crate::actors::testing::Crash;

            #[cfg(test)]
            impl Hears<Crash> for $actor {
                const NUMBER: usize = Number::Crash as usize;
            }

            #[cfg(test)]
            impl Handler<Posted<Crash>> for $actor {
                type Result = ();

                fn handle(&mut self, posted: Posted<Crash>, ctx: &mut Self::Context) {
                    mailbox::handle(self, posted, ctx);
                }
            }

            #[cfg(test)]
            impl Handler<Crash> for $actor {
                type Result = ();

                fn handle(&mut self, _: Crash, _: &mut Self::Context) {
                    panic!("a bug in {}", stringify!($actor));
                }
            }
        };
    };
}

pub(super) use watched;

impl<A: Watched> Clone for Post<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A: Watched> fmt::Debug for Post<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Post({})", A::ROLE.kind.name())
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mailbox")
    }
}

#[cfg(test)]
impl<M: Send + 'static> Takes<M> for mpsc::UnboundedSender<M> {
    fn tell(&self, message: M) {
        // A test that does not look any more has dropped its end.
        drop(self.send(message));
    }

    fn is_open(&self) -> bool {
        true
    }
}

#[cfg(test)]
impl<M: Send + 'static> Mailbox<M> {
    /// The way to a test.
    pub(super) fn of_test(test: mpsc::UnboundedSender<M>) -> Self {
        Self(Arc::new(test))
    }
}

#[cfg(test)]
mod tests;
