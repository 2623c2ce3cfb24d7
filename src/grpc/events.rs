//! `adit.events.v1`: the event bus for those who keep no tunnel.
//!
//! Each call is a publisher or a subscriber of its worker's bus, like a tunnel of the same worker.
//! Whoever is not let in gets a status before anything of its message is read.

mod cloud_event;
mod delivery;
mod publisher;
mod requests;
mod standing;
mod subscriber;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use prost::Message;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

use super::asker::Asker;
use super::body::{self, Unsent};
use super::framing::put_prefix;
use super::wire::{Phase, Shared, StreamSlot, Wire};
use super::{head, status};
use crate::actors::bus::BusHandle;
use crate::actors::live::LiveLimits;
use crate::observe::limits::{self, Limit};
use crate::observe::topics::{StreamCount, Topics};
use crate::tunnel::allowance::Hold;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::MemberId;
use requests::Requests;
use standing::Standing;

/// Its name.
pub(super) const SERVICE_NAME: &str = "adit.events.v1.EventService";

/// The service for one call.
#[derive(Debug)]
struct Events {
    bus: BusHandle,
    limits: LiveLimits,
    topics: Arc<Topics>,
    phase: watch::Receiver<Phase>,
    standing: Standing,
    /// Who publishes: all calls of a connection are one publisher.
    publisher: MemberId,
}

/// A call's place among all.
#[derive(Debug)]
struct Place {
    _of_key: Option<Hold>,
    _in_all: Hold,
    _counted: StreamCount,
}

/// Answers one call.
///
/// # Errors
///
/// When the caller is gone, or does not read.
pub(super) async fn serve(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    slot: &mut StreamSlot,
    asker: Asker,
    shared: &Shared,
    wire: &Wire,
) -> Result<(), Unsent> {
    let (parts, stream) = request.into_parts();
    let content_type = parts.headers.get(header::CONTENT_TYPE).cloned();
    let mut answer = Answer { respond, slot, content_type };
    let (events, _place) = match Events::admit(&asker, shared, wire) {
        Ok(admitted) => admitted,
        Err(failure) => return answer.refuse(&status::refusal(failure)),
    };
    let deadline = match head::deadline(&parts.headers) {
        Ok(deadline) => deadline,
        Err(failure) => return answer.refuse(&status::refusal(failure)),
    };
    if let Some(deadline) = deadline {
        answer.slot.is_patient_until(deadline);
    }
    let deadline = deadline.map(Instant::from_std);
    let limits = Arc::clone(&events.limits.now());
    let mut requests = Requests::new(stream, &parts.headers, &limits, wire.gathering.clone());
    let method = parts.uri.path().rsplit('/').next();
    let answered = match method {
        Some("Publish") => {
            let published = events.in_time(deadline, events.publish_one(&mut requests)).await;
            published.map(|answer| framed(&answer))
        }
        Some("PublishStream") => {
            let published = events.in_time(deadline, events.publish_many(&mut requests)).await;
            published.map(|answer| framed(&answer))
        }
        Some("Subscribe") => match events.in_time(deadline, events.listen(&mut requests)).await {
            Ok(subscriber) => {
                return delivery::run(&events, subscriber, deadline, &mut answer).await;
            }
            Err(refusal) => Err(refusal),
        },
        _ => Err(status::refusal(Failure::UnknownService)),
    };
    match answered {
        Ok(message) => answer.send(message, &events).await,
        Err(refusal) => answer.refuse(&refusal),
    }
}

/// Waits until the caller's time is up; says what it is told then.
async fn time_up(deadline: Option<Instant>) -> Status {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
    status::refusal(Failure::Deadline)
}

/// A message as it goes on the wire.
fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    put(message, &mut frame);
    frame.freeze()
}

fn put(message: &impl Message, out: &mut BytesMut) {
    put_prefix(false, message.encoded_len(), out);
    message.encode_raw(out);
}

/// The answer to one call.
struct Answer<'s> {
    respond: SendResponse<Bytes>,
    slot: &'s mut StreamSlot,
    content_type: Option<HeaderValue>,
}

impl Answer<'_> {
    /// Begins it.
    fn begin(&mut self) -> Result<SendStream<Bytes>, h2::Error> {
        self.head(HeaderMap::new(), false)
    }

    /// Sends the only message of it.
    async fn send(mut self, mut message: Bytes, events: &Events) -> Result<(), Unsent> {
        let patience = events.limits.now().send_stall_timeout;
        let mut stream = self.begin()?;
        if let Err(unsent) = body::send(&mut stream, &mut message, patience).await {
            stream.send_reset(Reason::CANCEL);
            return Err(unsent);
        }
        Ok(stream.send_trailers(trailers(&Status::ok("")))?)
    }

    /// Ends it before it has begun.
    fn refuse(mut self, why: &Status) -> Result<(), Unsent> {
        self.head(trailers(why), true)?;
        Ok(())
    }

    fn head(&mut self, headers: HeaderMap, is_end: bool) -> Result<SendStream<Bytes>, h2::Error> {
        let mut head = Response::new(());
        *head.headers_mut() = headers;
        let content_type = self.content_type.take();
        head.headers_mut().extend(content_type.map(|value| (header::CONTENT_TYPE, value)));
        let stream = self.respond.send_response(head, is_end)?;
        self.slot.answered();
        Ok(stream)
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // What the gateway says of itself fits into a header.
    drop(status.add_header(&mut trailers));
    trailers
}

impl Events {
    /// What comes of something while the caller's key is good and before its time is up.
    async fn in_time<T>(
        &self,
        deadline: Option<Instant>,
        what: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        tokio::select! {
            biased;
            done = what => done,
            refusal = self.standing.clone().until_refused(|_| Ok(())) => Err(refusal),
            late = time_up(deadline) => Err(late),
        }
    }

    fn admit(asker: &Asker, shared: &Shared, wire: &Wire) -> Result<(Self, Place), Failure> {
        let admission = asker.admission()?;
        if *wire.phase.borrow() != Phase::Serving {
            return Err(Failure::Draining);
        }
        let of_key = asker.place_of_call()?;
        let in_all = wire.event_streams.take(1).ok_or_else(|| {
            limits::hit(Limit::EventStreamsMax);
            Failure::InflightLimit
        })?;
        let topics = wire.worker.window.topics.clone();
        let place = Place { _of_key: of_key, _in_all: in_all, _counted: topics.stream() };
        let events = Self {
            bus: wire.worker.bus.clone(),
            limits: wire.worker.tunnels.limits.clone(),
            topics,
            phase: wire.phase.clone(),
            standing: Standing::new(admission, shared, wire),
            publisher: shared.publisher(),
        };
        Ok((events, place))
    }
}

/// Waits until the gateway closes what is still open; says what is told then.
async fn closing(phase: &mut watch::Receiver<Phase>) -> Status {
    // A gateway that is gone closes everything by itself.
    if phase.wait_for(|phase| *phase == Phase::Closing).await.is_err() {
        std::future::pending::<()>().await;
    }
    status::refusal(Failure::Draining)
}
