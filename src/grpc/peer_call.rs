//! Calls that a peer makes itself, service to service, over its tunnel.
//!
//! They are calls like any other: admitted by the entry, carried by some tunnel, answered once.
//! Only their wire differs: words come as `request` frames, answers go as `response` frames under
//! the peer's own id, which is unique only on this tunnel.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::sync::mpsc;

use crate::actors::credit::{Credit, Permit};
use crate::actors::down::Down;
use crate::actors::entry::Admit;
use crate::actors::pending::Reply;
use crate::actors::traffic::{MESSAGE_OVERHEAD_BYTES, Message, Outgoing, Part, RequestHead, Room};
use crate::observe::tally::{Count, count};
use crate::tunnel::admission;
use crate::tunnel::allowance::Allowance;
use crate::tunnel::call::Said;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::{MethodPath, RequestId};

use super::conversation::{HangUp, Licence, Word, Words, licences, replies, speak};
use super::metadata;
use super::proto::ForwardRequest;
use super::proto::streaming_info::StreamType;
use super::timeout;
use super::wire::Wire;

/// The calls that one peer is making.
#[derive(Debug)]
pub struct PeerCalls {
    live: Rc<RefCell<HashMap<String, Live>>>,
    wire: Rc<Wire>,
    down: Down,
    /// Room in the queue to the peer.
    credit: Credit,
    /// Room for what the peer says.
    buffer: Allowance,
}

/// A call that goes on.
#[derive(Debug)]
struct Live {
    words: mpsc::Sender<Word>,
    /// Tells that the call is given up; dropped with the tunnel.
    failed: mpsc::Sender<Failure>,
    /// The call's share of the buffer.
    buffer: Allowance,
    half_closed: bool,
    /// The call is one request message by its type, so an empty end after it says nothing new.
    single: bool,
}

/// One `request` frame, taken apart.
struct Frame {
    peer_request: String,
    said: Said<Message>,
    kind: StreamType,
    head: RequestHead,
}

impl PeerCalls {
    /// A peer that makes no call yet.
    pub fn new(wire: Rc<Wire>, down: Down, credit: Credit, buffer: Allowance) -> Self {
        Self { live: Rc::default(), wire, down, credit, buffer }
    }

    /// Takes a `request` frame: the beginning of a call, or more of one.
    pub fn frame(&mut self, request: ForwardRequest) {
        let known = self.live.borrow().contains_key(&request.request_id);
        if known { self.more(request) } else { self.begin(request) }
    }

    /// The peer gives a call up.
    pub fn cancel(&mut self, peer_request: &str) {
        match self.live.borrow().get(peer_request) {
            Some(live) => live.fail(Failure::Cancelled),
            None => count(Count::FrameLate),
        }
    }

    fn more(&mut self, request: ForwardRequest) {
        let mut calls = self.live.borrow_mut();
        let Some(live) = calls.get_mut(&request.request_id) else { return };
        if live.half_closed {
            if live.single && request.payload.is_empty() && is_end(&request) {
                return;
            }
            count(Count::FrameRejected);
            return live.fail(Failure::BadTunnelFrame);
        }
        let message_bytes_max = self.wire.worker.tunnels.limits.message_bytes_max;
        match room(&request, message_bytes_max, &self.buffer, &live.buffer) {
            Ok(room) => {
                let (said, _) = said(request, room, false);
                live.half_closed = !matches!(said, Said::Message(_));
                // Never full: the buffers hold fewer messages than the queue.
                drop(live.words.try_send(Word::Said(said)));
            }
            Err(failure) => live.fail(failure),
        }
    }

    fn begin(&mut self, request: ForwardRequest) {
        let limits = self.wire.worker.tunnels.limits.clone();
        let peer_request: Arc<str> = request.request_id.as_str().into();
        if self.live.borrow().len() >= limits.calls_per_tunnel_max {
            return self.refuse(&peer_request, Failure::InflightLimit);
        }
        let buffer = Allowance::new(limits.call_buffer_bytes_max);
        let begun = room(&request, limits.message_bytes_max, &self.buffer, &buffer)
            .and_then(|room| Ok((self.take_apart(request, room)?, buffer)));
        match begun {
            Ok((frame, buffer)) => self.start(frame, buffer, peer_request),
            Err(failure) => self.refuse(&peer_request, failure),
        }
    }

    fn take_apart(&self, mut request: ForwardRequest, room: Room) -> Result<Frame, Failure> {
        let peer_request = std::mem::take(&mut request.request_id);
        let head = self.head(&mut request)?;
        let (said, kind) = said(request, room, true);
        Ok(Frame { peer_request, said, kind, head })
    }

    fn head(&self, request: &mut ForwardRequest) -> Result<RequestHead, Failure> {
        let path = MethodPath::parse(&request.method_path)
            .filter(|path| !admission::is_reserved(path.service()))
            .ok_or(Failure::UnknownService)?;
        let mut headers = metadata::from_map(std::mem::take(&mut request.headers));
        headers.extend(metadata::from_exact(std::mem::take(&mut request.metadata)));
        let deadline = deadline(&headers, request.timeout_seconds)?;
        if !self.wire.metadata_limit.admits_request(&headers) {
            return Err(Failure::MetadataTooLarge);
        }
        Ok(RequestHead { path, headers, deadline })
    }

    fn refuse(&self, peer_request: &Arc<str>, failure: Failure) {
        count(Count::CallFailed);
        let response = Outgoing::Response {
            peer_request: peer_request.clone(),
            streamed: false,
            encoding: None,
            part: Part::failed(failure),
        };
        self.down.push_reply(response);
    }

    fn start(&mut self, frame: Frame, buffer: Allowance, peer_request: Arc<str>) {
        let Frame { peer_request: id, said, kind, head } = frame;
        let single = is_single(kind);
        let limits = self.wire.worker.tunnels.limits.clone();
        let whole = !matches!(said, Said::Message(_));
        let (words, heard) =
            mpsc::channel(limits.call_buffer_bytes_max / MESSAGE_OVERHEAD_BYTES + 2);
        let (failed, failures) = mpsc::channel(1);
        self.live
            .borrow_mut()
            .insert(id.clone(), Live { words, failed, buffer, half_closed: whole, single });
        let (for_pending, replies) = replies(&limits);
        let (for_speaker, licences) = licences();
        self.wire.worker.entry.admit(Admit {
            head: Arc::new(head),
            first: Some(said),
            replies: for_pending,
        });
        let answerer = Answerer {
            replies,
            failures,
            for_speaker,
            down: self.down.clone(),
            credit: self.credit.clone(),
            peer_request,
            request: RequestId::random(),
            held: (kind == StreamType::Unary).then(Hold::default),
            encoding: None,
            headers: None,
            hang_up: HangUp::default(),
            given_up: false,
            _over: Over { live: self.live.clone(), id },
        };
        actix_rt::spawn(converse(answerer, Heard(heard), licences));
    }
}

impl Drop for PeerCalls {
    fn drop(&mut self) {
        // The calls share the list; taking them off it tells them that the tunnel is gone.
        self.live.take();
    }
}

impl Live {
    fn fail(&self, failure: Failure) {
        // The first failure counts, and a call that is over needs none.
        let _ = self.failed.try_send(failure);
    }
}

/// Takes room for what a frame carries.
fn room(
    request: &ForwardRequest,
    message_bytes_max: usize,
    tunnel: &Allowance,
    call: &Allowance,
) -> Result<Room, Failure> {
    if request.payload.len() > message_bytes_max {
        return Err(Failure::MessageTooLarge);
    }
    let cost = request.payload.len() + MESSAGE_OVERHEAD_BYTES;
    let (Some(of_tunnel), Some(of_call)) = (tunnel.take(cost), call.take(cost)) else {
        return Err(Failure::BufferFull);
    };
    Ok(Room { tunnel_buffer: Some(of_tunnel), call_buffer: Some(of_call), ..Room::default() })
}

fn is_end(request: &ForwardRequest) -> bool {
    request.streaming_info.is_some_and(|info| info.is_stream_end)
}

/// Whether the call's type allows one request message only.
fn is_single(kind: StreamType) -> bool {
    matches!(kind, StreamType::Unary | StreamType::ServerStreaming)
}

/// What a frame says, and the type of its call.
fn said(request: ForwardRequest, room: Room, first: bool) -> (Said<Message>, StreamType) {
    let end = is_end(&request);
    let kind = request.streaming_info.map_or(StreamType::Unary, |info| info.stream_type());
    let message = Message { payload: request.payload, compressed: request.compressed, room };
    let said = if first && is_single(kind) {
        Said::LastMessage(message)
    } else if end && message.payload.is_empty() {
        Said::HalfClose
    } else if end {
        Said::LastMessage(message)
    } else {
        Said::Message(message)
    };
    (said, kind)
}

/// The exact remaining time if the peer gave it, otherwise the whole seconds.
fn deadline(headers: &HeaderMap, seconds: i32) -> Result<Option<std::time::Instant>, Failure> {
    let timeout = match headers.get(metadata::TIMEOUT) {
        Some(value) => Some(timeout::parse(value.as_bytes()).ok_or(Failure::BadTimeout)?),
        None if seconds < 0 => return Err(Failure::Deadline),
        None => u64::try_from(seconds).ok().filter(|s| *s > 0).map(Duration::from_secs),
    };
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(Failure::Deadline);
    }
    let now = tokio::time::Instant::now().into_std();
    Ok(timeout.and_then(|timeout| now.checked_add(timeout)))
}

async fn converse(answerer: Answerer, words: Heard, licences: mpsc::Receiver<Licence>) {
    let mut answering = pin!(answerer.answer());
    tokio::select! {
        biased;
        () = &mut answering => return,
        () = speak(words, true, licences) => {}
    }
    answering.await;
}

/// What the peer says, in order.
struct Heard(mpsc::Receiver<Word>);

impl Words for Heard {
    async fn next(&mut self) -> Word {
        // The tunnel is gone when nobody can say anything any more.
        self.0.recv().await.unwrap_or(Word::Failed(Failure::Cancelled))
    }
}

/// Writes a call's answer into the peer's queue.
struct Answerer {
    replies: mpsc::Receiver<Reply>,
    failures: mpsc::Receiver<Failure>,
    for_speaker: mpsc::Sender<Licence>,
    down: Down,
    credit: Credit,
    peer_request: Arc<str>,
    /// The gateway's own name for the answer in the queue.
    request: RequestId,
    /// While set, the answer may still turn out to be one frame.
    held: Option<Hold>,
    encoding: Option<HeaderValue>,
    /// Initial metadata that came before the first message.
    headers: Option<HeaderMap>,
    hang_up: HangUp,
    given_up: bool,
    _over: Over,
}

/// The first part of an answer that may be its only message.
#[derive(Default)]
struct Hold(Option<Box<Part>>);

/// Takes the call off the peer's list when it is over.
struct Over {
    live: Rc<RefCell<HashMap<String, Live>>>,
    id: String,
}

impl Drop for Over {
    fn drop(&mut self) {
        self.live.borrow_mut().remove(&self.id);
    }
}

impl Answerer {
    async fn answer(mut self) {
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
        match reply {
            Some(Reply::Part(part)) => Some(part),
            Some(other) => {
                self.license(other);
                None
            }
            None => Some(Part::failed(Failure::Panic)),
        }
    }

    fn license(&mut self, reply: Reply) {
        let licence = match reply {
            Reply::Admitted(pending) => {
                self.hang_up.admitted(pending.clone());
                Licence::Speak(pending)
            }
            Reply::GoOn { tunnel_queue, call_queue } => Licence::GoOn { tunnel_queue, call_queue },
            Reply::AwaitHalfClose | Reply::Part(_) => Licence::Finish,
        };
        // A speaker that has finished needs no licence.
        drop(self.for_speaker.try_send(licence));
    }

    /// Sends a part, or holds it while it may be all. `false` when the tunnel is gone.
    async fn take(&mut self, mut part: Box<Part>) -> bool {
        // A frame without a payload would be an empty message: headers alone wait for one.
        if part.message.is_none() && part.ending.is_none() {
            self.headers = part.headers;
            return true;
        }
        part.headers = part.headers.take().or_else(|| self.headers.take());
        let Some(hold) = &mut self.held else { return self.push(true, part).await };
        match (hold.0.take(), part) {
            (None, part) if part.ending.is_none() => {
                hold.0 = Some(part);
                true
            }
            (None, part) => self.push(false, part).await,
            (Some(mut first), part) if part.message.is_none() && part.ending.is_some() => {
                first.ending = part.ending;
                self.push(false, first).await
            }
            (Some(first), part) => {
                self.held = None;
                self.push(true, first).await && self.push(true, part).await
            }
        }
    }

    async fn push(&mut self, streamed: bool, mut part: Box<Part>) -> bool {
        let cost = part.message.as_ref().map_or(MESSAGE_OVERHEAD_BYTES, Message::cost);
        let permit: Option<Permit> = self.credit.take(cost).await;
        if permit.is_none() {
            return false;
        }
        if let Some(message) = &mut part.message {
            message.room.tunnel_queue = permit;
        }
        let response = Outgoing::Response {
            peer_request: self.peer_request.clone(),
            streamed,
            encoding: self.encoding.clone(),
            part,
        };
        self.down.push(self.request, false, response);
        true
    }
}
