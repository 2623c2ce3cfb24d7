//! The answer to one call, put together from a peer's frames.
//!
//! [`Answer`] knows the forms; this adds what the rules do not look at: metadata, and the room
//! that messages take until their caller has read them.

use actix::Recipient;
use http::HeaderMap;

use crate::tunnel::allowance::{Allowance, Hold};
use crate::tunnel::answer::{Answer, Progress, Step};
use crate::tunnel::code::Code;
use crate::tunnel::failure::Failure;
use crate::tunnel::limits::Limits;

use super::registry::Outcome;
use super::traffic::{Ending, MESSAGE_OVERHEAD_BYTES, Message, Part, Room};

/// Status details travel in the trailers, wherever a peer puts them.
const DETAILS: &str = "grpc-status-details-bin";

/// One frame of an answer, as it came up a tunnel.
#[derive(Debug)]
pub struct AnswerFrame {
    /// What the rules look at.
    pub step: Step,
    /// The payload is compressed.
    pub compressed: bool,
    /// The status message.
    pub message: String,
    /// The metadata that came with it.
    pub metadata: AnswerMetadata,
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
    pub caller: Recipient<Outcome>,
    answer: Answer,
    /// The call's share of the tunnel's buffers.
    buffer: Allowance,
    /// Room held for an unfinished message.
    gathered: Vec<Hold>,
    /// Trailers that came before the end.
    kept: HeaderMap,
}

impl Answering {
    /// An answer of which nothing has come.
    pub fn new(caller: Recipient<Outcome>, limits: &Limits) -> Self {
        Self {
            caller,
            answer: Answer::new(limits.message_bytes_max),
            buffer: Allowance::new(limits.call_buffer_bytes_max),
            gathered: Vec::new(),
            kept: HeaderMap::new(),
        }
    }

    /// Takes the next frame; the part for the caller, if there is one yet.
    ///
    /// # Errors
    ///
    /// What the rules refuse, and `BufferFull` when the caller reads too slowly.
    pub fn step(
        &mut self,
        frame: AnswerFrame,
        tunnel_buffer: &Allowance,
    ) -> Result<Option<Box<Part>>, Failure> {
        let AnswerFrame { step, compressed, message: status, metadata } = frame;
        let cost = step.payload.len() + MESSAGE_OVERHEAD_BYTES;
        let room = self.take_room(cost, tunnel_buffer)?;
        let Progress { first, message, end } = self.answer.step(step)?;
        let bare_error = message.is_none() && end.is_some_and(|code| code != Code::OK);
        let (headers, trailers) = self.sort(metadata, first, end.is_some(), bare_error);
        let message = if let Some(payload) = message {
            self.gathered.clear();
            Some(Message { payload, compressed, room })
        } else {
            self.gathered.extend(room.tunnel_buffer.into_iter().chain(room.call_buffer));
            None
        };
        let headers = headers.filter(|map| message.is_some() || !map.is_empty());
        let ending = end.map(|code| Ending::Answered { code, message: status, trailers });
        let nothing = headers.is_none() && message.is_none() && ending.is_none();
        Ok((!nothing).then(|| Box::new(Part { headers, message, ending })))
    }

    fn take_room(&self, cost: usize, tunnel_buffer: &Allowance) -> Result<Room, Failure> {
        let (Some(of_tunnel), Some(of_call)) = (tunnel_buffer.take(cost), self.buffer.take(cost))
        else {
            return Err(Failure::BufferFull);
        };
        Ok(Room { tunnel_buffer: Some(of_tunnel), call_buffer: Some(of_call), ..Room::default() })
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
                trailers.extend(exact);
                first.then_some(headers)
            }
            AnswerMetadata::Classic(mut map) => {
                move_details(&mut map, &mut trailers);
                // An error that is all there is stays one block on its way to the caller.
                if first && !(last && bare_error) {
                    Some(map)
                } else {
                    if last {
                        trailers.extend(map);
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
    use crate::actors::testing::probe;
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
        let mut answering = Answering::new(probe, &limits);
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

    fn answering() -> (Answering, Allowance) {
        let limits = Limits::default();
        (Answering::new(probe().0, &limits), Allowance::new(limits.tunnel_buffer_bytes_max))
    }

    fn frame(form: Form, payload: &'static str, headers: &[(&'static str, &str)]) -> AnswerFrame {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        AnswerFrame {
            step: Step { code: Code::OK, form, payload: Bytes::from_static(payload.as_bytes()) },
            compressed: false,
            message: String::new(),
            metadata: AnswerMetadata::Classic(headers.collect()),
        }
    }
}
