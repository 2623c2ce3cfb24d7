//! Calls that a peer makes itself, service to service, over its tunnel.
//!
//! They are calls like any other: admitted by the entry, carried by some tunnel, answered once.
//! Only their wire differs: words come as `request` frames, answers go as `response` frames under
//! the peer's own id, which is unique only on this tunnel.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tokio::sync::mpsc;

use crate::actors::credit::Credit;
use crate::actors::down::Down;
use crate::actors::entry::Admit;
use crate::actors::now;
use crate::actors::traffic::{
    MESSAGE_OVERHEAD_BYTES, Marks, Message, MetadataLimit, Outgoing, Part, Reply, RequestHead, Room,
};
use crate::auth::{Credential, KeyGrant};
use crate::observe::limits::{self, Limit};
use crate::observe::tally::{Count, count};
use crate::tunnel::admission;
use crate::tunnel::allowance::{Allowance, Hold};
use crate::tunnel::call::Said;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::MethodPath;
use crate::tunnel::limits::Limits;

use super::call_record::{CallRecord, Hearing, Outcome};
use super::conversation::{Licence, Word, Words, licences, replies, speak};
use super::encode::{self, Rules};
use super::head;
use super::metadata;
use super::peer_answer::{Answerer, Way};
use super::proto::ForwardRequest;
use super::proto::streaming_info::StreamType;
use super::revocation;
use super::timeout;
use super::wire::Wire;

/// Longer names of calls are not taken: they are repeated in every frame of the answer.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Finished calls whose ids are remembered for a late half-close.
const FINISHED_MAX: usize = 256;

/// The calls that one peer is making.
#[derive(Debug)]
pub struct PeerCalls {
    live: Rc<RefCell<HashMap<String, Live>>>,
    wire: Rc<Wire>,
    whose: Whose,
    /// Places for the calls.
    places: Allowance,
    down: Down,
    /// Room in the queue to the peer.
    credit: Credit,
    /// Room for what the peer says.
    buffer: Allowance,
    /// What it holds of answers that it has not read.
    unread: Allowance,
    rules: Rules,
    /// The ids of the last calls that are over: a late end of one of them begins nothing.
    finished: Rc<RefCell<VecDeque<String>>>,
}

/// Who makes the calls of a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Whose {
    /// Its key.
    pub credential: Credential,
    /// Where it dialled in from.
    pub remote: SocketAddr,
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

/// Who has begun a call.
struct Caller {
    /// The peer's own name for it.
    peer_request: Arc<str>,
    /// Its place among the calls of its tunnel.
    place: Hold,
    record: CallRecord,
}

impl PeerCalls {
    /// A peer that makes no call yet.
    pub fn new(
        wire: Rc<Wire>,
        whose: Whose,
        places: Allowance,
        down: Down,
        credit: Credit,
        buffer: Allowance,
        rules: Rules,
    ) -> Self {
        let unread = Allowance::new(usize::MAX);
        let (live, finished) = (Rc::default(), Rc::default());
        Self { live, wire, whose, places, down, credit, buffer, unread, rules, finished }
    }

    /// Takes a `request` frame: the beginning of a call, or more of one.
    pub fn frame(&mut self, request: ForwardRequest) {
        if request.request_id.len() > REQUEST_ID_BYTES_MAX {
            count(Count::FrameRejected);
            let error = Reply::Error("a request_id has 128 bytes at most".into());
            self.down.push_reply(&self.buffer, error.taking());
        } else if self.live.borrow().contains_key(&request.request_id) {
            self.more(request);
        } else if self.is_late(&request) {
            count(Count::FrameLate);
        } else {
            self.begin(request);
        }
    }

    /// Whether a frame belongs to a call that is over, whose answer may have crossed it. A peer may
    /// use an id again, so a frame that can only be a beginning is one.
    fn is_late(&self, request: &ForwardRequest) -> bool {
        let sequence = request.streaming_info.map_or(0, |info| info.sequence_number);
        let says_nothing = is_end(request) && request.payload.is_empty();
        (sequence > 0 || says_nothing) && self.finished.borrow().contains(&request.request_id)
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
        let message_bytes_max = self.wire.worker.tunnels.limits.now().message_bytes_max;
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

    fn begin(&mut self, mut request: ForwardRequest) {
        let limits = self.wire.worker.tunnels.limits.now();
        let peer_request: Arc<str> = request.request_id.as_str().into();
        self.rules = Rules::under(&limits, self.rules.features);
        let mut headers = metadata::from_map(std::mem::take(&mut request.headers));
        headers.extend(metadata::from_exact(std::mem::take(&mut request.metadata)));
        let (path, remote) = (&request.method_path, self.whose.remote);
        let mut record = CallRecord::begin(&self.wire, path, &mut headers, remote);
        let Some(place) = self.places.take_within(1, limits.calls_per_tunnel_max) else {
            limits::hit(Limit::CallsPerTunnelMax);
            return self.refuse(&peer_request, record, Failure::InflightLimit);
        };
        let buffer = Allowance::new(limits.call_buffer_bytes_max);
        let begun =
            room(&request, limits.message_bytes_max, &self.buffer, &buffer).and_then(|room| {
                let head = self.head(&request, headers, &mut record, &limits)?;
                Ok((take_apart(request, room, head), buffer))
            });
        match begun {
            Ok((frame, buffer)) => {
                self.start(frame, buffer, Caller { peer_request, place, record });
            }
            Err(failure) => self.refuse(&peer_request, record, failure),
        }
    }

    fn head(
        &self,
        request: &ForwardRequest,
        mut headers: HeaderMap,
        record: &mut CallRecord,
        limits: &Limits,
    ) -> Result<RequestHead, Failure> {
        let path = MethodPath::parse(&request.method_path)
            .filter(|path| !admission::is_reserved(path.service()))
            .ok_or(Failure::UnknownService)?;
        let deadline = deadline(&headers, request.timeout_seconds)?;
        if !MetadataLimit::of(limits).admits_request(&headers) {
            MetadataLimit::of(limits).is_passed_by(&headers);
            return Err(Failure::MetadataTooLarge);
        }
        record.put_id(&mut headers);
        let grant = self.grant()?;
        record.shows_key(&grant);
        let slot_of_key = Some(head::place_of_call(&grant, &path)?);
        let session = self.wire.affinities.borrow().session(&path, &headers);
        Ok(RequestHead {
            path,
            headers,
            deadline,
            session,
            only: None,
            unread: self.unread.clone(),
            call_buffer: Allowance::new(limits.call_buffer_bytes_max),
            wait_end: OnceLock::new(),
            slot_of_key,
            request: record.request(),
            marks: Marks::default(),
        })
    }

    /// What the peer's key allows now: its tunnel is closed a moment after that is nothing.
    fn grant(&self) -> Result<Arc<KeyGrant>, Failure> {
        let admission = self.wire.keys.borrow().look_up(self.whose.credential, SystemTime::now());
        admission.map(|admission| admission.grant).map_err(revocation::failure_of)
    }

    fn refuse(&self, peer_request: &str, mut record: CallRecord, failure: Failure) {
        count(Count::CallRefused);
        let mut part = Part::failed(failure);
        record.put_id(part.headers.get_or_insert_default());
        // An end without a message is small.
        if let Ok(frame) = encode::response_frame(&self.rules, peer_request, false, None, &part) {
            let peer_request = peer_request.into();
            self.down.push_reply(&self.buffer, |room| {
                let room = Room { tunnel_buffer: Some(room), ..Room::default() };
                Outgoing::Response { peer_request, frame, room }
            });
        }
        record.end(Outcome::of_failure(failure));
    }

    fn start(&mut self, frame: Frame, buffer: Allowance, caller: Caller) {
        let Caller { peer_request, place, mut record } = caller;
        let Frame { peer_request: id, said: first, kind, head } = frame;
        let single = is_single(kind);
        let whole = !matches!(first, Said::Message(_));
        let (words, spoken) = mpsc::channel(buffer.limit() / MESSAGE_OVERHEAD_BYTES + 2);
        let (failed, failures) = mpsc::channel(1);
        self.live
            .borrow_mut()
            .insert(id.clone(), Live { words, failed, buffer, half_closed: whole, single });
        let (for_pending, replies) = replies(&head);
        let (for_speaker, licences) = licences();
        let head = Arc::new(head);
        let mut hearing = record.comes_in(&head);
        hearing.said(&first);
        self.wire.worker.entry.admit(Admit { head, first: Some(first), replies: for_pending });
        let answerer = Answerer::new(
            replies,
            failures,
            for_speaker,
            Way {
                down: self.down.clone(),
                credit: self.credit.clone(),
                peer_request,
                rules: self.rules,
            },
            kind == StreamType::Unary,
            record,
        );
        let (live, finished) = (self.live.clone(), self.finished.clone());
        let over = Over { live, finished, id, _place: place };
        actix_rt::spawn(converse(answerer, Heard { words: spoken, hearing }, licences, over));
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

fn take_apart(mut request: ForwardRequest, room: Room, head: RequestHead) -> Frame {
    let peer_request = std::mem::take(&mut request.request_id);
    let (said, kind) = said(request, room, true);
    Frame { peer_request, said, kind, head }
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
    Room::in_buffers(cost, tunnel, call).ok_or(Failure::BufferFull)
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
    let now = now();
    Ok(timeout.and_then(|timeout| now.checked_add(timeout)))
}

async fn converse(
    answerer: Answerer,
    words: Heard,
    licences: mpsc::Receiver<Licence>,
    _over: Over,
) {
    let mut answering = pin!(answerer.answer());
    tokio::select! {
        biased;
        () = &mut answering => return,
        () = speak(words, true, licences) => {}
    }
    answering.await;
}

/// What the peer says, in order.
struct Heard {
    words: mpsc::Receiver<Word>,
    hearing: Hearing,
}

impl Words for Heard {
    async fn next(&mut self) -> Word {
        // The tunnel is gone when nobody can say anything any more.
        let word = self.words.recv().await.unwrap_or(Word::Failed(Failure::Cancelled));
        if let Word::Said(said) = &word {
            self.hearing.said(said);
        }
        word
    }

    fn is_awaited(&mut self) {
        self.hearing.is_awaited();
    }
}

/// Takes the call off the peer's list when it is over.
struct Over {
    live: Rc<RefCell<HashMap<String, Live>>>,
    finished: Rc<RefCell<VecDeque<String>>>,
    id: String,
    _place: Hold,
}

impl Drop for Over {
    fn drop(&mut self) {
        self.live.borrow_mut().remove(&self.id);
        let mut finished = self.finished.borrow_mut();
        if finished.len() >= FINISHED_MAX {
            finished.pop_front();
        }
        finished.push_back(std::mem::take(&mut self.id));
    }
}
