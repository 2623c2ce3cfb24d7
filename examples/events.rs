//! Events through an Adit gateway, over a tunnel that serves nothing. With `ADIT_API_KEY=<key>`:
//!
//! - `cargo run --example events -- subscribe 'orders.#'` prints what comes, until it is stopped
//! - `cargo run --example events -- publish orders.eu.paid 'number 7'` publishes one event and says
//!   what became of it
//!
//! `proto/registry.proto` explains the frames. How to dial in again is in service.rs.
#![expect(clippy::print_stdout, reason = "to print is what it is for")]

use std::{env, error::Error, process::ExitCode, time::Duration};

use adit::grpc::proto::connection_message::MessageType as Frame;
use adit::grpc::proto::connection_status::Status;
use adit::grpc::proto::registry_service_client::RegistryServiceClient;
use adit::grpc::proto::{
    ConnectionMessage, ConnectionRegister, EventMessage, Heartbeat, SubscriptionRequest,
};
use tokio::{select, sync::mpsc, time};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::Streaming;

mod gateway;

type Failure = Box<dyn Error + Send + Sync>;

/// Where frames go into a tunnel, and where they come out.
type Tunnel = (mpsc::Sender<Frame>, Streaming<ConnectionMessage>);

/// Dials in, asks for the outcome of events, and says this.
async fn dial_in(first: Frame) -> Result<Tunnel, Failure> {
    let api_key = env::var("ADIT_API_KEY").map_err(|error| format!("ADIT_API_KEY: {error}"))?;
    let endpoint = gateway::endpoint()?.http2_keep_alive_interval(Duration::from_secs(30)); // sees it gone
    let mut gateway = RegistryServiceClient::new(endpoint.connect().await?);
    let (outgoing, frames) = mpsc::channel(64);
    let features = vec!["event_ack".to_owned()];
    let register = ConnectionRegister { api_key, features, ..Default::default() };
    outgoing.send(Frame::Register(register)).await?;
    outgoing.send(first).await?;
    let frames = ReceiverStream::new(frames);
    let frames = frames.map(|frame| ConnectionMessage { message_type: Some(frame) });
    Ok((outgoing, gateway.establish_connection(frames).await?.into_inner()))
}

async fn subscribe(topics: &[String]) -> Result<ExitCode, Failure> {
    let subscription = SubscriptionRequest { event_types: topics.to_vec(), ..Default::default() };
    let (outgoing, mut tunnel) = dial_in(Frame::Subscription(subscription)).await?;
    let mut heartbeat = time::interval(Duration::from_secs(30));
    loop {
        select! {
            read = tunnel.message() => tell(read?.ok_or("the gateway left")?),
            // In vain if the gateway has left; the tunnel says why it did.
            _ = heartbeat.tick() => drop(outgoing.send(Frame::Heartbeat(Heartbeat::default())).await),
        }
    }
}

fn tell(read: ConnectionMessage) {
    match read.message_type {
        Some(Frame::Status(status)) if status.status() == Status::Error => {
            println!("refused: {}", status.message);
        }
        Some(Frame::Status(_)) => println!("listening"),
        Some(Frame::Event(event)) if event.event_type == "adit.gap" => {
            println!("missed {} of {}", event.metadata["missed"], event.metadata["topic"]);
        }
        Some(Frame::Event(event)) => {
            let text = String::from_utf8_lossy(&event.payload);
            println!("{} {} {text}", event.event_type, event.event_id);
        }
        _ => {}
    }
}

async fn publish(topic: &str, text: &str) -> Result<ExitCode, Failure> {
    let (event_type, payload) = (topic.to_owned(), text.to_owned().into());
    let event = EventMessage { event_type, payload, ..Default::default() };
    let (outgoing, mut tunnel) = dial_in(Frame::Event(event)).await?;
    let ack = loop {
        let read = tunnel.message().await?.ok_or("the gateway left")?;
        if let Some(Frame::EventAck(ack)) = read.message_type {
            break ack;
        }
    };
    drop(outgoing); // half-close: a goodbye
    while tunnel.message().await?.is_some() {}
    if ack.message.is_empty() {
        println!("{}: {} subscribers", ack.result, ack.subscribers);
    } else {
        println!("{}: {}", ack.result, ack.message);
    }
    Ok(ExitCode::from(u8::from(ack.result == "rejected")))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Failure> {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.as_slice() {
        [command, topics @ ..] if command == "subscribe" && !topics.is_empty() => {
            subscribe(topics).await
        }
        [command, topic, text] if command == "publish" => publish(topic, text).await,
        _ => Err("subscribe TOPIC..., or publish TOPIC TEXT".into()),
    }
}
