//! Subscribers and a publisher of the gateway, each in a tunnel of the classic dialect.

use std::net::SocketAddr;
use std::sync::Arc;

use adit::grpc::proto::connection_message::MessageType;
use adit::grpc::proto::registry_service_client::RegistryServiceClient;
use adit::grpc::proto::{
    ConnectionMessage, ConnectionRegister, EventAck, EventMessage, SubscriptionRequest,
};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::audience::{Audience, TOPIC};
use super::{KEY, Outcome};

/// How much may be on its way to a subscriber, and to all of a connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Frames that wait on their way up: a burst.
const FRAMES_MAX: usize = 1_024;

/// The tunnel of the publisher, which hears what becomes of each event.
pub(crate) struct Publisher {
    up: mpsc::Sender<ConnectionMessage>,
    down: Streaming<ConnectionMessage>,
}

impl Publisher {
    pub(crate) async fn open(gateway: SocketAddr) -> Outcome<Self> {
        let (up, down) = tunnel(&connect(gateway).await?, &["event_ack"]).await?;
        Ok(Self { up, down })
    }

    /// Publishes so many events, and waits until all of them are in the queues of all subscribers.
    pub(crate) async fn publish(
        &mut self,
        events: usize,
        payload: &Bytes,
        audience: &Audience,
    ) -> Outcome<()> {
        for _ in 0..events {
            self.send(payload.clone()).await?;
        }
        for _ in 0..events {
            let EventAck { result, message, subscribers, .. } = self.ack().await?;
            if subscribers as usize != audience.len() {
                return Err(format!("{result} {message}: {subscribers} subscribers").into());
            }
        }
        Ok(())
    }

    /// Publishes events that nobody counts until so many listen.
    async fn until_heard_by(&mut self, subscribers: usize) -> Outcome<()> {
        loop {
            self.send(Bytes::new()).await?;
            if self.ack().await?.subscribers as usize == subscribers {
                return Ok(());
            }
        }
    }

    async fn send(&mut self, payload: Bytes) -> Outcome<()> {
        let event_type = TOPIC.to_owned();
        let event = EventMessage { event_type, payload, ..EventMessage::default() };
        Ok(self.up.send(frame(MessageType::Event(event))).await?)
    }

    async fn ack(&mut self) -> Outcome<EventAck> {
        loop {
            let message = self.down.message().await?.ok_or("the publisher's tunnel has ended")?;
            if let Some(MessageType::EventAck(ack)) = message.message_type {
                return Ok(ack);
            }
        }
    }
}

/// Opens the tunnels of an audience; when it returns, all of them listen.
pub(crate) async fn subscribe(
    gateway: SocketAddr,
    connections: usize,
    audience: &Arc<Audience>,
    publisher: &mut Publisher,
) -> Outcome<()> {
    let mut channels = Vec::new();
    for _ in 0..connections {
        channels.push(connect(gateway).await?);
    }
    for subscriber in 0..audience.len() {
        let (up, down) = tunnel(&channels[subscriber % connections], &[]).await?;
        let event_types = vec![TOPIC.to_owned()];
        let request = SubscriptionRequest { event_types, ..SubscriptionRequest::default() };
        up.send(frame(MessageType::Subscription(request))).await?;
        let audience = audience.clone();
        tokio::spawn(async move {
            listen(subscriber, down, &audience).await;
            drop(up);
        });
    }
    publisher.until_heard_by(audience.len()).await
}

/// Counts events until the tunnel ends; one without a payload is no measured one.
async fn listen(subscriber: usize, mut down: Streaming<ConnectionMessage>, audience: &Audience) {
    while let Ok(Some(message)) = down.message().await {
        if let Some(MessageType::Event(event)) = message.message_type
            && event.event_type == TOPIC
            && !event.payload.is_empty()
        {
            audience.hear(subscriber);
        }
    }
}

async fn connect(gateway: SocketAddr) -> Outcome<Channel> {
    let endpoint = Endpoint::new(format!("http://{gateway}"))?
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    Ok(endpoint.connect().await?)
}

async fn tunnel(
    channel: &Channel,
    features: &[&str],
) -> Outcome<(mpsc::Sender<ConnectionMessage>, Streaming<ConnectionMessage>)> {
    let (up, frames) = mpsc::channel(FRAMES_MAX);
    up.send(frame(MessageType::Register(ConnectionRegister {
        api_key: KEY.to_owned(),
        features: features.iter().map(ToString::to_string).collect(),
        ..ConnectionRegister::default()
    })))
    .await?;
    let mut client = RegistryServiceClient::new(channel.clone());
    let down = client.establish_connection(ReceiverStream::new(frames)).await?;
    Ok((up, down.into_inner()))
}

fn frame(message: MessageType) -> ConnectionMessage {
    ConnectionMessage { message_type: Some(message) }
}
