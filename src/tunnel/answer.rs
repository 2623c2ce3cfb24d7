//! One call's answer, as a peer gives it: three forms, one meaning.
//!
//! ```text
//!             message                  last frame / error
//!   fresh ---------------> streaming ---------------------> ended
//!     |                                                       ^
//!     '---- slice ----> slicing (one message) --- final ------'
//! ```

use bytes::{Bytes, BytesMut};

use super::code::Code;
use super::failure::Failure;

/// What has come of one answer so far.
#[derive(Debug)]
pub struct Answer {
    state: State,
    message_bytes_max: usize,
}

#[derive(Debug)]
enum State {
    Fresh,
    Streaming,
    Slicing { next: i64, gathered: BytesMut },
    Ended,
}

/// One frame of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The code as the peer sent it; non-zero ends the call whatever else the frame says.
    pub code: Code,
    /// Which of the three forms the frame has.
    pub form: Form,
    /// A message or a slice of one.
    pub payload: Bytes,
}

/// The three forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The one message and the status.
    Whole,
    /// One message of a stream.
    Stream {
        /// The frame carries the status, and a message only if its payload is not empty.
        end: bool,
    },
    /// A slice of one message.
    Slice {
        /// Its place in the message, from 0.
        index: i64,
        /// The message is complete.
        last: bool,
        /// The answer is complete too.
        end: bool,
    },
}

/// What a frame means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The frame is the answer's first: its headers are initial metadata.
    pub first: bool,
    /// A complete message.
    pub message: Option<Bytes>,
    /// The final status.
    pub end: Option<Code>,
}

impl Step {
    /// Whether the peer means this to be its last word on the call.
    pub fn is_last(&self) -> bool {
        let end = match self.form {
            Form::Whole => true,
            Form::Stream { end } | Form::Slice { end, .. } => end,
        };
        end || self.code != Code::OK
    }
}

impl Answer {
    /// An answer of which nothing has come. Messages may have `message_bytes_max` bytes.
    pub fn new(message_bytes_max: usize) -> Self {
        Self { state: State::Fresh, message_bytes_max }
    }

    /// Takes the next frame.
    ///
    /// # Errors
    ///
    /// A message over the limit, a slice out of order, or a frame after the end fail the call.
    pub fn step(&mut self, step: Step) -> Result<Progress, Failure> {
        let last = step.is_last();
        let Step { code, form, payload } = step;
        if payload.len() > self.message_bytes_max {
            self.state = State::Ended;
            return Err(Failure::MessageTooLarge);
        }
        let first = matches!(self.state, State::Fresh);
        let message = match (std::mem::replace(&mut self.state, State::Ended), form) {
            (State::Ended, _) => return Err(Failure::BadTunnelFrame),
            // A success with half a message would be a silent truncation.
            (_, Form::Slice { last: false, end: true, .. })
            | (State::Slicing { .. }, Form::Whole | Form::Stream { .. })
                if code == Code::OK =>
            {
                return Err(Failure::BadTunnelFrame);
            }
            (state, Form::Slice { index, last, .. }) if code == Code::OK => {
                self.slice(state, index, last, &payload)?
            }
            // Half a message is none: an error in the middle of slices drops them.
            (_, Form::Slice { .. }) => None,
            (State::Fresh, Form::Whole) | (_, Form::Stream { end: false }) if code == Code::OK => {
                Some(payload)
            }
            (_, Form::Whole | Form::Stream { .. }) => Some(payload).filter(|p| !p.is_empty()),
        };
        if !last && matches!(self.state, State::Ended) {
            self.state = State::Streaming;
        }
        Ok(Progress { first, message, end: last.then_some(code) })
    }

    /// Bytes of an unfinished message.
    pub fn gathered(&self) -> usize {
        match &self.state {
            State::Slicing { gathered, .. } => gathered.len(),
            State::Fresh | State::Streaming | State::Ended => 0,
        }
    }

    /// Whether the first frame is still to come.
    pub fn is_fresh(&self) -> bool {
        matches!(self.state, State::Fresh)
    }

    fn slice(
        &mut self,
        state: State,
        index: i64,
        last: bool,
        payload: &Bytes,
    ) -> Result<Option<Bytes>, Failure> {
        let (next, mut gathered) = match state {
            State::Slicing { next, gathered } => (next, gathered),
            State::Fresh | State::Streaming | State::Ended => (0, BytesMut::new()),
        };
        if index != next {
            return Err(Failure::BadTunnelFrame);
        }
        if gathered.len() + payload.len() > self.message_bytes_max {
            return Err(Failure::MessageTooLarge);
        }
        gathered.extend_from_slice(payload);
        if last {
            return Ok(Some(gathered.freeze()));
        }
        self.state = State::Slicing { next: next + 1, gathered };
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answer_is_a_message_and_a_status() {
        let mut answer = Answer::new(8);
        assert_eq!(answer.step(ok(Form::Whole, "hi")), progress(true, Some("hi"), Some(Code::OK)));
        assert_eq!(answer.step(ok(Form::Whole, "again")), Err(Failure::BadTunnelFrame));
    }

    #[test]
    fn an_empty_payload_is_an_empty_message_only_with_status_ok() {
        assert_eq!(
            Answer::new(8).step(ok(Form::Whole, "")),
            progress(true, Some(""), Some(Code::OK))
        );
        assert_eq!(
            Answer::new(8).step(Step { code: Code::NOT_FOUND, ..ok(Form::Whole, "") }),
            progress(true, None, Some(Code::NOT_FOUND))
        );
    }

    #[test]
    fn a_stream_gives_a_message_a_frame_and_an_empty_last_frame_is_no_message() {
        let mut answer = Answer::new(8);
        let more = Form::Stream { end: false };
        assert_eq!(answer.step(ok(more, "a")), progress(true, Some("a"), None));
        assert_eq!(answer.step(ok(more, "")), progress(false, Some(""), None));
        let end = Form::Stream { end: true };
        assert_eq!(answer.step(ok(end, "")), progress(false, None, Some(Code::OK)));
    }

    #[test]
    fn the_last_frame_of_a_stream_may_carry_a_message() {
        let end = Form::Stream { end: true };
        assert_eq!(Answer::new(8).step(ok(end, "a")), progress(true, Some("a"), Some(Code::OK)));
    }

    #[test]
    fn an_error_ends_the_answer_whatever_the_frame_says() {
        let mut answer = Answer::new(8);
        let step = Step { code: Code::ABORTED, ..ok(Form::Stream { end: false }, "") };
        assert_eq!(answer.step(step), progress(true, None, Some(Code::ABORTED)));
    }

    #[test]
    fn slices_make_one_message() {
        let mut answer = Answer::new(8);
        let slice = |index, last| Form::Slice { index, last, end: last };
        assert_eq!(answer.step(ok(slice(0, false), "ab")), progress(true, None, None));
        assert_eq!(answer.step(ok(slice(1, false), "cd")), progress(false, None, None));
        assert_eq!(answer.gathered(), 4);
        assert_eq!(
            answer.step(ok(slice(2, true), "e")),
            progress(false, Some("abcde"), Some(Code::OK))
        );
    }

    #[test]
    fn slices_out_of_order_or_over_the_limit_fail_the_call() {
        let slice = |index| Form::Slice { index, last: false, end: false };
        let mut answer = Answer::new(8);
        answer.step(ok(slice(0), "ab")).unwrap();
        assert_eq!(answer.step(ok(slice(2), "cd")), Err(Failure::BadTunnelFrame));
        let mut answer = Answer::new(3);
        answer.step(ok(slice(0), "ab")).unwrap();
        assert_eq!(answer.step(ok(slice(1), "cd")), Err(Failure::MessageTooLarge));
    }

    #[test]
    fn half_a_message_is_never_a_success() {
        let mut answer = Answer::new(8);
        answer.step(ok(Form::Slice { index: 0, last: false, end: false }, "ab")).unwrap();
        assert_eq!(answer.step(ok(Form::Whole, "")), Err(Failure::BadTunnelFrame));
        let cut = Form::Slice { index: 0, last: false, end: true };
        assert_eq!(Answer::new(8).step(ok(cut, "ab")), Err(Failure::BadTunnelFrame));
    }

    #[test]
    fn a_message_at_the_limit_passes_and_one_byte_more_does_not() {
        assert!(Answer::new(3).step(ok(Form::Whole, "abc")).is_ok());
        assert_eq!(Answer::new(3).step(ok(Form::Whole, "abcd")), Err(Failure::MessageTooLarge));
    }

    fn ok(form: Form, payload: &'static str) -> Step {
        Step { code: Code::OK, form, payload: Bytes::from_static(payload.as_bytes()) }
    }

    #[expect(clippy::unnecessary_wraps, reason = "compared with what `step` returns")]
    fn progress(
        first: bool,
        message: Option<&'static str>,
        end: Option<Code>,
    ) -> Result<Progress, Failure> {
        let message = message.map(|text| Bytes::from_static(text.as_bytes()));
        Ok(Progress { first, message, end })
    }
}
