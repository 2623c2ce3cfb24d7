//! A caller's stream: in goes a call, out comes its answer.
//!
//! What the caller says goes to its pending actor by [`speak`]; what comes back is written here.
//! If the caller goes away, [`HangUp`] tells.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::Request;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::actors::entry::Admit;
use crate::actors::pending::Reply;
use crate::actors::traffic::{Ending, Message, Part, RequestHead};
use crate::observe::limits::{self, Limit};
use crate::observe::tally::{Count, count};
use crate::observe::ticks::Tick;
use crate::tunnel::call::Said;
use crate::tunnel::failure::Failure;
use crate::tunnel::limits::Limits;

use super::answer::{AnswerWriter, http_status, pieces};
use super::call_record::CallRecord;
use super::conversation::{HangUp, Licence, Word, Words as _, licences, replies, speak};
use super::head;
use super::refused_key;
use super::revocation;
use super::speech::Speech;
use super::stream::MessageStream;
use super::wire::{Phase, Shared, StreamSlot, Wire};

/// Serves one call until its end, or until its caller is gone.
pub fn serve(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    slot: StreamSlot,
    shared: &Shared,
    wire: &Rc<Wire>,
) {
    let (mut parts, body) = request.into_parts();
    let content_type = match head::content_type(&parts.method, &parts.headers) {
        Ok(content_type) => content_type,
        Err(code) => return http_status(respond, slot, code),
    };
    let record = CallRecord::begin(wire, parts.uri.path(), &mut parts.headers, shared.remote);
    let mut writer = AnswerWriter::new(respond, content_type, wire.metadata_limit(), slot, record);
    let (head, credential) = match head::read(parts, shared, wire, writer.record()) {
        Ok(admitted) => admitted,
        Err(Failure::BadCredentials) => {
            let (remote, wire) = (shared.remote, wire.clone());
            let wrong_key = async move {
                refused_key::shown("call", remote, &wire).await;
                refuse(writer, Failure::BadCredentials);
            };
            actix_rt::spawn(wrong_key);
            return;
        }
        Err(failure) => return refuse(writer, failure),
    };
    if let Some(deadline) = head.deadline {
        writer.is_awaited_until(deadline);
    }
    let limits = wire.worker.tunnels.limits.now();
    let body = MessageStream::new(body, limits.message_bytes_max, wire.gathering.clone());
    let body = Speech::new(body, limits.message_timeout, writer.record().comes_in(&head));
    let (for_pending, replies) = replies(&head);
    let mut listener = Listener::new(writer, replies, &limits, head.deadline);
    listener.revoked = credential.map(|credential| {
        let (keys, certificate) = (wire.keys.clone(), shared.certificate.clone());
        let revoked = revocation::of_call(keys, credential, certificate, head.clone());
        Box::pin(revoked) as Pin<Box<dyn Future<Output = Failure>>>
    });
    let caller = Caller { head, body, for_pending, wire: wire.clone() };
    actix_rt::spawn(caller.call(listener));
}

/// Ends a call that is not admitted.
fn refuse(mut writer: AnswerWriter, failure: Failure) {
    count(Count::CallRefused);
    // A caller that is gone needs no answer.
    drop(writer.end(Ending::Failed(failure), Tick::default()));
}

/// A call before it is admitted. A task's future is copied when it is started, so what is large is
/// behind a pointer: the head here, the listener, and the speaker that most calls do not need.
struct Caller {
    head: Arc<RequestHead>,
    body: Speech,
    for_pending: mpsc::Sender<Reply>,
    wire: Rc<Wire>,
}

impl Caller {
    async fn call(self, mut listener: Box<Listener>) {
        let Self { head, mut body, for_pending, wire } = self;
        // Most calls have said all they will by now, and then the first hop takes everything along.
        let first = match now_or_later(body.next()).await {
            None => None,
            Some(Word::Said(said)) => Some(said),
            Some(Word::Failed(failure)) => return refuse(listener.writer, failure),
        };
        let begun = first.is_some();
        let whole = matches!(first, Some(Said::LastMessage(_) | Said::HalfClose));
        let speaker = (!whole).then(|| {
            let (for_speaker, licences) = licences();
            listener.for_speaker = Some(for_speaker);
            listener.phase = Some(wire.phase.clone());
            Box::pin(speak(body, begun, licences))
        });
        wire.worker.entry.admit(Admit { head, first, replies: for_pending });
        drop(wire);
        let mut listening = pin!(listener.listen());
        if let Some(speaker) = speaker {
            tokio::select! {
                biased;
                () = &mut listening => return,
                () = speaker => {}
            }
        }
        listening.await;
    }
}

/// Waits until the gateway begins to stop; for ever where nobody needs to know.
async fn change(phase: &mut Option<watch::Receiver<Phase>>) {
    if let Some(phase) = phase
        && phase.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Why the key does not allow the call any more; never for a call without one.
async fn refusal(revoked: &mut Option<Pin<Box<dyn Future<Output = Failure>>>>) -> Failure {
    match revoked {
        Some(revoked) => revoked.await,
        None => std::future::pending().await,
    }
}

/// What comes of a future now; it is not waited for.
async fn now_or_later<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

/// Hears replies and writes the answer.
struct Listener {
    replies: mpsc::Receiver<Reply>,
    for_speaker: Option<mpsc::Sender<Licence>>,
    writer: AnswerWriter,
    /// Parts that came while the caller was not reading.
    backlog: VecDeque<Box<Part>>,
    hang_up: HangUp,
    send_stall_timeout: Duration,
    /// The caller's time counts until it has its answer; its pending actor may be gone before.
    deadline: Option<Instant>,
    /// Tells when the caller's key does not allow the call any more, if it needs one.
    revoked: Option<Pin<Box<dyn Future<Output = Failure>>>>,
    /// Tells a call that its caller has more to say to when the gateway stops.
    phase: Option<watch::Receiver<Phase>>,
}

/// Why writing stopped before the end.
enum Stopped {
    /// The caller is gone.
    Gone,
    /// The call failed in a way that does not wait for the caller to read what came before.
    Failed {
        failure: Failure,
        /// A part of a message has been sent.
        in_message: bool,
    },
}

impl From<h2::Error> for Stopped {
    fn from(_: h2::Error) -> Self {
        Self::Gone
    }
}

impl Listener {
    fn new(
        writer: AnswerWriter,
        replies: mpsc::Receiver<Reply>,
        limits: &Limits,
        deadline: Option<std::time::Instant>,
    ) -> Box<Self> {
        Box::new(Self {
            replies,
            for_speaker: None,
            writer,
            backlog: VecDeque::new(),
            hang_up: HangUp::default(),
            send_stall_timeout: limits.send_stall_timeout,
            deadline: deadline.map(Instant::from_std),
            revoked: None,
            phase: None,
        })
    }

    async fn listen(&mut self) {
        loop {
            let Some(part) = self.next_part().await else { return };
            let last = part.ending.is_some();
            match self.write(part).await {
                Ok(()) if last => return self.hang_up.over(),
                Ok(()) => {}
                Err(Stopped::Gone) => return,
                Err(Stopped::Failed { failure, in_message }) => {
                    self.hang_up.over();
                    return self.give_up(failure, in_message);
                }
            }
        }
    }

    /// The next part of the answer; `None` when the caller is gone.
    async fn next_part(&mut self) -> Option<Box<Part>> {
        loop {
            if let Some(part) = self.backlog.pop_front() {
                return Some(part);
            }
            tokio::select! {
                biased;
                reply = self.replies.recv() => {
                    if let Some(part) = self.hear(reply) {
                        return Some(part);
                    }
                }
                failure = refusal(&mut self.revoked) => {
                    self.revoked = None;
                    self.hang_up.leave(failure);
                }
                () = change(&mut self.phase) => {
                    self.phase = None;
                    self.hang_up.drained();
                }
                () = self.writer.gone() => {
                    // Whom to tell is known once the call has been admitted.
                    while !self.hang_up.is_admitted()
                        && let Some(reply) = self.replies.recv().await
                    {
                        self.hear(Some(reply));
                    }
                    return None;
                }
            }
        }
    }

    fn hear(&mut self, reply: Option<Reply>) -> Option<Box<Part>> {
        // Every call is told its end; whoever drops the line without has broken.
        let Some(reply) = reply else { return Some(Part::failed(Failure::Panic)) };
        match (self.hang_up.heard(reply), &self.for_speaker) {
            (Err(part), _) => {
                if part.ending.is_some() {
                    self.writer.record().end_has_come();
                }
                return Some(part);
            }
            // A speaker that has finished needs no licence.
            (Ok(licence), Some(speaker)) => drop(speaker.try_send(licence)),
            (Ok(_), None) => {}
        }
        None
    }

    async fn write(&mut self, part: Box<Part>) -> Result<(), Stopped> {
        let Part { headers, message, ending, slot: _slot, heard } = *part;
        if headers.is_some() || message.is_some() {
            self.writer.headers(headers)?;
        }
        if let Some(Message { payload, compressed, room }) = message {
            let (mut in_message, bytes) = (false, payload.len());
            for piece in pieces(compressed, payload) {
                self.write_piece(piece, in_message).await?;
                in_message = true;
            }
            drop(room);
            self.writer.record().message_sent(bytes);
        }
        ending.map_or(Ok(()), |ending| self.writer.end(ending, heard).map_err(Stopped::from))
    }

    async fn write_piece(&mut self, mut piece: Bytes, mut in_message: bool) -> Result<(), Stopped> {
        while !piece.is_empty() {
            let stalled = Instant::now() + self.send_stall_timeout;
            let until = self.deadline.map_or(stalled, |deadline| deadline.min(stalled));
            let allowed = self.capacity(piece.len(), until, in_message).await?;
            self.writer.data(piece.split_to(allowed.min(piece.len())))?;
            in_message = true;
        }
        Ok(())
    }

    /// Waits until the caller takes more, or gives it up; meanwhile replies are heard and kept.
    async fn capacity(
        &mut self,
        wanted: usize,
        until: Instant,
        in_message: bool,
    ) -> Result<usize, Stopped> {
        loop {
            tokio::select! {
                biased;
                allowed = self.writer.capacity(wanted) => return Ok(allowed?),
                () = tokio::time::sleep_until(until) => return Err(self.overdue(in_message)),
                failure = refusal(&mut self.revoked) => {
                    self.revoked = None;
                    self.hang_up.leave(failure);
                    return Err(Stopped::Failed { failure, in_message });
                }
                reply = self.replies.recv(), if !self.is_complete() => {
                    if let Some(part) = self.hear(reply) {
                        self.keep(part, in_message)?;
                    }
                }
            }
        }
    }

    /// The caller has taken nothing in time: its own, or what the gateway waits.
    fn overdue(&mut self, in_message: bool) -> Stopped {
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Stopped::Failed { failure: Failure::Deadline, in_message };
        }
        count(Count::SendStalled);
        limits::hit(Limit::SendStallTimeout);
        self.writer.reset(Reason::CANCEL);
        Stopped::Gone
    }

    /// Whether the end is in the backlog: nothing more will come.
    fn is_complete(&self) -> bool {
        self.backlog.back().is_some_and(|part| part.ending.is_some())
    }

    fn keep(&mut self, part: Box<Part>, in_message: bool) -> Result<(), Stopped> {
        match part.ending {
            Some(Ending::Failed(failure)) if failure.drops_backlog() => {
                Err(Stopped::Failed { failure, in_message })
            }
            _ => {
                self.backlog.push_back(part);
                Ok(())
            }
        }
    }

    fn give_up(&mut self, failure: Failure, in_message: bool) {
        if in_message {
            self.writer.cut(failure);
        } else {
            // A caller that is gone needs no answer.
            drop(self.writer.end(Ending::Failed(failure), Tick::default()));
        }
    }
}
