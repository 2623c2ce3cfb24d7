//! What travels between the actors, in its simplest form.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::{ECHO, SAY, SERIES_MAX, now};
use crate::actors::answering::{AnswerFrame, AnswerMetadata};
use crate::actors::event::Event;
use crate::actors::traffic::{Ending, Marks, Message, Part, RequestHead, Room};
use crate::observe::ticks::Tick;
use crate::observe::tunnels::{About, TunnelGauge, Tunnels};
use crate::tunnel::allowance::Allowance;
use crate::tunnel::answer::{Form, Step};
use crate::tunnel::code::Code;
use crate::tunnel::failure::Failure;
use crate::tunnel::id::{MemberId, MethodPath, RequestId};
use crate::tunnel::limits::Limits;
use crate::tunnel::topic::TopicName;

/// Where a tunnel is counted that nobody watches.
pub(crate) fn gauge() -> Arc<TunnelGauge> {
    let tunnels = Arc::new(Tunnels::new(SERIES_MAX));
    tunnels.watch(About::serving(&[ECHO])).gauge().clone()
}

/// Something that a member publishes under its own id.
pub(crate) fn event(publisher: MemberId, name: &str, id: &str) -> Event {
    Event {
        id: id.into(),
        is_named: true,
        name: TopicName::parse(name, 255).expect("a name"),
        publisher,
        timestamp: 1,
        metadata: HashMap::new(),
        payload: "payload".into(),
        frame: OnceLock::new(),
    }
}

pub(crate) fn head() -> RequestHead {
    let path = MethodPath::parse(SAY).expect("a path");
    let unread = Allowance::new(usize::MAX);
    let (headers, deadline, session, only) = (HeaderMap::new(), None, None, None);
    let call_buffer = Allowance::new(Limits::default().call_buffer_bytes_max);
    RequestHead {
        path,
        headers,
        deadline,
        session,
        only,
        unread,
        call_buffer,
        wait_end: OnceLock::new(),
        slot_of_key: None,
        request: RequestId::random(),
        marks: Marks::default(),
    }
}

/// The head of a call that came under these limits.
pub(crate) fn head_under(limits: &Limits) -> RequestHead {
    RequestHead { call_buffer: Allowance::new(limits.call_buffer_bytes_max), ..head() }
}

/// The head of a call that may take this long.
pub(crate) fn head_within(time: Duration) -> RequestHead {
    RequestHead { deadline: Some(now() + time), ..head() }
}

pub(crate) fn message(text: &'static str) -> Message {
    let payload = Bytes::from_static(text.as_bytes());
    Message { payload, compressed: false, room: Room::default() }
}

/// A message of an answer that goes on.
pub(crate) fn more(text: &'static str) -> Box<Part> {
    Box::new(Part { message: Some(message(text)), ..Part::default() })
}

/// A whole answer, or the last message of one.
pub(crate) fn answer(text: &'static str) -> Box<Part> {
    let ending =
        Ending::Answered { code: Code::OK, message: String::new(), trailers: HeaderMap::new() };
    Box::new(Part { ending: Some(ending), ..*more(text) })
}

/// An answer as it comes up a tunnel.
pub(crate) fn answer_frame(form: Form, text: &'static str) -> Box<AnswerFrame> {
    Box::new(AnswerFrame {
        step: Step { code: Code::OK, form, payload: Bytes::from_static(text.as_bytes()) },
        wire_bytes: text.len(),
        compressed: false,
        message: String::new(),
        metadata: AnswerMetadata::Classic(HeaderMap::new()),
        heard: Tick::default(),
    })
}

pub(crate) fn text_of(part: &Part) -> &str {
    let message = part.message.as_ref().expect("a part with a message");
    std::str::from_utf8(&message.payload).expect("text")
}

pub(crate) fn failure_in(part: &Part) -> Failure {
    match &part.ending {
        Some(Ending::Failed(failure)) => *failure,
        other => panic!("not ended by the gateway: {other:?}"),
    }
}
