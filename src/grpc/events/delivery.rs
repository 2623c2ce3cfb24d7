//! What a subscriber is told, on its way down its stream.
//!
//! An event is encoded once for all its subscribers, those behind tunnels among them, and a large payload
//! is never copied: that is why this is not left to a generated service.

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};
use tokio::time::Instant;
use tonic::Status;

use super::subscriber::{Subscriber, Told, covers};
use super::{Answer, Events, time_up, trailers};
use crate::grpc::body::{self, Unsent};
use crate::grpc::encode;
use crate::grpc::own_proto::events::SubscribeResponse;
use crate::grpc::status;
use crate::observe::limits::{self, Limit};

/// What is told is written together up to about this many bytes: two of HTTP/2's default frames.
const BATCH_BYTES: usize = 32 * 1024;

/// Lets one caller listen until it leaves, or may not listen any more.
///
/// # Errors
///
/// When the caller is gone, or does not read.
pub(super) async fn run(
    events: &Events,
    mut subscriber: Subscriber,
    deadline: Option<Instant>,
    answer: &mut Answer<'_>,
) -> Result<(), Unsent> {
    answer.slot.becomes_subscriber();
    let patterns = subscriber.patterns().to_vec();
    let refused = events.standing.clone().until_refused(|grant| covers(grant, &patterns));
    let patience = events.limits.now().slow_consumer_timeout;
    let mut delivery = Delivery { stream: answer.begin()?, patience, is_in_frame: false };
    let ended = tokio::select! {
        biased;
        refusal = refused => Ok(refusal),
        late = time_up(deadline) => Ok(late),
        ended = delivery.run(&mut subscriber) => ended,
    };
    match ended {
        Ok(ended) => delivery.end(&ended, Reason::CANCEL),
        Err(Unsent::Stalled) => {
            limits::hit(Limit::SlowConsumerTimeout);
            events.topics.slow_consumer();
            // Clients take that as RESOURCE_EXHAUSTED.
            delivery.end(&status::slow_consumer(), Reason::ENHANCE_YOUR_CALM)?;
            Err(Unsent::Stalled)
        }
        Err(gone @ Unsent::Gone(_)) => Err(gone),
    }
}

/// The stream to one subscriber.
struct Delivery {
    stream: SendStream<Bytes>,
    /// How long the subscriber may take nothing.
    patience: Duration,
    /// A part of a frame may have been written.
    is_in_frame: bool,
}

impl Delivery {
    /// Tells a subscriber everything; says why that has ended.
    async fn run(&mut self, subscriber: &mut Subscriber) -> Result<Status, Unsent> {
        let mut out = BytesMut::new();
        loop {
            let told = match self.until_gone(subscriber.next()).await? {
                Ok(told) => told,
                Err(ended) => return Ok(ended),
            };
            let mut large = put(&told, &mut out);
            // What is there by now goes along.
            while large.is_none()
                && out.len() < BATCH_BYTES
                && let Some(told) = subscriber.next_now()
            {
                large = put(&told, &mut out);
            }
            self.write(out.split().freeze()).await?;
            self.is_in_frame = large.is_some();
            self.write(large.unwrap_or_default()).await?;
            self.is_in_frame = false;
        }
    }

    async fn write(&mut self, mut data: Bytes) -> Result<(), Unsent> {
        let (whole, was_in_frame) = (data.len(), self.is_in_frame);
        // Until it is known better: this may be given up at any moment.
        self.is_in_frame = true;
        let sent = body::send(&mut self.stream, &mut data, self.patience).await;
        self.is_in_frame = was_in_frame || data.len() < whole;
        sent
    }

    /// Waits for something, unless the caller goes away first.
    async fn until_gone<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Unsent> {
        let gone = poll_fn(|cx| self.stream.poll_reset(cx));
        tokio::select! {
            biased;
            value = what => Ok(value),
            reset = gone => Err(Unsent::Gone(reset.map_or_else(|error| error, h2::Error::from))),
        }
    }

    /// Says why there will be no more. In a frame there is no place for that.
    fn end(mut self, why: &Status, reset: Reason) -> Result<(), Unsent> {
        if self.is_in_frame {
            self.stream.send_reset(reset);
            return Ok(());
        }
        Ok(self.stream.send_trailers(trailers(why))?)
    }
}

/// Appends what is told; a large payload comes back, to be written after it.
fn put(told: &Told, out: &mut BytesMut) -> Option<Bytes> {
    match told {
        Told::Event(event) => {
            let (frame, payload) = encode::event::event(event);
            out.extend_from_slice(&frame);
            payload
        }
        Told::Else(what) => {
            super::put(&SubscribeResponse { what: Some(what.clone()) }, out);
            None
        }
    }
}
