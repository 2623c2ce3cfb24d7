//! What callers of the service send.

use std::time::Duration;

use h2::RecvStream;
use prost::Message;
use tonic::Status;

use crate::grpc::framing::RawMessage;
use crate::grpc::limits_reached::by_failure;
use crate::grpc::status;
use crate::grpc::stream::{MessageStream, Next};
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
    /// How long a single message may take.
    patience: Duration,
}

impl Requests {
    /// What comes in on a stream. What has come of a message in part takes room in `gathering`.
    pub(super) fn new(stream: RecvStream, limits: &Limits, gathering: Allowance) -> Self {
        let bytes_max = limits.event_bytes_max + limits.metadata_bytes_max + OVERHEAD_BYTES;
        let messages = MessageStream::new(stream, bytes_max, gathering);
        Self { messages, patience: limits.message_timeout }
    }

    /// The next message, for which it may take as long as it likes; none after the half-close.
    pub(super) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        let failure = match self.messages.next().await {
            Next::Message { message: RawMessage { flag: 0, payload }, .. } => {
                let read = M::decode(payload);
                return read.map(Some).map_err(|error| status::bad_event(error.to_string()));
            }
            Next::End => return Ok(None),
            Next::Message { .. } => Failure::UnsupportedEncoding,
            Next::TooLarge => Failure::MessageTooLarge,
            Next::NoRoom => Failure::NoRoom,
            Next::CutOff => Failure::Protocol,
            Next::Broken(_) => Failure::Cancelled,
        };
        count_limit(failure);
        Err(status::refusal(failure))
    }

    /// The message of a caller that has one to say.
    pub(super) async fn first<M: Message + Default>(&mut self) -> Result<M, Status> {
        let in_time = tokio::time::timeout(self.patience, self.next()).await;
        in_time.unwrap_or_else(|_| Err(overdue()))?.ok_or(status::refusal(Failure::Protocol))
    }

    /// The same, and nothing after it.
    pub(super) async fn only<M: Message + Default>(&mut self) -> Result<M, Status> {
        let first = self.first().await?;
        match tokio::time::timeout(self.patience, self.next::<M>()).await {
            Ok(Ok(None)) => Ok(first),
            Ok(Ok(Some(_))) => Err(status::refusal(Failure::Protocol)),
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
