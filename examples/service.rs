//! demo.Greeter, served through an Adit gateway: `ADIT_API_KEY=<key> cargo run --example service`
//! dials in. `proto/registry.proto` has the frames, `examples/proto/greeter.proto` the methods.

use std::{collections::HashMap, convert::Infallible, env, error::Error, pin::Pin, time::Duration};

use adit::grpc::proto::connection_message::MessageType as Frame;
use adit::grpc::proto::registry_service_client::RegistryServiceClient;
use adit::grpc::proto::{self, ForwardRequest, ForwardResponse, StreamingInfo};
use prost::{Message, bytes::Bytes};
use tokio::{select, sync::mpsc, time};
use tokio_stream::{Stream, StreamExt, StreamMap, iter, once, wrappers};
use tonic::Status;

mod gateway;

type Failure = Box<dyn Error + Send + Sync>;
type Requests = wrappers::UnboundedReceiverStream<Bytes>;
type Replies = Pin<Box<dyn Stream<Item = Result<Vec<u8>, Failure>>>>;

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct CountRequest(#[prost(int64, tag = "1")] i64, #[prost(uint32, tag = "2")] u32);

/// Of the other messages only field 1 is there: prost takes those for a `String` or an `i64`.
fn serve(call: &ForwardRequest, requests: Requests) -> Result<Replies, Failure> {
    Ok(match call.method_path.as_str() {
        "/demo.Greeter/Greet" => {
            let german = call.headers.get("accept-language").is_some_and(|tag| tag == "de");
            Box::pin(requests.map(move |name| match String::decode(name)? {
                name if name.is_empty() => Err(Status::invalid_argument("one name, please").into()),
                name if german => Ok(format!("Hallo, {name}!").encode_to_vec()),
                name => Ok(format!("Hello, {name}!").encode_to_vec()),
            }))
        }
        "/demo.Greeter/Count" => {
            let CountRequest(limit, pause_ms) = CountRequest::decode(call.payload.clone())?;
            Box::pin(iter(1..=limit).then(move |n| async move {
                time::sleep(Duration::from_millis(u64::from(pause_ms) * u64::from(n > 1))).await;
                Ok(n.encode_to_vec())
            }))
        }
        "/demo.Greeter/Sum" => Box::pin(once(requests).then(|requests| async {
            let numbers: Vec<i64> = requests.map(i64::decode).collect::<Result<_, _>>().await?;
            Ok(numbers.into_iter().fold(0, i64::wrapping_add).encode_to_vec())
        })),
        "/demo.Greeter/Chat" => Box::pin(
            requests.map(|text| Ok(format!("You said: {}", String::decode(text)?).encode_to_vec())),
        ),
        other => return Err(Status::unimplemented(format!("no method {other}")).into()),
    })
}

async fn run(key: &str, delay: &mut f64) -> Result<Infallible, Failure> {
    let endpoint = gateway::endpoint()?.http2_keep_alive_interval(Duration::from_secs(30)); // sees it gone
    let mut gateway = RegistryServiceClient::new(endpoint.connect().await?);
    let (outgoing, frames) = mpsc::channel(64); // while it is full, methods wait for the gateway
    let (api_key, services) = (key.to_owned(), vec!["demo.Greeter".to_owned()]);
    let features = ["stream", "cancel"].map(str::to_owned).to_vec();
    let register = proto::ConnectionRegister { api_key, services, features, ..Default::default() };
    let frames = once(Frame::Register(register)).chain(wrappers::ReceiverStream::new(frames));
    let frames = frames.map(|frame| proto::ConnectionMessage { message_type: Some(frame) });
    let mut tunnel = gateway.establish_connection(frames).await?.into_inner();
    let mut heartbeat = time::interval(Duration::from_secs(30));
    let (mut answers, mut requests) = (StreamMap::new(), HashMap::new()); // both by request_id
    loop {
        select! {
            read = tunnel.message() => match read?.ok_or("the gateway left")?.message_type {
                Some(Frame::Status(status)) => {
                    log::info!("registered: connection={}", status.connection_id);
                    *delay = 1.0;
                }
                Some(Frame::Request(call)) => {
                    let (id, info) = (call.request_id.clone(), call.streaming_info.unwrap_or_default());
                    if info.sequence_number == 0 {
                        let (sender, receiver) = mpsc::unbounded_channel();
                        let replies = serve(&call, Requests::new(receiver));
                        let replies = replies.unwrap_or_else(|refusal| Box::pin(once(Err(refusal))));
                        answers.insert(id.clone(), replies.chain(once(Err(Status::ok("").into()))));
                        requests.retain(|_, open: &mut mpsc::UnboundedSender<_>| !open.is_closed());
                        requests.insert(id.clone(), sender);
                    }
                    // A call in one frame has a message, maybe an empty one; any other end has none.
                    let whole = info.stream_type() == proto::streaming_info::StreamType::Unary;
                    let open = requests.get(&id).filter(|_| whole || !info.is_stream_end);
                    open.map(|open| open.send(call.payload)); // in vain if it is answered already
                    if info.is_stream_end { requests.remove(&id); }
                }
                Some(Frame::Cancel(cancel)) => drop(answers.remove(&cancel.request_id)),
                _ => {}
            },
            Some((request_id, reply)) = answers.next() => {
                let end = StreamingInfo { is_stream_end: reply.is_err(), ..Default::default() };
                if reply.is_err() { answers.remove(&request_id); }
                let bug = |_| Status::internal("the method failed");
                let ended = |failure| (vec![], Status::try_from_error(failure).unwrap_or_else(bug));
                let (payload, status) = reply.map_or_else(ended, |some| (some, Status::ok("")));
                outgoing.send(Frame::Response(ForwardResponse {
                    request_id, streaming_info: Some(end), status_code: status.code().into(),
                    error_message: status.message().into(), payload: payload.into(), ..Default::default()
                })).await?;
            }
            _ = heartbeat.tick() => outgoing.send(Frame::Heartbeat(proto::Heartbeat::default())).await?,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    env_logger::Builder::new().filter_level(log::LevelFilter::Info).parse_default_env().init();
    let key = env::var("ADIT_API_KEY").map_err(|error| format!("ADIT_API_KEY: {error}"))?;
    let mut delay = 1.0;
    loop {
        let Err(error) = run(&key, &mut delay).await;
        log::warn!("tunnel ended: {error:?}");
        let jitter = 0.8 + 0.4 * f64::from(getrandom::u32()?) / f64::from(u32::MAX);
        time::sleep(Duration::from_secs_f64(delay * jitter)).await;
        delay = (delay * 1.6).min(120.0);
    }
}
