//! What callers of the service send.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use h2::RecvStream;
use http::HeaderMap;
use prost::Message;
use tonic::Status;

use crate::grpc::framing::RawMessage;
use crate::grpc::limits_reached::by_failure;
use crate::grpc::stream::{MessageStream, Next};
use crate::grpc::{metadata, status};
use crate::observe::limits;
use crate::tunnel::allowance::Allowance;
use crate::tunnel::failure::Failure;
use crate::tunnel::limits::Limits;

/// What a message may have beside its payload and its metadata: the id and the topic, the names of
/// fields, the type of a `CloudEvent`'s data.
const OVERHEAD_BYTES: usize = 16 * 1024;

/// The messages of one call.
pub(super) struct Requests {
    messages: MessageStream,
    /// How long a message may take once it has begun, and the first of a caller that has one to say.
    patience: Duration,
    /// The caller compresses what it says.
    is_compressed: bool,
}

impl Requests {
    /// What comes in on a stream. What has come of a message in part takes room in `gathering`.
    pub(super) fn new(
        stream: RecvStream,
        headers: &HeaderMap,
        limits: &Limits,
        gathering: Allowance,
    ) -> Self {
        let bytes_max = limits.event_bytes_max + limits.metadata_bytes_max + OVERHEAD_BYTES;
        let messages = MessageStream::new(stream, bytes_max, gathering);
        let encoding = headers.get(metadata::ENCODING);
        let is_compressed = encoding.is_some_and(|encoding| encoding != "identity");
        Self { messages, patience: limits.message_timeout, is_compressed }
    }

    /// The next message, which may begin when it likes; none after the half-close.
    pub(super) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        let begun = poll_fn(|cx| match self.messages.poll_next(cx) {
            Poll::Ready(next) => Poll::Ready(Some(next)),
            Poll::Pending if self.messages.is_in_part() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        let next = match begun.await {
            Some(next) => next,
            // What came of it is held for nothing until its rest comes.
            None => match tokio::time::timeout(self.patience, self.messages.next()).await {
                Ok(next) => next,
                Err(_) => return Err(overdue()),
            },
        };
        let failure = match next {
            Next::Message { message: RawMessage { flag: 0, payload }, .. } => {
                let read = M::decode(payload);
                return read.map(Some).map_err(|error| status::bad_event(error.to_string()));
            }
            Next::End => return Ok(None),
            Next::Message { message: RawMessage { flag: 1, .. }, .. } if self.is_compressed => {
                return Err(status::takes_no_compression());
            }
            Next::Message { .. } | Next::CutOff => Failure::Protocol,
            Next::TooLarge => Failure::MessageTooLarge,
            Next::NoRoom => Failure::NoRoom,
            Next::Broken(_) => Failure::Cancelled,
        };
        count_limit(failure);
        Err(status::refusal(failure))
    }

    /// The message of a caller that has one to say.
    pub(super) async fn first<M: Message + Default>(&mut self) -> Result<M, Status> {
        let in_time = tokio::time::timeout(self.patience, self.next()).await;
        in_time.unwrap_or_else(|_| Err(overdue()))?.ok_or_else(status::not_one_message)
    }

    /// The same, and nothing after it.
    pub(super) async fn only<M: Message + Default>(&mut self) -> Result<M, Status> {
        let first = self.first().await?;
        match tokio::time::timeout(self.patience, self.next::<M>()).await {
            Ok(Ok(None)) => Ok(first),
            Ok(Ok(Some(_))) => Err(status::not_one_message()),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(overdue()),
        }
    }
}

fn overdue() -> Status {
    count_limit(Failure::MessageOverdue);
    status::refusal(Failure::MessageOverdue)
}

fn count_limit(failure: Failure) {
    by_failure(failure).into_iter().for_each(limits::hit);
}
