//! The answer to a call that a peer made, as `response` frames under the peer's own id.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tokio::sync::mpsc;

use crate::actors::credit::Credit;
use crate::actors::down::Down;
use crate::actors::pending::Reply;
use crate::actors::traffic::{Ending, MESSAGE_OVERHEAD_BYTES, Outgoing, Part};
use crate::observe::tally::{Count, count};
use crate::tunnel::failure::Failure;
use crate::tunnel::id::RequestId;

use super::call_record::{CallRecord, Outcome};
use super::conversation::{HangUp, Licence};
use super::encode::{self, Rules};
use super::metadata;

/// The way to the peer for one answer.
pub(super) struct Way {
    pub(super) down: Down,
    /// Room in the queue to the peer.
    pub(super) credit: Credit,
    /// The peer's own name for the call.
    pub(super) peer_request: Arc<str>,
    pub(super) rules: Rules,
}

/// Writes a call's answer into the peer's queue.
pub(super) struct Answerer {
    replies: mpsc::Receiver<Reply>,
    failures: mpsc::Receiver<Failure>,
    for_speaker: mpsc::Sender<Licence>,
    way: Way,
    /// The gateway's own name for the answer in the queue.
    request: RequestId,
    /// While set, the answer may still turn out to be one frame.
    held: Option<FirstPart>,
    encoding: Option<HeaderValue>,
    /// Initial metadata that came before the first message.
    headers: Option<HeaderMap>,
    hang_up: HangUp,
    given_up: bool,
    /// Nothing has been sent yet.
    fresh: bool,
    record: CallRecord,
}

/// The first part of an answer that may be its only message.
#[derive(Default)]
struct FirstPart(Option<Box<Part>>);

impl Answerer {
    /// Nothing is answered yet. `single` if the answer may be one frame by the call's type.
    pub(super) fn new(
        replies: mpsc::Receiver<Reply>,
        failures: mpsc::Receiver<Failure>,
        for_speaker: mpsc::Sender<Licence>,
        way: Way,
        single: bool,
        record: CallRecord,
    ) -> Self {
        Self {
            replies,
            failures,
            for_speaker,
            way,
            request: RequestId::random(),
            held: single.then(FirstPart::default),
            encoding: None,
            headers: None,
            hang_up: HangUp::default(),
            given_up: false,
            fresh: true,
            record,
        }
    }

    /// Answers until the end, or until the tunnel is gone.
    pub(super) async fn answer(mut self) {
        loop {
            let Some(part) = self.next_part().await else { continue };
            let last = part.ending.is_some();
            if let Some(headers) = &part.headers {
                self.encoding = headers.get(metadata::ENCODING).cloned();
            }
            if !self.take(part).await {
                return;
            }
            if last {
                return self.hang_up.over();
            }
        }
    }

    /// The next part of the answer, if that is what comes next.
    async fn next_part(&mut self) -> Option<Box<Part>> {
        let reply = tokio::select! {
            biased;
            reply = self.replies.recv() => reply,
            failure = self.failures.recv(), if !self.given_up => {
                // The tunnel is gone when nobody can give the call up any more.
                self.given_up = true;
                self.hang_up.leave(failure.unwrap_or(Failure::Cancelled));
                return None;
            }
        };
        // Every call is told its end; whoever drops the line without has broken.
        let Some(reply) = reply else { return Some(Part::failed(Failure::Panic)) };
        match self.hang_up.heard(reply) {
            Err(part) => {
                if part.ending.is_some() {
                    self.record.end_has_come();
                }
                Some(part)
            }
            Ok(licence) => {
                // A speaker that has finished needs no licence.
                drop(self.for_speaker.try_send(licence));
                None
            }
        }
    }

    /// Sends a part, or holds it while it may be all. `false` when there is nothing more to send.
    async fn take(&mut self, mut part: Box<Part>) -> bool {
        // A frame without a payload would be an empty message: headers alone wait for one.
        if part.message.is_none() && part.ending.is_none() {
            self.headers = part.headers;
            return true;
        }
        part.headers = part.headers.take().or_else(|| self.headers.take());
        let Some(held) = &mut self.held else { return self.push(true, part).await };
        match (held.0.take(), part) {
            (None, part) if part.ending.is_none() => {
                held.0 = Some(part);
                true
            }
            (None, part) => self.push(false, part).await,
            (Some(mut first), part) if part.message.is_none() && part.ending.is_some() => {
                (first.ending, first.heard) = (part.ending, part.heard);
                self.push(false, first).await
            }
            (Some(first), part) => {
                self.held = None;
                self.push(true, first).await && self.push(true, part).await
            }
        }
    }

    async fn push(&mut self, streamed: bool, mut part: Box<Part>) -> bool {
        let empty = part.message.as_ref().is_some_and(|message| message.payload.is_empty());
        // In a stream the end has a message only if its payload is not empty.
        if streamed && empty && part.ending.is_some() {
            let (ending, heard) = (part.ending.take(), part.heard);
            let end = Box::new(Part { ending, heard, ..Part::default() });
            return self.push_frame(true, part).await && self.push_frame(true, end).await;
        }
        self.push_frame(streamed, part).await
    }

    async fn push_frame(&mut self, streamed: bool, mut part: Box<Part>) -> bool {
        let first = std::mem::take(&mut self.fresh);
        self.name(first, &mut part);
        let ending = part.ending.as_ref().map(|ending| Outcome::of(ending, part.heard));
        let (frame, ending, goes_on) = match self.encode(streamed, &part) {
            Ok(frame) => (frame, ending, true),
            Err(failure) => {
                count(Count::FrameRejected);
                self.hang_up.leave(failure);
                // An end without a message can neither be inflated nor be too large.
                part = Part::failed(failure);
                self.name(first, &mut part);
                let Ok(end) = self.encode(streamed, &part) else { return false };
                (end, Some(Outcome::of_failure(failure)), false)
            }
        };
        let message_bytes = part.message.as_ref().map(|message| message.payload.len());
        let cost = frame.len() + MESSAGE_OVERHEAD_BYTES;
        let mut permit = self.way.credit.try_take(cost);
        if permit.is_none() {
            let _waits = self.record.waits_for_caller();
            permit = self.way.credit.take(cost).await;
        }
        let mut room = part.message.take().map(|message| message.room).unwrap_or_default();
        if permit.is_none() {
            return false;
        }
        room.tunnel_queue = permit;
        let peer_request = self.way.peer_request.clone();
        let response = Outgoing::Response { peer_request, frame, room };
        self.way.down.push(self.request, false, response);
        if let Some(bytes) = message_bytes {
            self.record.message_sent(bytes);
        }
        if let Some(outcome) = ending {
            self.record.end(outcome);
        }
        goes_on
    }

    /// The first frame says what the call is called, and no other does.
    fn name(&self, first: bool, part: &mut Part) {
        if first {
            self.record.put_id(part.headers.get_or_insert_default());
        }
        if let Some(Ending::Answered { trailers, .. }) = &mut part.ending {
            self.record.strip_id(trailers);
        }
    }

    fn encode(&self, streamed: bool, part: &Part) -> Result<Bytes, Failure> {
        let Way { rules, peer_request, .. } = &self.way;
        let encoding = self.encoding.as_ref().map(HeaderValue::as_bytes);
        encode::response_frame(rules, peer_request, streamed, encoding, part)
    }
}
