//! Serves methods through an Adit gateway over one stream; `proto/registry.proto` explains each
//! frame.

use std::collections::HashMap;
use std::error::Error;
use std::pin::Pin;
use std::time::{Duration, Instant};

use adit::grpc::proto::connection_message::MessageType;
use adit::grpc::proto::registry_service_client::RegistryServiceClient;
use adit::grpc::proto::streaming_info::StreamType;
use adit::grpc::proto::{
    ConnectionMessage, ConnectionRegister, ForwardRequest, ForwardResponse, Heartbeat,
    StreamingInfo,
};
use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc::{self, Sender, UnboundedReceiver, UnboundedSender};
use tokio::task::{AbortHandle, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Endpoint;

/// What the gateway asks for.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
const DELAY_FIRST: Duration = Duration::from_secs(1);
const DELAY_FACTOR: f64 = 1.6;
const DELAY_MAX: Duration = Duration::from_secs(120);
/// A tunnel that lasted this long makes the next delay short again.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// Then methods wait until the gateway has read some.
const OUTGOING_FRAMES_MAX: usize = 64;

/// The only reply, nothing after several, or the status that ends the call.
pub(crate) type Answer = Result<Option<Bytes>, Status>;

/// Serves a call of any method.
pub(crate) type Serve =
    for<'c> fn(&'c mut Call) -> Pin<Box<dyn Future<Output = Answer> + Send + 'c>>;

/// Keeps a tunnel to the gateway. It is opened again whenever it ends.
pub(crate) async fn keep(
    address: &str,
    key: &str,
    service: &str,
    serve: Serve,
) -> Result<(), Box<dyn Error>> {
    let mut delay = DELAY_FIRST;
    loop {
        let began = Instant::now();
        if let Err(error) = run(address, key, service, serve).await {
            log::warn!("tunnel ended: {error}");
        }
        if began.elapsed() > STABLE_AFTER {
            delay = DELAY_FIRST;
        }
        // Jitter keeps the services of a restarted gateway from all coming back at once.
        let jitter = 0.8 + 0.4 * f64::from(getrandom::u32()?) / f64::from(u32::MAX);
        tokio::time::sleep(delay.mul_f64(jitter)).await;
        delay = delay.mul_f64(DELAY_FACTOR).min(DELAY_MAX);
    }
}

/// Registers, then serves calls until the tunnel ends. They end with it.
async fn run(address: &str, key: &str, service: &str, serve: Serve) -> Result<(), Box<dyn Error>> {
    let (outgoing, frames) = mpsc::channel(OUTGOING_FRAMES_MAX);
    let register = ConnectionRegister {
        api_key: key.to_owned(),
        services: vec![service.to_owned()],
        features: ["stream", "cancel"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    outgoing.send(frame(MessageType::Register(register))).await?;
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut gateway = RegistryServiceClient::new(channel);
    let mut tunnel = gateway.establish_connection(ReceiverStream::new(frames)).await?.into_inner();
    let mut heartbeat = tokio::time::interval(HEARTBEAT_INTERVAL);
    let mut calls = Calls::default();
    loop {
        tokio::select! {
            read = tunnel.message() => match read?.ok_or("the gateway left")?.message_type {
                Some(MessageType::Status(status)) => {
                    log::info!("registered: connection={}", status.connection_id);
                }
                Some(MessageType::Request(request)) => calls.take(request, &outgoing, serve),
                Some(MessageType::Cancel(cancel)) => calls.cancel(&cancel.request_id),
                _ => {}
            },
            // When the queue is full, the frames in it prove as well that this end is alive.
            _ = heartbeat.tick() => {
                drop(outgoing.try_send(frame(MessageType::Heartbeat(Heartbeat::default()))));
            }
        }
    }
}

/// The calls being served. Dropped with their tunnel, they stop.
#[derive(Default)]
struct Calls {
    tasks: JoinSet<()>,
    /// By request id. `None` is the end of the requests.
    open: HashMap<String, (UnboundedSender<Option<Bytes>>, AbortHandle)>,
}

impl Calls {
    /// Begins a call, or passes on one more message of it.
    fn take(
        &mut self,
        request: ForwardRequest,
        outgoing: &Sender<ConnectionMessage>,
        serve: Serve,
    ) {
        let info = request.streaming_info.unwrap_or_default();
        let (id, payload) = (request.request_id.clone(), request.payload.clone());
        if info.sequence_number == 0 {
            while self.tasks.try_join_next().is_some() {}
            self.open.retain(|_, (_, task)| !task.is_finished());
            let (sender, requests) = mpsc::unbounded_channel();
            let mut call = Call { request, requests, outgoing: outgoing.clone() };
            let task = self.tasks.spawn(async move {
                let answer = serve(&mut call).await;
                call.end(answer).await;
            });
            self.open.insert(id.clone(), (sender, task));
        }
        let Some((requests, _)) = self.open.get(&id) else { return };
        // A whole call is one frame, its message may be empty; the end of any other carries none.
        if info.stream_type() == StreamType::Unary || !info.is_stream_end {
            // Fails when the answer is complete already: then nobody wants it.
            drop(requests.send(Some(payload)));
        }
        if info.is_stream_end {
            drop(requests.send(None));
        }
    }

    fn cancel(&mut self, id: &str) {
        if let Some((_, task)) = self.open.remove(id) {
            task.abort();
        }
    }
}

/// One call, as its method sees it.
pub(crate) struct Call {
    request: ForwardRequest,
    requests: UnboundedReceiver<Option<Bytes>>,
    outgoing: Sender<ConnectionMessage>,
}

impl Call {
    pub(crate) fn method(&self) -> &str {
        self.request.method_path.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn metadata(&self, name: &str) -> Option<&str> {
        self.request.headers.get(name).map(String::as_str)
    }

    /// The next request; `None` when the caller has sent its last.
    pub(crate) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        let payload = self.requests.recv().await.flatten();
        let request = payload.map(M::decode).transpose();
        request.map_err(|error| Status::internal(format!("the request is unreadable: {error}")))
    }

    /// Sends one of several replies.
    pub(crate) async fn reply(&self, reply: &impl Message) {
        let payload = reply.encode_to_vec().into();
        let streaming_info = Some(StreamingInfo::default());
        self.send(ForwardResponse { payload, streaming_info, ..Default::default() }).await;
    }

    async fn end(&self, answer: Answer) {
        let end = StreamingInfo { is_stream_end: true, ..Default::default() };
        self.send(match answer {
            Ok(Some(payload)) => ForwardResponse { payload, ..Default::default() },
            Ok(None) => ForwardResponse { streaming_info: Some(end), ..Default::default() },
            Err(status) => ForwardResponse {
                status_code: status.code().into(),
                error_message: status.message().to_owned(),
                ..Default::default()
            },
        })
        .await;
    }

    async fn send(&self, response: ForwardResponse) {
        let request_id = self.request.request_id.clone();
        let response = ForwardResponse { request_id, ..response };
        // Fails when the tunnel has ended, and this task is about to end with it.
        drop(self.outgoing.send(frame(MessageType::Response(response))).await);
    }
}

/// The answer of a method that replies once.
pub(crate) fn only(reply: &impl Message) -> Answer {
    Ok(Some(reply.encode_to_vec().into()))
}

fn frame(message: MessageType) -> ConnectionMessage {
    ConnectionMessage { message_type: Some(message) }
}
