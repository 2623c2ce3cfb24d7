//! Writes an answer to a caller's stream: headers, messages, trailers, or one block that is all.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::actors::traffic::{Ending, MetadataLimit};
use crate::observe::ticks::Tick;
use crate::tunnel::failure::Failure;

use super::call_record::{CallRecord, Outcome};
use super::encode::COPIED_BYTES_MAX;
use super::framing::{PREFIX_BYTES, put_prefix};
use super::status;
use super::stream::capacity_watched;
use super::wire::StreamSlot;

/// The way back to a caller.
#[derive(Debug)]
pub struct AnswerWriter {
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
    content_type: HeaderValue,
    limit: MetadataLimit,
    slot: StreamSlot,
    record: CallRecord,
}

impl AnswerWriter {
    /// Nothing is sent yet. `content_type` is the caller's own, byte for byte.
    pub(super) fn new(
        respond: SendResponse<Bytes>,
        content_type: HeaderValue,
        limit: MetadataLimit,
        slot: StreamSlot,
        record: CallRecord,
    ) -> Self {
        Self { respond, stream: None, content_type, limit, slot, record }
    }

    /// What is written down of the call.
    pub(super) fn record(&mut self) -> &mut CallRecord {
        &mut self.record
    }

    /// Sends the headers, unless they have been sent.
    ///
    /// # Errors
    ///
    /// When the caller is gone.
    pub fn headers(&mut self, headers: Option<HeaderMap>) -> Result<(), h2::Error> {
        if self.stream.is_none() {
            let response = self.head(headers.unwrap_or_default());
            self.stream = Some(self.respond.send_response(response, false)?);
            self.slot.answered();
        }
        Ok(())
    }

    /// Waits until `wanted` bytes, or some of them, may be sent. The headers must have been sent.
    ///
    /// # Errors
    ///
    /// When the caller is gone.
    pub async fn capacity(&mut self, wanted: usize) -> Result<usize, h2::Error> {
        match &mut self.stream {
            Some(stream) => {
                capacity_watched(stream, wanted, || self.record.waits_for_caller()).await
            }
            None => Err(Reason::INTERNAL_ERROR.into()),
        }
    }

    /// Sends bytes for which there is capacity.
    ///
    /// # Errors
    ///
    /// When the caller is gone.
    pub fn data(&mut self, data: Bytes) -> Result<(), h2::Error> {
        self.stream.as_mut().map_or(Ok(()), |stream| stream.send_data(data, false))
    }

    /// Sends the end. Without headers before it, it is one block: Trailers-Only. `heard` is when it was
    /// read, if it is the service's.
    ///
    /// # Errors
    ///
    /// When the caller is gone.
    pub fn end(&mut self, ending: Ending, heard: Tick) -> Result<(), h2::Error> {
        let outcome = Outcome::of(&ending, heard);
        let mut trailers = match ending {
            Ending::Answered { code, message, mut trailers } => {
                status::put_status(&mut trailers, code, &message);
                trailers
            }
            Ending::Failed(failure) => status::failure_trailers(failure),
        };
        self.limit.trim(&mut trailers);
        if let Some(stream) = &mut self.stream {
            self.record.strip_id(&mut trailers);
            stream.send_trailers(trailers)?;
        } else {
            let response = self.head(trailers);
            self.respond.send_response(response, true)?;
            self.slot.answered();
        }
        self.record.end(outcome);
        Ok(())
    }

    /// Ends the call in the middle of a message.
    pub fn cut(&mut self, failure: Failure) {
        self.reset(Reason::CANCEL);
        self.record.end(Outcome::of_failure(failure));
    }

    /// Ends the stream in the middle of a message, where no trailers can be.
    pub fn reset(&mut self, reason: Reason) {
        match &mut self.stream {
            Some(stream) => stream.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Ready when the caller has reset the stream or its connection has broken.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.stream {
            Some(stream) => stream.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        }
    }

    /// The caller gives its call until then.
    pub fn is_awaited_until(&mut self, deadline: Instant) {
        self.slot.is_patient_until(deadline);
    }

    /// Waits until the caller is gone.
    pub async fn gone(&mut self) {
        poll_fn(|cx| self.poll_gone(cx)).await;
    }

    fn head(&self, mut headers: HeaderMap) -> Response<()> {
        // The service's own word on its encoding of messages, if it gave one.
        headers.entry(header::CONTENT_TYPE).or_insert_with(|| self.content_type.clone());
        self.record.put_id(&mut headers);
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        response
    }
}

/// A message as it stands on the wire: one piece, or a prefix and a payload that is not copied.
pub fn pieces(compressed: bool, payload: Bytes) -> [Bytes; 2] {
    let copied = payload.len() <= COPIED_BYTES_MAX;
    let mut head = BytesMut::with_capacity(PREFIX_BYTES + if copied { payload.len() } else { 0 });
    put_prefix(compressed, payload.len(), &mut head);
    if copied {
        head.extend_from_slice(&payload);
        return [head.freeze(), Bytes::new()];
    }
    [head.freeze(), payload]
}

/// Answers a request that is no gRPC call with an HTTP status and nothing else.
pub fn http_status(mut respond: SendResponse<Bytes>, mut slot: StreamSlot, code: StatusCode) {
    let mut response = Response::new(());
    *response.status_mut() = code;
    if code == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    if respond.send_response(response, true).is_ok() {
        slot.answered();
    }
}
