//! The answer to one call, put together from a peer's frames.
//!
//! [`Answer`] knows the forms; this adds what the rules do not look at: metadata, and the room
//! that messages take until their caller has read them.

use http::HeaderMap;

use crate::observe::limits::{self, Limit};
use crate::observe::ticks::Tick;
use crate::tunnel::allowance::Allowance;
use crate::tunnel::answer::{Answer, Progress, Step};
use crate::tunnel::code::Code;
use crate::tunnel::failure::Failure;
use crate::tunnel::limits::Limits;

use super::mailbox::Mailbox;
use super::registry::Outcome;
use super::traffic::{
    Ending, MESSAGE_OVERHEAD_BYTES, Message, MetadataLimit, Part, RequestHead, Room, append,
};

/// Status details travel in the trailers, wherever a peer puts them.
const DETAILS: &str = "grpc-status-details-bin";

/// Trailers that come before the end are kept up to so many times what metadata may have.
const TRAILERS_TIMES_MAX: usize = 4;

/// One frame of an answer, as it came up a tunnel.
#[derive(Debug)]
pub struct AnswerFrame {
    /// What the rules look at.
    pub step: Step,
    /// The frame as it came: what it takes of the buffers until its caller has it.
    pub wire_bytes: usize,
    /// The payload is compressed.
    pub compressed: bool,
    /// The status message.
    pub message: String,
    /// The metadata that came with it.
    pub metadata: AnswerMetadata,
    /// When it was read.
    pub heard: Tick,
}

/// Metadata of one frame.
#[derive(Debug)]
pub enum AnswerMetadata {
    /// One map; what it is depends on the frame's place in the answer.
    Classic(HeaderMap),
    /// Feature `headers`: each for itself.
    Exact {
        /// Initial metadata.
        headers: HeaderMap,
        /// Trailing metadata.
        trailers: HeaderMap,
    },
}

/// An answer that is coming.
#[derive(Debug)]
pub struct Answering {
    /// Who gets it.
    pub caller: Mailbox<Outcome>,
    answer: Answer,
    /// The call's share of the tunnel's buffers.
    buffer: Allowance,
    /// What its caller's connection holds, with all its calls.
    unread: Allowance,
    /// Room held for an unfinished message.
    gathered: Room,
    /// Trailers that came before the end.
    kept: HeaderMap,
    metadata: MetadataLimit,
}

impl Answering {
    /// An answer of which nothing has come.
    pub fn new(caller: Mailbox<Outcome>, head: &RequestHead, limits: &Limits) -> Self {
        Self {
            caller,
            answer: Answer::new(limits.message_bytes_max),
            buffer: head.call_buffer.clone(),
            unread: head.unread.clone(),
            gathered: Room::default(),
            kept: HeaderMap::new(),
            metadata: MetadataLimit::of(limits),
        }
    }

    /// Takes the next frame; the part for the caller, if there is one yet.
    ///
    /// # Errors
    ///
    /// What the rules refuse, `MetadataTooLarge`, and `BufferFull` when the caller reads too slowly.
    pub fn step(
        &mut self,
        frame: AnswerFrame,
        tunnel_buffer: &Allowance,
    ) -> Result<Option<Box<Part>>, Failure> {
        let AnswerFrame { step, wire_bytes, compressed, message: status, metadata, heard } = frame;
        let Progress { first, message, end } = self.answer.step(step)?;
        let mut room = self.take_room(wire_bytes + MESSAGE_OVERHEAD_BYTES, tunnel_buffer)?;
        let bare_error = message.is_none() && end.is_some_and(|code| code != Code::OK);
        let (headers, trailers) = self.sort(metadata, first, end.is_some(), bare_error);
        self.check(headers.as_ref())?;
        let message = if let Some(payload) = message {
            room.absorb(std::mem::take(&mut self.gathered));
            Some(Message { payload, compressed, room })
        } else {
            self.gathered.absorb(room);
            None
        };
        let headers = headers.filter(|map| message.is_some() || !map.is_empty());
        let ending = end.map(|code| Ending::Answered { code, message: status, trailers });
        let nothing = headers.is_none() && message.is_none() && ending.is_none();
        Ok((!nothing).then(|| Box::new(Part { headers, message, ending, slot: None, heard })))
    }

    /// Room in the buffers. A caller's connection that holds some already may not have more than it
    /// leaves to the others, so that slow callers, however many, never take the last of it.
    fn take_room(&self, cost: usize, tunnel_buffer: &Allowance) -> Result<Room, Failure> {
        let held = self.unread.used();
        if held > 0 && held + cost > tunnel_buffer.free() {
            limits::hit(Limit::TunnelBufferBytesMax);
            return Err(Failure::BufferFull);
        }
        let room = Room::in_buffers(cost, tunnel_buffer, &self.buffer);
        let room = room.ok_or(Failure::BufferFull)?;
        Ok(Room { unread: self.unread.take(cost), ..room })
    }

    /// Trailers over the limit are cut on their way out; here only what nobody means to send ends a
    /// call.
    fn check(&self, headers: Option<&HeaderMap>) -> Result<(), Failure> {
        let of_trailers = self.metadata.times(TRAILERS_TIMES_MAX);
        let checks = [(self.metadata, headers), (of_trailers, Some(&self.kept))];
        for (limit, headers) in checks {
            if let Some(headers) = headers.filter(|headers| !limit.admits(headers)) {
                limit.is_passed_by(headers);
                return Err(Failure::MetadataTooLarge);
            }
        }
        Ok(())
    }

    /// Which of a frame's metadata goes before the messages, and which after them.
    fn sort(
        &mut self,
        metadata: AnswerMetadata,
        first: bool,
        last: bool,
        bare_error: bool,
    ) -> (Option<HeaderMap>, HeaderMap) {
        let mut trailers = std::mem::take(&mut self.kept);
        let headers = match metadata {
            AnswerMetadata::Exact { headers, trailers: exact } => {
                append(&mut trailers, &exact);
                first.then_some(headers)
            }
            AnswerMetadata::Classic(mut map) => {
                move_details(&mut map, &mut trailers);
                // An error that is all there is stays one block on its way to the caller.
                if first && !(last && bare_error) {
                    Some(map)
                } else {
                    if last {
                        append(&mut trailers, &map);
                    }
                    None
                }
            }
        };
        if !last {
            self.kept = std::mem::take(&mut trailers);
        }
        (headers, trailers)
    }
}

fn move_details(from: &mut HeaderMap, to: &mut HeaderMap) {
    if let Some(details) = from.remove(DETAILS) {
        to.insert(http::HeaderName::from_static(DETAILS), details);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::testing::{head_under, probe};
    use crate::tunnel::answer::Form;
    use bytes::Bytes;

    #[actix::test]
    async fn headers_of_the_first_frame_are_initial_metadata_and_of_the_last_trailers() {
        let (mut answering, buffer) = answering();
        let more = Form::Stream { end: false };
        let part = answering.step(frame(more, "a", &[("x", "1")]), &buffer).unwrap().unwrap();
        assert_eq!(part.headers.unwrap()["x"], "1");
        let end = Form::Stream { end: true };
        let part = answering.step(frame(end, "", &[("y", "2")]), &buffer).unwrap().unwrap();
        let Some(Ending::Answered { trailers, .. }) = part.ending else { panic!("the end") };
        assert!(part.headers.is_none() && part.message.is_none());
        assert_eq!(trailers["y"], "2");
    }

    #[actix::test]
    async fn an_only_frame_gives_initial_metadata_but_details_are_trailers() {
        let (mut answering, buffer) = answering();
        let only = frame(Form::Whole, "a", &[("x", "1"), (DETAILS, "ZGV0")]);
        let part = answering.step(only, &buffer).unwrap().unwrap();
        let Some(Ending::Answered { trailers, .. }) = part.ending else { panic!("the end") };
        let headers = part.headers.unwrap();
        assert!(headers.contains_key("x") && !headers.contains_key(DETAILS));
        assert_eq!(trailers[DETAILS], "ZGV0");
    }

    #[actix::test]
    async fn an_error_without_a_payload_is_one_block() {
        let (mut answering, buffer) = answering();
        let mut only = frame(Form::Whole, "", &[("x", "1")]);
        only.step.code = Code::NOT_FOUND;
        let part = answering.step(only, &buffer).unwrap().unwrap();
        let Some(Ending::Answered { trailers, .. }) = part.ending else { panic!("the end") };
        assert!(part.headers.is_none());
        assert_eq!(trailers["x"], "1");
    }

    #[actix::test]
    async fn what_a_slow_caller_holds_is_bounded_and_comes_back() {
        let (probe, _) = probe();
        let limits = Limits { call_buffer_bytes_max: 1_000, ..Limits::default() };
        let mut answering = Answering::new(probe, &head_under(&limits), &limits);
        let buffer = Allowance::new(10_000);
        let more = Form::Stream { end: false };
        let held = answering.step(frame(more, "abc", &[]), &buffer).unwrap();
        let more_held = answering.step(frame(more, "abc", &[]), &buffer).unwrap();
        let third = answering.step(frame(more, "abc", &[]), &buffer).unwrap();
        let refused = answering.step(frame(more, "abc", &[]), &buffer);
        assert_eq!(refused.unwrap_err(), Failure::BufferFull);
        drop((held, more_held, third));
        assert_eq!(buffer.used(), 0);
    }

    #[actix::test]
    async fn a_message_in_slices_holds_the_room_of_all_of_them() {
        let (mut answering, buffer) = answering();
        let slice = |index, last| Form::Slice { index, last, end: false };
        assert!(answering.step(frame(slice(0, false), "ab", &[]), &buffer).unwrap().is_none());
        let part = answering.step(frame(slice(1, true), "cd", &[]), &buffer).unwrap().unwrap();
        assert_eq!(buffer.used(), 2 * (2 + MESSAGE_OVERHEAD_BYTES));
        drop(part);
        assert_eq!(buffer.used(), 0);
    }

    #[actix::test]
    async fn slow_callers_never_take_the_last_of_a_tunnels_buffer() {
        let limits = Limits::default();
        let buffer = Allowance::new(100 * MESSAGE_OVERHEAD_BYTES);
        let more = || frame(Form::Stream { end: false }, "", &[]);
        let mut held = Vec::new();
        for _ in 0..5 {
            let mut hog = Answering::new(probe().0, &head_under(&limits), &limits);
            while let Ok(part) = hog.step(more(), &buffer) {
                held.push(part);
            }
        }
        assert!(buffer.free() > 0);
        let mut innocent = Answering::new(probe().0, &head_under(&limits), &limits);
        assert!(innocent.step(more(), &buffer).is_ok());
    }

    #[actix::test]
    async fn more_metadata_than_a_call_may_have_ends_it() {
        let limits = Limits { metadata_entries_max: 2, ..Limits::default() };
        let headers = [("a", "1"), ("b", "2"), ("c", "3")];
        let buffer = Allowance::new(limits.tunnel_buffer_bytes_max);
        let mut answering = Answering::new(probe().0, &head_under(&limits), &limits);
        let refused = answering.step(frame(Form::Whole, "", &headers), &buffer);
        assert_eq!(refused.unwrap_err(), Failure::MetadataTooLarge);
    }

    fn answering() -> (Answering, Allowance) {
        let limits = Limits::default();
        (
            Answering::new(probe().0, &head_under(&limits), &limits),
            Allowance::new(limits.tunnel_buffer_bytes_max),
        )
    }

    fn frame(form: Form, payload: &'static str, headers: &[(&'static str, &str)]) -> AnswerFrame {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        AnswerFrame {
            step: Step { code: Code::OK, form, payload: Bytes::from_static(payload.as_bytes()) },
            wire_bytes: payload.len(),
            compressed: false,
            message: String::new(),
            metadata: AnswerMetadata::Classic(headers.collect()),
            heard: Tick::default(),
        }
    }
}
