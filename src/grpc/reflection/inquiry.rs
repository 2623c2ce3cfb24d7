//! One question to the server behind a tunnel: a call of the gateway's own.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use crate::actors::entry::Admit;
use crate::actors::traffic::{Ending, Marks, Message, Part, RequestHead, Room};
use crate::grpc::conversation::{HangUp, replies};
use crate::tunnel::allowance::Allowance;
use crate::tunnel::call::Said;
use crate::tunnel::code::Code;
use crate::tunnel::directory::Witness;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::{MethodPath, RequestId};

use super::Sources;

/// What became of a question.
#[derive(Debug)]
pub(super) enum Heard {
    /// The answer, with the room that it takes.
    Answer(Message),
    /// The server does not know the method.
    Unimplemented,
    /// There was no time left for an answer.
    TooLate,
    /// Anything else: nobody can tell more.
    Nothing,
}

/// Asks one server, in one whole call, so that peers without any feature understand it. Of its answer
/// the first message counts. The caller's metadata is not passed on: the caller has not chosen who is
/// asked.
pub(super) async fn ask(
    sources: &Sources,
    method: &str,
    witness: Witness,
    question: Bytes,
    deadline: Instant,
) -> Heard {
    let Some(path) = MethodPath::parse(method) else { return Heard::Nothing };
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let head = RequestHead {
        path,
        headers,
        deadline: Some(deadline),
        session: None,
        only: Some(witness),
        unread: sources.unread.clone(),
        call_buffer: Allowance::new(sources.limits.now().call_buffer_bytes_max),
        wait_end: OnceLock::new(),
        slot_of_key: None,
        request: RequestId::random(),
        marks: Marks::default(),
    };
    let message = Message { payload: question, compressed: false, room: Room::default() };
    let (for_pending, mut replies) = replies(&head);
    let first = Some(Said::LastMessage(message));
    sources.entry.admit(Admit { head: Arc::new(head), first, replies: for_pending });
    let mut hang_up = HangUp::default();
    let mut answer = None;
    while let Some(reply) = replies.recv().await {
        let Err(part) = hang_up.heard(reply) else { continue };
        let Part { message, ending, slot: _slot, .. } = *part;
        // Compressing is not offered, so that what is compressed is no answer.
        answer = answer.or(message.filter(|message| !message.compressed));
        if let Some(ending) = ending {
            hang_up.over();
            return heard(&ending, answer);
        }
    }
    Heard::Nothing
}

fn heard(ending: &Ending, answer: Option<Message>) -> Heard {
    match (ending, answer) {
        (Ending::Answered { code: Code::OK, .. }, Some(answer)) => Heard::Answer(answer),
        (Ending::Answered { code: Code::UNIMPLEMENTED, .. }, _) => Heard::Unimplemented,
        (Ending::Failed(Failure::Deadline), _) => Heard::TooLate,
        (Ending::Answered { .. } | Ending::Failed(_), _) => Heard::Nothing,
    }
}
