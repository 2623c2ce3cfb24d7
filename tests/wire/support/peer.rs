//! A service that dials in, frame by frame.

use std::collections::HashMap;
use std::net::SocketAddr;

use adit::grpc::proto::connection_message::MessageType;
use adit::grpc::proto::connection_status::Status;
use adit::grpc::proto::subscription_request::Action;
use adit::grpc::proto::{
    Cancel, ConnectionMessage, ConnectionRegister, ConnectionStatus, EventAck, EventMessage,
    ForwardRequest, ForwardResponse, Heartbeat, ResponseStreamInfo, StreamingInfo,
    SubscriptionRequest,
};
use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request};
use prost::Message;

use super::stream::{Connection, Stream, frame};

/// The stream of one tunnel.
pub(crate) struct Peer {
    stream: Stream,
    begun: bool,
    /// The id that the gateway assigned.
    pub(crate) id: String,
    /// The whole frames that it has sent.
    pub(crate) sent: Counted,
    /// The frames that it has received.
    pub(crate) received: Counted,
}

/// Frames, and their bytes with gRPC's prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
}

impl Counted {
    fn count(&mut self, frame: &[u8]) {
        self.frames += 1;
        self.bytes += 5 + frame.len() as u64;
    }
}

impl Peer {
    /// Opens the stream and says nothing.
    pub(crate) async fn dial(address: SocketAddr) -> Self {
        Self::dial_on(&Connection::open(address, None).await, address).await
    }

    /// The same with a window of `window` bytes for what the gateway sends.
    pub(crate) async fn dial_narrow(address: SocketAddr, window: u32) -> Self {
        Self::dial_on(&Connection::open(address, Some(window)).await, address).await
    }

    pub(crate) async fn dial_on(connection: &Connection, address: SocketAddr) -> Self {
        let path = "/registry.RegistryService/EstablishConnection";
        let request = Request::post(format!("http://{address}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let stream = connection.request(request).await;
        let (sent, received) = (Counted::default(), Counted::default());
        Self { stream, begun: false, id: String::new(), sent, received }
    }

    pub(crate) async fn register(&mut self, key: &str, services: &[&str], features: &[&str]) {
        self.send(MessageType::Register(ConnectionRegister {
            api_key: key.to_owned(),
            services: services.iter().map(|name| (*name).to_owned()).collect(),
            connection_id: "made-up-by-the-peer".to_owned(),
            features: features.iter().map(|name| (*name).to_owned()).collect(),
        }))
        .await;
    }

    /// The CONNECTED status.
    pub(crate) async fn connected(&mut self) -> ConnectionStatus {
        let MessageType::Status(status) = self.receive().await else { panic!("a status") };
        assert_eq!(status.status(), Status::Connected);
        self.id.clone_from(&status.connection_id);
        status
    }

    pub(crate) async fn send(&mut self, message: MessageType) {
        let message = ConnectionMessage { message_type: Some(message) };
        self.send_bytes(&message.encode_to_vec()).await;
    }

    /// Sends a gRPC message that need not be a frame of the contract.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.sent.count(bytes);
        self.stream.send_raw(&frame(0, bytes), false).await;
    }

    /// Sends bytes that need not even be a message.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.send_raw(bytes, false).await;
    }

    pub(crate) fn half_close(&mut self) {
        self.stream.half_close();
    }

    /// Breaks the tunnel.
    pub(crate) fn reset(&mut self) {
        self.stream.reset(Reason::CANCEL);
    }

    async fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            assert_eq!(self.stream.head().await.unwrap().status().as_u16(), 200);
        }
    }

    /// The next frame, whatever it is.
    pub(crate) async fn receive(&mut self) -> MessageType {
        self.try_receive().await.expect("another frame")
    }

    /// The next frame; `None` at their end.
    pub(crate) async fn try_receive(&mut self) -> Option<MessageType> {
        self.begin().await;
        let (_, frame) = self.stream.message().await.unwrap()?;
        self.received.count(&frame);
        ConnectionMessage::decode(frame).unwrap().message_type
    }

    /// Stops reading and writing the socket without closing it.
    pub(crate) fn freeze(&self) {
        self.stream.freeze();
    }

    /// The next frame, which must be a request.
    pub(crate) async fn request(&mut self) -> ForwardRequest {
        match self.receive().await {
            MessageType::Request(request) => request,
            other => panic!("a request, not {other:?}"),
        }
    }

    /// The next frame, which must be a response to a call of this peer's own.
    pub(crate) async fn response(&mut self) -> ForwardResponse {
        match self.receive().await {
            MessageType::Response(response) => response,
            other => panic!("a response, not {other:?}"),
        }
    }

    /// The next frame, which must be a cancel.
    pub(crate) async fn cancel(&mut self) -> Cancel {
        match self.receive().await {
            MessageType::Cancel(cancel) => cancel,
            other => panic!("a cancel, not {other:?}"),
        }
    }

    /// The next frame, which must be a heartbeat.
    pub(crate) async fn heartbeat(&mut self) -> Heartbeat {
        match self.receive().await {
            MessageType::Heartbeat(heartbeat) => heartbeat,
            other => panic!("a heartbeat, not {other:?}"),
        }
    }

    pub(crate) async fn beat(&mut self, timestamp: i64) {
        let connection_id = "made up".to_owned();
        self.send(MessageType::Heartbeat(Heartbeat { timestamp, connection_id })).await;
    }

    pub(crate) async fn answer(&mut self, response: ForwardResponse) {
        self.send(MessageType::Response(response)).await;
    }

    pub(crate) async fn subscribe(&mut self, topics: &[&str]) {
        self.ask(Action::Subscribe, topics).await;
    }

    pub(crate) async fn unsubscribe(&mut self, topics: &[&str]) {
        self.ask(Action::Unsubscribe, topics).await;
    }

    async fn ask(&mut self, action: Action, topics: &[&str]) {
        self.send(MessageType::Subscription(SubscriptionRequest {
            action: action.into(),
            event_types: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            subscriber_id: String::new(),
        }))
        .await;
    }

    /// Publishes something under an id.
    pub(crate) async fn publish(&mut self, topic: &str, id: &str, payload: impl Into<Bytes>) {
        self.send(MessageType::Event(EventMessage {
            event_id: id.to_owned(),
            event_type: topic.to_owned(),
            payload: payload.into(),
            ..EventMessage::default()
        }))
        .await;
    }

    /// The next frame, which must be an event.
    pub(crate) async fn event(&mut self) -> EventMessage {
        match self.receive().await {
            MessageType::Event(event) => event,
            other => panic!("an event, not {other:?}"),
        }
    }

    /// The next frame, which must say what became of an event.
    pub(crate) async fn ack(&mut self) -> EventAck {
        match self.receive().await {
            MessageType::EventAck(ack) => ack,
            other => panic!("an outcome, not {other:?}"),
        }
    }

    /// The next frame, which must tell of something that is refused; its message.
    pub(crate) async fn refusal(&mut self) -> String {
        match self.receive().await {
            MessageType::Status(status) if status.status() == Status::Error => status.message,
            other => panic!("an error, not {other:?}"),
        }
    }

    /// Takes one whole call and answers it with its own payload.
    pub(crate) async fn echo(&mut self) {
        let request = self.request().await;
        self.answer(ok(&request, request.payload.clone())).await;
    }

    /// The end of the tunnel: its trailers.
    pub(crate) async fn end(&mut self) -> HeaderMap {
        self.begin().await;
        if let Some((_, frame)) = self.stream.message().await.unwrap() {
            panic!("a frame before the end: {:?}", ConnectionMessage::decode(frame));
        }
        self.stream.trailers().await.unwrap()
    }

    /// The end of the tunnel, with the code and reason that it must have.
    pub(crate) async fn ends(&mut self, code: u8, reason: &str) {
        let trailers = self.end().await;
        assert_eq!(trailers["grpc-status"], code.to_string().as_str(), "{trailers:?}");
        assert_eq!(trailers["x-gateway-error"], reason, "{trailers:?}");
    }
}

/// The whole answer to a request.
pub(crate) fn ok(request: &ForwardRequest, payload: impl Into<Bytes>) -> ForwardResponse {
    ForwardResponse {
        request_id: request.request_id.clone(),
        payload: payload.into(),
        ..ForwardResponse::default()
    }
}

/// An answer that is an error and nothing else.
pub(crate) fn error(request: &ForwardRequest, code: i32, message: &str) -> ForwardResponse {
    ForwardResponse {
        request_id: request.request_id.clone(),
        status_code: code,
        error_message: message.to_owned(),
        ..ForwardResponse::default()
    }
}

/// One message of a streamed answer.
pub(crate) fn stream_part(request: &ForwardRequest, payload: impl Into<Bytes>) -> ForwardResponse {
    ForwardResponse { streaming_info: Some(StreamingInfo::default()), ..ok(request, payload) }
}

/// The end of a streamed answer.
pub(crate) fn stream_end(request: &ForwardRequest) -> ForwardResponse {
    let info = StreamingInfo { is_stream_end: true, ..StreamingInfo::default() };
    ForwardResponse { streaming_info: Some(info), ..ok(request, Bytes::new()) }
}

/// A slice of one message; the `last` ends the call with status 0.
pub(crate) fn slice(
    request: &ForwardRequest,
    index: usize,
    last: bool,
    text: &'static str,
) -> ForwardResponse {
    ForwardResponse {
        response_stream_info: Some(ResponseStreamInfo {
            is_streamed: true,
            chunk_index: i64::try_from(index).unwrap(),
            is_final_chunk: last,
            ..ResponseStreamInfo::default()
        }),
        ..ok(request, text)
    }
}

/// A response with headers as a map.
pub(crate) fn with_headers(response: ForwardResponse, headers: &[(&str, &str)]) -> ForwardResponse {
    let headers: HashMap<_, _> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ForwardResponse { headers, ..response }
}
