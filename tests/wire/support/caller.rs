//! A caller, as any gRPC client is one.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderName, Request};

use super::stream::{Connection, Stream, frame};

/// A caller with one connection.
#[derive(Clone)]
pub(crate) struct Caller {
    address: SocketAddr,
    connection: Connection,
}

/// One call.
pub(crate) struct CallerCall {
    stream: Stream,
    pub(crate) headers: Option<HeaderMap>,
    trailers: Option<HeaderMap>,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) code: String,
    pub(crate) reason: Option<String>,
    pub(crate) trailers: HeaderMap,
}

impl Caller {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { address, connection: Connection::open(address, None).await }
    }

    /// A caller on a connection that is open already.
    pub(crate) fn on(connection: Connection, address: SocketAddr) -> Self {
        Self { address, connection }
    }

    /// A caller that lets in only `window` bytes of an answer until it reads.
    pub(crate) async fn connect_narrow(address: SocketAddr, window: u32) -> Self {
        Self { address, connection: Connection::open(address, Some(window)).await }
    }

    /// A request as a gRPC client makes it, to be changed at will.
    pub(crate) fn request(&self, path: &str) -> Request<()> {
        Request::post(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap()
    }

    pub(crate) async fn call(&self, path: &str) -> CallerCall {
        self.call_with(self.request(path)).await
    }

    pub(crate) async fn call_headers(&self, path: &str, headers: &[(&str, &str)]) -> CallerCall {
        let mut request = self.request(path);
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        self.call_with(request).await
    }

    pub(crate) async fn call_with(&self, request: Request<()>) -> CallerCall {
        let stream = self.connection.request(request).await;
        CallerCall { stream, headers: None, trailers: None }
    }
}

impl CallerCall {
    pub(crate) async fn send(&mut self, message: impl AsRef<[u8]>) {
        self.stream.send(message.as_ref(), false).await;
    }

    pub(crate) async fn send_last(&mut self, message: impl AsRef<[u8]>) {
        self.stream.send(message.as_ref(), true).await;
    }

    /// A message with a flag of the test's choice.
    pub(crate) async fn send_flagged(&mut self, flag: u8, message: &[u8], last: bool) {
        self.stream.send_raw(&frame(flag, message), last).await;
    }

    pub(crate) async fn send_raw(&mut self, bytes: &[u8], last: bool) {
        self.stream.send_raw(bytes, last).await;
    }

    pub(crate) fn half_close(&mut self) {
        self.stream.half_close();
    }

    pub(crate) fn cancel(&mut self) {
        self.stream.reset(Reason::CANCEL);
    }

    pub(crate) fn reset(&mut self, reason: Reason) {
        self.stream.reset(reason);
    }

    pub(crate) async fn was_reset(&mut self) -> Reason {
        self.stream.was_reset().await
    }

    /// The HTTP status of the answer; keeps its headers.
    pub(crate) async fn status(&mut self) -> u16 {
        let head = self.stream.head().await.unwrap();
        let status = head.status().as_u16();
        let headers = head.headers().clone();
        if self.stream.is_over() {
            self.trailers = Some(headers);
        } else {
            self.headers = Some(headers);
        }
        status
    }

    async fn head(&mut self) {
        if self.headers.is_none() && self.trailers.is_none() {
            assert_eq!(self.status().await, 200);
        }
    }

    /// The initial metadata.
    pub(crate) async fn initial(&mut self) -> HeaderMap {
        self.head().await;
        self.headers.clone().expect("this answer is one block")
    }

    /// The next message, which must come.
    pub(crate) async fn message(&mut self) -> Bytes {
        self.next().await.expect("another message")
    }

    /// The next message; `None` at their end.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.next_flagged().await.map(|(_, message)| message)
    }

    pub(crate) async fn next_flagged(&mut self) -> Option<(u8, Bytes)> {
        self.head().await;
        if self.trailers.is_some() { None } else { self.stream.message().await.unwrap() }
    }

    /// The next message, or the reset that came instead.
    pub(crate) async fn try_next(&mut self) -> Result<Option<Bytes>, h2::Error> {
        self.head().await;
        Ok(self.stream.message().await?.map(|(_, message)| message))
    }

    /// The end; no message may come before it.
    pub(crate) async fn end(&mut self) -> End {
        assert_eq!(self.next().await, None, "a message before the end");
        if self.trailers.is_none() {
            self.trailers = Some(self.stream.trailers().await.unwrap());
        }
        let trailers = self.trailers.clone().unwrap();
        let text = |name: &str| trailers.get(name).map(|v| v.to_str().unwrap().to_owned());
        End { code: text("grpc-status").unwrap(), reason: text("x-gateway-error"), trailers }
    }

    /// Whether the answer is one block of headers and nothing else.
    pub(crate) async fn is_trailers_only(&mut self) -> bool {
        self.head().await;
        self.headers.is_none()
    }

    /// The end, which the gateway must have made.
    pub(crate) async fn fails(&mut self, code: u8, reason: &str) {
        let end = self.end().await;
        assert_eq!(
            (end.code.as_str(), end.reason.as_deref()),
            (code.to_string().as_str(), Some(reason))
        );
    }

    /// The end, which must be a success.
    pub(crate) async fn succeeds(&mut self) -> HeaderMap {
        let end = self.end().await;
        assert_eq!((end.code.as_str(), end.reason), ("0", None), "{:?}", end.trailers);
        end.trailers
    }
}

/// A call of one message; its half-close is sent with it.
pub(crate) async fn call_whole(
    caller: &Caller,
    path: &str,
    message: impl AsRef<[u8]>,
) -> CallerCall {
    let mut call = caller.call(path).await;
    call.send_last(message).await;
    call
}
