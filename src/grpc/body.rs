//! An h2 stream in the shape of an HTTP body, so that generated services run on it unchanged.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use http_body::{Body, Frame};
use tower_service::Service;

use super::stream::capacity;
use super::wire::StreamSlot;
use crate::observe::limits::{self, Limit};
use crate::observe::tally::{Count, count};

/// The body of a request.
#[derive(Debug)]
pub struct RequestBody {
    stream: RecvStream,
    data_done: bool,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let body = self.get_mut();
        if !body.data_done {
            if let Some(chunk) = ready!(body.stream.poll_data(cx)) {
                let chunk = chunk?;
                body.stream.flow_control().release_capacity(chunk.len())?;
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            body.data_done = true;
        }
        let trailers = ready!(body.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}

/// Why an answer was not sent to its end.
#[derive(Debug)]
pub enum Unsent {
    /// The caller is gone, or its connection broke.
    Gone(h2::Error),
    /// The caller takes nothing.
    Stalled,
}

/// Lets a generated service answer one request. A caller that takes nothing of the answer for
/// `send_stall_timeout` is given up.
///
/// # Errors
///
/// When the caller is gone, or does not read.
pub async fn serve<S, B>(
    mut service: S,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    slot: &mut StreamSlot,
    send_stall_timeout: Duration,
) -> Result<(), Unsent>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + Unpin,
{
    let request = request.map(|stream| RequestBody { stream, data_done: false });
    let Ok(response) = service.call(request).await;
    let (head, body) = response.into_parts();
    let bodiless = body.is_end_stream();
    let mut stream = respond.send_response(Response::from_parts(head, ()), bodiless)?;
    slot.answered();
    let sent =
        if bodiless { Ok(()) } else { send_body(body, &mut stream, send_stall_timeout).await };
    if matches!(sent, Err(Unsent::Stalled)) {
        limits::hit(Limit::SendStallTimeout);
        stream.send_reset(Reason::CANCEL);
    }
    sent
}

async fn send_body<B>(
    mut body: B,
    stream: &mut SendStream<Bytes>,
    patience: Duration,
) -> Result<(), Unsent>
where
    B: Body<Data = Bytes> + Unpin,
{
    while let Some(frame) = next_frame(&mut body, stream).await? {
        let Ok(frame) = frame else {
            stream.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        };
        match frame.into_data() {
            Ok(mut data) => send(stream, &mut data, patience).await?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return Ok(stream.send_trailers(trailers)?);
                }
            }
        }
    }
    Ok(stream.send_data(Bytes::new(), true)?)
}

/// Sends a part of an answer. A caller that takes nothing of it for `patience` is to be given up; what it
/// has not taken is left.
///
/// # Errors
///
/// When the caller is gone, or does not read.
pub async fn send(
    stream: &mut SendStream<Bytes>,
    data: &mut Bytes,
    patience: Duration,
) -> Result<(), Unsent> {
    while !data.is_empty() {
        let allowed = tokio::time::timeout(patience, capacity(stream, data.len())).await;
        let Ok(allowed) = allowed else {
            count(Count::SendStalled);
            return Err(Unsent::Stalled);
        };
        stream.send_data(data.split_to(allowed?.min(data.len())), false)?;
    }
    Ok(())
}

/// The next frame, unless the caller goes away first: a service may have nothing to say for long.
async fn next_frame<B>(
    body: &mut B,
    stream: &mut SendStream<Bytes>,
) -> Result<Option<Result<Frame<Bytes>, B::Error>>, h2::Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    poll_fn(|cx| match stream.poll_reset(cx) {
        Poll::Ready(Ok(reason)) => Poll::Ready(Err(reason.into())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending => Pin::new(&mut *body).poll_frame(cx).map(Ok),
    })
    .await
}

impl From<h2::Error> for Unsent {
    fn from(error: h2::Error) -> Self {
        Self::Gone(error)
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(error) => error.fmt(f),
            Self::Stalled => f.write_str("the caller takes nothing"),
        }
    }
}
