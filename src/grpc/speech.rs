//! What a caller says on its stream, and how long it may take over one message.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::actors::traffic::{Message, Room};
use crate::tunnel::call::Said;
use crate::tunnel::failure::Failure;

use super::call_record::Hearing;
use super::conversation::{Word, Words};
use super::stream::{MessageStream, Next};

/// A caller's words. A call may be silent for as long as it likes, but a message that has begun must
/// come: what came of it is held for nothing until then.
#[derive(Debug)]
pub(super) struct Speech {
    messages: MessageStream,
    message_timeout: Duration,
    /// Since when the rest of a message has been waited for.
    waiting_since: Option<Instant>,
    /// There is none until a message has come in part, and then one for the whole call: it is set
    /// again only when it goes off too early, for a message before.
    timer: Option<Pin<Box<Sleep>>>,
    hearing: Hearing,
}

impl Speech {
    /// Each message has `message_timeout` to come, counted while it is waited for.
    pub(super) fn new(
        messages: MessageStream,
        message_timeout: Duration,
        hearing: Hearing,
    ) -> Self {
        Self { messages, message_timeout, waiting_since: None, timer: None, hearing }
    }

    fn poll_word(&mut self, cx: &mut Context<'_>) -> Poll<Word> {
        match self.messages.poll_next(cx) {
            Poll::Ready(next) => {
                self.waiting_since = None;
                let word = word(next);
                if let Word::Said(said) = &word {
                    self.hearing.said(said);
                }
                Poll::Ready(word)
            }
            Poll::Pending if self.messages.is_in_part() => self.poll_overdue(cx),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Word> {
        let now = Instant::now();
        let until = *self.waiting_since.get_or_insert(now) + self.message_timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        while timer.as_mut().poll(cx).is_ready() {
            if until <= now {
                return Poll::Ready(Word::Failed(Failure::MessageOverdue));
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl Words for Speech {
    async fn next(&mut self) -> Word {
        poll_fn(|cx| self.poll_word(cx)).await
    }

    fn is_awaited(&mut self) {
        self.hearing.is_awaited();
    }
}

fn word(next: Next) -> Word {
    match next {
        Next::Message { message, last } if message.flag <= 1 => {
            let compressed = message.flag == 1;
            let message = Message { payload: message.payload, compressed, room: Room::default() };
            Word::Said(if last { Said::LastMessage(message) } else { Said::Message(message) })
        }
        Next::Message { .. } | Next::CutOff => Word::Failed(Failure::Protocol),
        Next::End => Word::Said(Said::HalfClose),
        Next::TooLarge => Word::Failed(Failure::MessageTooLarge),
        Next::NoRoom => Word::Failed(Failure::NoRoom),
        Next::Broken(_) => Word::Failed(Failure::Cancelled),
    }
}
