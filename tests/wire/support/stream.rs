//! One HTTP/2 stream from the client's side.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::soon;

/// A connection.
#[derive(Clone)]
pub(crate) struct Connection {
    requests: SendRequest<Bytes>,
    driver: Arc<Driver>,
}

/// Drives a connection as long as somebody holds it.
struct Driver {
    task: tokio::task::JoinHandle<()>,
    frozen: Arc<AtomicBool>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// With windows as large as they can be, or with given ones.
    pub(crate) async fn open(address: SocketAddr, window: Option<u32>) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self::over(socket, window).await
    }

    /// The same over a stream that is there already.
    pub(crate) async fn over<S>(socket: S, window: Option<u32>) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window.unwrap_or((1 << 31) - 1));
        builder.initial_connection_window_size((1 << 31) - 1);
        builder.max_header_list_size(1 << 20);
        let (requests, connection) = builder.handshake(socket).await.unwrap();
        let frozen = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(drive(connection, frozen.clone()));
        Self { requests, driver: Arc::new(Driver { task, frozen }) }
    }

    /// Opens a stream.
    pub(crate) async fn request(&self, request: Request<()>) -> Stream {
        let mut requests = soon("room for a stream", self.requests.clone().ready()).await.unwrap();
        let (response, send) = requests.send_request(request, false).unwrap();
        Stream {
            send,
            response: Some(response),
            recv: None,
            buffer: BytesMut::new(),
            connection: self.clone(),
        }
    }
}

/// Drives a connection until it is frozen; it stays open then.
async fn drive<S>(connection: h2::client::Connection<S, Bytes>, frozen: Arc<AtomicBool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = std::pin::pin!(connection);
    poll_fn(|cx| {
        if frozen.load(Ordering::Relaxed) {
            return Poll::<()>::Pending;
        }
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}

/// A stream.
pub(crate) struct Stream {
    send: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    recv: Option<RecvStream>,
    buffer: BytesMut,
    connection: Connection,
}

impl Stream {
    /// Sends a message, with the half-close if it is the last.
    pub(crate) async fn send(&mut self, payload: &[u8], last: bool) {
        self.send_raw(&frame(0, payload), last).await;
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8], last: bool) {
        let mut bytes = Bytes::copy_from_slice(bytes);
        while !bytes.is_empty() {
            self.send.reserve_capacity(bytes.len());
            let allowed = soon("window", poll_fn(|cx| self.send.poll_capacity(cx))).await;
            let Some(Ok(allowed)) = allowed else { return };
            let piece = bytes.split_to(allowed.min(bytes.len()));
            let end = last && bytes.is_empty();
            if self.send.send_data(piece, end).is_err() {
                return;
            }
        }
    }

    /// Sends the half-close alone.
    pub(crate) fn half_close(&mut self) {
        self.send.send_data(Bytes::new(), true).unwrap();
    }

    pub(crate) fn reset(&mut self, reason: Reason) {
        self.send.send_reset(reason);
    }

    /// Stops the connection in its tracks.
    pub(crate) fn freeze(&self) {
        self.connection.driver.frozen.store(true, Ordering::Relaxed);
    }

    /// Waits until the other side resets the stream.
    pub(crate) async fn was_reset(&mut self) -> Reason {
        soon("a reset", poll_fn(|cx| self.send.poll_reset(cx))).await.unwrap()
    }

    /// The response's head.
    pub(crate) async fn head(&mut self) -> Result<Response<()>, h2::Error> {
        let response = soon("a response", self.response.take().expect("asked once")).await?;
        let (parts, body) = response.into_parts();
        self.recv = Some(body);
        Ok(Response::from_parts(parts, ()))
    }

    /// Whether the response was its head alone.
    pub(crate) fn is_over(&self) -> bool {
        self.recv.as_ref().unwrap().is_end_stream()
    }

    /// The next message and its flag; `None` at the end of the messages.
    pub(crate) async fn message(&mut self) -> Result<Option<(u8, Bytes)>, h2::Error> {
        loop {
            if let Some(message) = self.cut() {
                return Ok(Some(message));
            }
            let recv = self.recv.as_mut().expect("the head comes first");
            match soon("a message", recv.data()).await {
                Some(Ok(data)) => {
                    recv.flow_control().release_capacity(data.len()).unwrap();
                    self.buffer.extend_from_slice(&data);
                }
                Some(Err(error)) => return Err(error),
                None => {
                    assert!(self.buffer.is_empty(), "the stream ended inside a message");
                    return Ok(None);
                }
            }
        }
    }

    pub(crate) async fn trailers(&mut self) -> Result<HeaderMap, h2::Error> {
        let recv = self.recv.as_mut().expect("the head comes first");
        Ok(soon("trailers", recv.trailers()).await?.expect("a gRPC answer has trailers"))
    }

    fn cut(&mut self) -> Option<(u8, Bytes)> {
        let length = self.buffer.get(1..5)?;
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        (self.buffer.len() >= 5 + length).then(|| {
            let mut message = self.buffer.split_to(5 + length);
            let prefix = message.split_to(5);
            (prefix[0], message.freeze())
        })
    }
}

/// A message with its prefix.
pub(crate) fn frame(flag: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
