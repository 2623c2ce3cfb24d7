//! `adit.events.v1`: the event bus for those who keep no tunnel.
//!
//! Each call is a publisher or a subscriber of its worker's bus, like a tunnel of the same worker.
//! Whoever is not let in gets a status before anything of its message is read.

mod cloud_event;
mod publisher;
mod standing;
mod subscriber;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderValue, Request as HttpRequest, Response as HttpResponse};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::{Request, Response, Status, Streaming};

use super::asker::Asker;
use super::body::{self, Unsent};
use super::own_proto::events::event_service_server::{self, EventServiceServer};
use super::own_proto::events::{
    PublishRequest, PublishResponse, PublishStreamResponse, SubscribeRequest, SubscribeResponse,
};
use super::status::{self, STATUS};
use super::wire::{Phase, Shared, StreamSlot, Wire};
use crate::actors::bus::BusHandle;
use crate::actors::live::LiveLimits;
use crate::observe::limits::{self, Limit};
use crate::observe::topics::{StreamCount, Topics};
use crate::tunnel::allowance::Hold;
use crate::tunnel::code::Code;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::MemberId;
use crate::tunnel::limits::Limits;
use standing::Standing;

/// What a message may have beside its payload and its metadata: the id and the topic, the names of
/// fields, the type of a `CloudEvent`'s data.
const REQUEST_OVERHEAD_BYTES: usize = 16 * 1024;
const IDENTITY: &str = "identity";
const PUBLISH_STREAM: &str = "/adit.events.v1.EventService/PublishStream";

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
    request: HttpRequest<RecvStream>,
    respond: SendResponse<Bytes>,
    slot: &mut StreamSlot,
    asker: Asker,
    shared: &Shared,
    wire: &Wire,
) -> Result<(), Unsent> {
    let limits = Arc::clone(&wire.worker.tunnels.limits.now());
    let (events, _place) = match Events::admit(&asker, shared, wire) {
        Ok(admitted) => admitted,
        Err(failure) => {
            let refused = status::refusal(failure).into_http::<Body>();
            return body::answer(refused, respond, slot, limits.send_stall_timeout).await;
        }
    };
    // The only message of a request has to come; who publishes a stream may be silent for ever.
    let is_stream = request.uri().path() == PUBLISH_STREAM;
    let encoding = request.headers().get("grpc-encoding");
    let is_compressed = encoding.is_some_and(|encoding| encoding != IDENTITY);
    let patience = if is_stream { Duration::MAX } else { limits.message_timeout };
    let service =
        EventServiceServer::new(events).max_decoding_message_size(request_bytes_max(&limits));
    let called = body::call(service, request);
    let Ok(response) = tokio::time::timeout(patience, called).await else {
        limits::hit(Limit::MessageTimeout);
        let late = status::refusal(Failure::MessageOverdue).into_http::<Body>();
        return body::answer(late, respond, slot, limits.send_stall_timeout).await;
    };
    let response = exact(response, is_compressed);
    let sent = body::answer(response, respond, slot, limits.slow_consumer_timeout).await;
    if matches!(sent, Err(Unsent::Stalled)) {
        limits::hit(Limit::SlowConsumerTimeout);
        wire.worker.window.topics.slow_consumer();
    }
    sent
}

fn request_bytes_max(limits: &Limits) -> usize {
    limits.event_bytes_max + limits.metadata_bytes_max + REQUEST_OVERHEAD_BYTES
}

/// Statuses that tonic makes get their reasons. It says `OUT_OF_RANGE` of a message over the limit; that
/// is `RESOURCE_EXHAUSTED` (gRPC `doc/statuscodes.md`).
fn exact(mut response: HttpResponse<Body>, is_compressed: bool) -> HttpResponse<Body> {
    let headers = response.headers_mut();
    let of_tonic = headers.get(STATUS).filter(|_| !headers.contains_key(status::REASON));
    let Some(code) = of_tonic.map(|status| tonic::Code::from_bytes(status.as_bytes())) else {
        return response;
    };
    let reason = match code {
        tonic::Code::OutOfRange => {
            headers.insert(STATUS, HeaderValue::from(Code::RESOURCE_EXHAUSTED.number()));
            "message_too_large"
        }
        tonic::Code::Internal => "protocol",
        tonic::Code::Unimplemented if is_compressed => {
            headers.insert(status::ACCEPT_ENCODING, HeaderValue::from_static(IDENTITY));
            "unsupported_encoding"
        }
        tonic::Code::Unimplemented => "unknown_service",
        _ => return response,
    };
    headers.insert(status::REASON, HeaderValue::from_static(reason));
    response
}

impl Events {
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

#[tonic::async_trait]
impl event_service_server::EventService for Events {
    type SubscribeStream = BoxStream<'static, Result<SubscribeResponse, Status>>;

    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        self.publish_one(request.into_inner()).await.map(Response::new)
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<PublishStreamResponse>, Status> {
        self.publish_many(request.into_inner()).await.map(Response::new)
    }

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.listen(request.into_inner()).await.map(Response::new)
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
