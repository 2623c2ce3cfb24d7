//! One call, from its caller's side: when it asks for a line, what it sends, how it ends.
//!
//! ```text
//!          said                opened
//!   idle --------> asking ----------------> open ----------.
//!                   ^  |                                    | answered (last) / left
//!    whole at last  |  | refused: whole only                v
//!                   |  v                                   ended
//!               gathering --- second message / left -----> ended
//!
//!   asking --left--> leaving --opened (cancel) / refused--> ended
//! ```
//!
//! While it is idle or asking, the registry may let it wait for a tunnel. A caller that leaves then
//! withdraws it there, which the registry answers with a refusal. A withdrawal may pass the question
//! on its way through other registries, so a call that leaves says it again when it is told that it
//! waits.
//!
//! A call whose caller half-closed with its only message is one frame, whoever serves it. Of any
//! other call every message is a frame, and so is the half-close; only peers that stream get
//! those. Frames cannot overtake each other: nothing is sent before the line is known.

use super::failure::Failure;

/// One call. `M` is a message with whatever must travel with it.
#[derive(Debug)]
pub struct Call<M> {
    state: State<M>,
    /// The sequence number of the next frame.
    sequence: i64,
}

#[derive(Debug)]
enum State<M> {
    /// The caller has said nothing yet.
    Idle,
    /// The registry looks for a tunnel and has the first frame.
    Asking,
    /// Only peers that take whole calls serve this; the message waits for the half-close.
    Gathering(M),
    /// The call has a line.
    Open { half_closed: bool },
    /// The caller has been told this; the registry has not answered yet.
    Leaving(Failure),
    /// Nothing more may happen.
    Ended,
}

/// What a caller says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<M> {
    /// A message; more may follow.
    Message(M),
    /// A message and the half-close.
    LastMessage(M),
    /// The half-close alone.
    HalfClose,
}

/// What goes down the tunnel.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<M> {
    /// A whole call: the only message and the half-close.
    Whole(M),
    /// One message of a stream.
    Message {
        /// Its place in the stream, from 0.
        sequence: i64,
        /// The message.
        message: M,
    },
    /// The half-close of a stream.
    HalfClose {
        /// Its place in the stream.
        sequence: i64,
    },
}

/// What must be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Order<M> {
    /// Nothing.
    Nothing,
    /// Ask the registry for a tunnel, with the first frame.
    Ask(Frame<M>),
    /// Send these down the line, in this order.
    Send(Frame<M>, Option<Frame<M>>),
    /// Let the caller go on: only its half-close is still missing, and it must come in time.
    AwaitHalfClose,
    /// Tell the caller that the call has failed; nothing is to be cancelled.
    Fail(Failure),
    /// Tell the caller, and the tunnel that the call is over.
    FailAndCancel(Failure),
    /// Tell the caller, and the registry that the call need not wait for a tunnel any more.
    FailAndWithdraw(Failure),
    /// Tell the registry only.
    Withdraw(Failure),
    /// Tell the tunnel only: the caller has been told this already.
    Cancel(Failure),
}

impl<M> Call<M> {
    /// A call of which only the head is known.
    pub fn new() -> Self {
        Self { state: State::Idle, sequence: 0 }
    }

    /// The caller says something.
    pub fn said(&mut self, said: Said<M>) -> Order<M> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Idle => {
                self.state = State::Asking;
                Order::Ask(self.first_frame(said))
            }
            State::Gathering(message) if matches!(said, Said::HalfClose) => {
                self.state = State::Asking;
                Order::Ask(Frame::Whole(message))
            }
            State::Gathering(_) => Order::Fail(Failure::UnaryOnly),
            State::Open { half_closed: false } => self.next_frames(said),
            // The callers of this wait for the line and say nothing after the half-close; a word
            // out of turn is ignored, as late words are.
            state @ (State::Asking | State::Open { .. } | State::Leaving(_) | State::Ended) => {
                self.state = state;
                Order::Nothing
            }
        }
    }

    /// The registry has found a tunnel and given it the first frame; `whole` if that was all.
    pub fn opened(&mut self, whole: bool) -> Order<M> {
        match self.state {
            State::Asking => {
                self.state = State::Open { half_closed: whole };
                Order::Nothing
            }
            State::Leaving(failure) => {
                self.state = State::Ended;
                Order::Cancel(failure)
            }
            State::Idle | State::Gathering(_) | State::Open { .. } | State::Ended => Order::Nothing,
        }
    }

    /// The registry lets the call wait for a tunnel.
    pub fn waits(&self) -> Order<M> {
        match self.state {
            State::Leaving(failure) => Order::Withdraw(failure),
            State::Idle
            | State::Asking
            | State::Gathering(_)
            | State::Open { .. }
            | State::Ended => Order::Nothing,
        }
    }

    /// The registry has found no tunnel.
    pub fn refused(&mut self, failure: Failure) -> Order<M> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended | State::Leaving(_) => Order::Nothing,
            State::Idle | State::Asking | State::Gathering(_) | State::Open { .. } => {
                Order::Fail(failure)
            }
        }
    }

    /// Nobody at all serves what the caller, who has said nothing yet, wants. A call that has asked
    /// for a tunnel meanwhile gets its own answer to that.
    pub fn unserved(&mut self, failure: Failure) -> Order<M> {
        match self.state {
            State::Idle => self.refused(failure),
            State::Asking
            | State::Gathering(_)
            | State::Open { .. }
            | State::Leaving(_)
            | State::Ended => Order::Nothing,
        }
    }

    /// The registry has found only tunnels that take whole calls, and gives the first frame back.
    pub fn only_whole(&mut self, first: Frame<M>) -> Order<M> {
        match (&self.state, first) {
            (State::Asking, Frame::Message { message, .. }) => {
                self.state = State::Gathering(message);
                self.sequence = 0;
                Order::AwaitHalfClose
            }
            (_, _) => self.refused(Failure::UnaryOnly),
        }
    }

    /// A part of the answer has come. Whether the caller is to have it: the last part only once,
    /// and nothing after it.
    pub fn answered(&mut self, last: bool) -> bool {
        let heard = !matches!(self.state, State::Leaving(_) | State::Ended);
        if heard && last {
            self.state = State::Ended;
        }
        heard
    }

    /// The call ends before its answer does: the caller left, time is up, a message is too large.
    pub fn left(&mut self, failure: Failure) -> Order<M> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Idle => Order::FailAndWithdraw(failure),
            State::Gathering(_) => Order::Fail(failure),
            State::Asking => {
                self.state = State::Leaving(failure);
                Order::FailAndWithdraw(failure)
            }
            State::Open { .. } => Order::FailAndCancel(failure),
            State::Leaving(told) => {
                self.state = State::Leaving(told);
                Order::Nothing
            }
            State::Ended => Order::Nothing,
        }
    }

    /// The half-close of a gathered call is overdue.
    pub fn half_close_overdue(&mut self) -> Order<M> {
        match self.state {
            State::Gathering(_) => self.left(Failure::HalfCloseOverdue),
            State::Idle | State::Asking | State::Open { .. } | State::Leaving(_) | State::Ended => {
                Order::Nothing
            }
        }
    }

    /// Whether the registry may be keeping the call.
    pub fn is_with_registry(&self) -> bool {
        matches!(self.state, State::Idle | State::Asking | State::Leaving(_))
    }

    /// The gateway stops. A call that nobody has been asked to carry begins no more.
    pub fn drained(&mut self) -> Order<M> {
        match self.state {
            State::Idle | State::Gathering(_) => self.left(Failure::Draining),
            State::Asking | State::Open { .. } | State::Leaving(_) | State::Ended => Order::Nothing,
        }
    }

    /// Whether nothing more may happen, so that nothing needs to be kept.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn first_frame(&mut self, said: Said<M>) -> Frame<M> {
        match said {
            Said::LastMessage(message) => Frame::Whole(message),
            Said::Message(message) => Frame::Message { sequence: self.next_sequence(), message },
            Said::HalfClose => Frame::HalfClose { sequence: self.next_sequence() },
        }
    }

    fn next_frames(&mut self, said: Said<M>) -> Order<M> {
        self.state = State::Open { half_closed: !matches!(said, Said::Message(_)) };
        match said {
            Said::Message(message) => {
                Order::Send(Frame::Message { sequence: self.next_sequence(), message }, None)
            }
            Said::LastMessage(message) => {
                let message = Frame::Message { sequence: self.next_sequence(), message };
                let end = Frame::HalfClose { sequence: self.next_sequence() };
                Order::Send(message, Some(end))
            }
            Said::HalfClose => {
                Order::Send(Frame::HalfClose { sequence: self.next_sequence() }, None)
            }
        }
    }

    fn next_sequence(&mut self) -> i64 {
        self.sequence += 1;
        self.sequence - 1
    }
}

impl<M> Default for Call<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> Frame<M> {
    /// Whether the caller has nothing more to say after this.
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Message { .. })
    }

    /// Whether it is the first frame of its call.
    pub fn is_first(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Message { sequence, .. } | Self::HalfClose { sequence } => *sequence == 0,
        }
    }

    /// The message in it.
    pub fn message(&self) -> Option<&M> {
        match self {
            Self::Whole(message) | Self::Message { message, .. } => Some(message),
            Self::HalfClose { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
