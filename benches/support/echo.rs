//! The echo service, behind haproxy as a server and behind the gateway as a peer that dials in.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use adit::grpc::proto::connection_message::MessageType;
use adit::grpc::proto::registry_service_client::RegistryServiceClient;
use adit::grpc::proto::{ConnectionMessage, ConnectionRegister, ForwardResponse};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

/// Tunnels of the service: one for each of the gateway's workers and one more.
const TUNNELS: usize = 4;

static SERVED: AtomicUsize = AtomicUsize::new(0);

/// The server's socket.
pub(crate) struct Echo {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

pub(crate) async fn listen() -> std::io::Result<Echo> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok(Echo { listener, address })
}

/// How many calls came over tunnels.
pub(crate) fn served() -> usize {
    SERVED.load(Ordering::Relaxed)
}

/// Serves both ways for ever.
pub(crate) async fn serve(echo: Echo, gateway: SocketAddr, key: &'static str) {
    for _ in 0..TUNNELS {
        // A gateway that has been measured goes, and its tunnels with it.
        tokio::spawn(async move { drop(tunnel(gateway, key).await) });
    }
    while let Ok((socket, _)) = echo.listener.accept().await {
        tokio::spawn(connection(socket));
    }
}

async fn connection(socket: TcpStream) -> Result<(), h2::Error> {
    drop(socket.set_nodelay(true));
    let mut connection = h2::server::handshake(socket).await?;
    while let Some(stream) = connection.accept().await {
        let (request, mut respond) = stream?;
        tokio::spawn(async move {
            let mut body = request.into_body();
            let mut message = Vec::new();
            while let Some(Ok(chunk)) = body.data().await {
                drop(body.flow_control().release_capacity(chunk.len()));
                message.extend_from_slice(&chunk);
            }
            let mut response = Response::new(());
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert("content-type", grpc);
            let mut stream = respond.send_response(response, false)?;
            stream.send_data(message.into(), false)?;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            stream.send_trailers(trailers)
        });
    }
    Ok(())
}

async fn tunnel(
    gateway: SocketAddr,
    key: &str,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let channel = Endpoint::new(format!("http://{gateway}"))?.tcp_nodelay(true).connect().await?;
    let (up, frames) = mpsc::channel(1024);
    up.send(frame(MessageType::Register(ConnectionRegister {
        api_key: key.to_owned(),
        services: vec!["bench.Echo".to_owned()],
        features: vec!["stream".to_owned(), "headers".to_owned()],
        ..ConnectionRegister::default()
    })))
    .await?;
    let mut client = RegistryServiceClient::new(channel);
    let mut down = client.establish_connection(ReceiverStream::new(frames)).await?.into_inner();
    while let Some(message) = down.message().await? {
        if let Some(MessageType::Request(request)) = message.message_type {
            SERVED.fetch_add(1, Ordering::Relaxed);
            let payload: Bytes = request.payload;
            let request_id = request.request_id;
            let response = ForwardResponse { request_id, payload, ..ForwardResponse::default() };
            up.send(frame(MessageType::Response(response))).await?;
        }
    }
    Ok(())
}

fn frame(message: MessageType) -> ConnectionMessage {
    ConnectionMessage { message_type: Some(message) }
}
