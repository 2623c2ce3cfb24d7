//! Reading and writing one h2 stream.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};

use super::framing::{Deframer, RawMessage};
use crate::tunnel::allowance::{Allowance, Hold};

/// Waits until at least one byte may be sent; says how many.
///
/// # Errors
///
/// When the stream is reset or its connection broke.
pub async fn capacity(stream: &mut SendStream<Bytes>, wanted: usize) -> Result<usize, h2::Error> {
    capacity_watched(stream, wanted, || ()).await
}

/// The same. If it has to wait, it begins with `waits` and keeps what that returns until it is over.
///
/// # Errors
///
/// When the stream is reset or its connection broke.
pub async fn capacity_watched<W>(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
    waits: impl Fn() -> W,
) -> Result<usize, h2::Error> {
    let mut waiting = None;
    stream.reserve_capacity(wanted);
    poll_fn(|cx| {
        // `poll_capacity` tells changes only, so what is there already is looked at first.
        while stream.capacity() == 0 {
            match stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Err(h2::Reason::STREAM_CLOSED.into())),
                Poll::Pending => {
                    waiting.get_or_insert_with(&waits);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(stream.capacity()))
    })
    .await
}

/// Messages as they come in on a stream.
#[derive(Debug)]
pub struct MessageStream {
    stream: RecvStream,
    deframer: Deframer,
    /// Room for messages that have come in part: their sender's window is given back already.
    gathering: Allowance,
    gathered: Option<Hold>,
}

/// What comes next on a stream.
#[derive(Debug)]
pub enum Next {
    /// A message; `last` if the half-close came with it.
    Message {
        /// The message.
        message: RawMessage,
        /// Nothing follows.
        last: bool,
    },
    /// The half-close.
    End,
    /// A message over the limit.
    TooLarge,
    /// There is no room for what has come of a message.
    NoRoom,
    /// The half-close in the middle of a message.
    CutOff,
    /// The stream was reset or its connection broke: that is never a half-close.
    Broken(h2::Error),
}

impl MessageStream {
    /// Reads messages of up to `message_bytes_max` bytes. What has come of them in part takes room
    /// in `gathering`.
    pub fn new(stream: RecvStream, message_bytes_max: usize, gathering: Allowance) -> Self {
        let deframer = Deframer::new(message_bytes_max);
        Self { stream, deframer, gathering, gathered: None }
    }

    /// The sender has shown who it is: from now on its messages may have up to `message_bytes_max`
    /// bytes, and nobody else's take the room for them.
    pub fn admit(&mut self, message_bytes_max: usize) {
        self.deframer.admit(message_bytes_max);
        (self.gathering, self.gathered) = (Allowance::new(usize::MAX), None);
    }

    /// What comes next. The sender's window grows only as this is asked.
    pub async fn next(&mut self) -> Next {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same, for who waits for something else too.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            match self.deframer.next_message() {
                Err(_) => return Poll::Ready(Next::TooLarge),
                Ok(Some(message)) => {
                    self.gathered = None;
                    let last = self.deframer.is_empty() && self.stream.is_end_stream();
                    return Poll::Ready(Next::Message { message, last });
                }
                Ok(None) => {}
            }
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(chunk)) => {
                    let released = self.stream.flow_control().release_capacity(chunk.len());
                    if let Err(error) = released {
                        return Poll::Ready(Next::Broken(error));
                    }
                    self.deframer.push(chunk);
                    if !self.take_room() {
                        return Poll::Ready(Next::NoRoom);
                    }
                }
                Some(Err(error)) => return Poll::Ready(Next::Broken(error)),
                None if self.deframer.is_empty() => return Poll::Ready(Next::End),
                None => return Poll::Ready(Next::CutOff),
            }
        }
    }

    /// Whether a message has begun and its rest is missing.
    pub fn is_in_part(&self) -> bool {
        !self.deframer.is_empty()
    }

    fn take_room(&mut self) -> bool {
        let held = self.gathered.as_ref().map_or(0, Hold::amount);
        let more = self.deframer.gathered_bytes().saturating_sub(held);
        if more == 0 {
            return true;
        }
        let room = self.gathering.take(more);
        let taken = room.is_some();
        Hold::join(&mut self.gathered, room);
        taken
    }
}
