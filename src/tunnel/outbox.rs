//! What waits to go down a tunnel: control first, then the frames of calls in order, then the rest.
//!
//! The outbox does not count bytes. Whoever adds a frame has taken the room for it before (see
//! `actors::credit`), and control frames are few: one cancel for each call the peer has seen, and
//! heartbeats that are added only when nothing else was sent.

use std::collections::VecDeque;

use super::id::RequestId;

/// Frames of type `F` on their way to one peer.
#[derive(Debug)]
pub struct Outbox<F> {
    control: VecDeque<F>,
    data: VecDeque<Queued<F>>,
    last: VecDeque<F>,
}

#[derive(Debug)]
struct Queued<F> {
    request: RequestId,
    /// The first frame of its call: until it is taken, the peer knows nothing of the call.
    opening: bool,
    frame: F,
}

/// How much of a call was still in the queue when it was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// The peer never saw the call.
    Unseen,
    /// The peer has seen at least the first frame.
    Seen,
}

impl<F> Outbox<F> {
    /// An empty outbox.
    pub fn new() -> Self {
        Self { control: VecDeque::new(), data: VecDeque::new(), last: VecDeque::new() }
    }

    /// Adds a frame that goes before all data.
    pub fn push_control(&mut self, frame: F) {
        self.control.push_back(frame);
    }

    /// Adds a frame of a call.
    pub fn push(&mut self, request: RequestId, opening: bool, frame: F) {
        self.data.push_back(Queued { request, opening, frame });
    }

    /// Adds a frame that no call waits for.
    pub fn push_last(&mut self, frame: F) {
        self.last.push_back(frame);
    }

    /// Takes the next control frame.
    pub fn pop_control(&mut self) -> Option<F> {
        self.control.pop_front()
    }

    /// Takes the next frame to be written.
    pub fn pop(&mut self) -> Option<F> {
        // Not by `or_else`, each of which would move the frame once more.
        if let Some(frame) = self.control.pop_front() {
            return Some(frame);
        }
        if let Some(queued) = self.data.pop_front() {
            return Some(queued.frame);
        }
        self.last.pop_front()
    }

    /// Drops what is queued of a call that is over.
    pub fn withdraw(&mut self, request: RequestId) -> Withdrawn {
        let mut withdrawn = Withdrawn::Seen;
        self.data.retain(|queued| {
            let ours = queued.request == request;
            if ours && queued.opening {
                withdrawn = Withdrawn::Unseen;
            }
            !ours
        });
        withdrawn
    }

    /// Drops all but control, and gives back the first frames of the calls that the peer never saw.
    pub fn take_unseen(&mut self) -> Vec<(RequestId, F)> {
        self.last.clear();
        let unseen = self.data.drain(..).filter(|queued| queued.opening);
        unseen.map(|queued| (queued.request, queued.frame)).collect()
    }

    /// How many control frames wait.
    pub fn control_len(&self) -> usize {
        self.control.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.control.is_empty() && self.data.is_empty() && self.last.is_empty()
    }
}

impl<F> Default for Outbox<F> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_overtakes_data_which_keeps_its_order_and_the_rest_comes_last() {
        let mut outbox = Outbox::new();
        let request = RequestId::random();
        outbox.push(request, true, "first");
        outbox.push(request, false, "second");
        outbox.push_last("outcome");
        outbox.push(request, false, "third");
        outbox.push_control("cancel");
        let order: Vec<_> = std::iter::from_fn(|| outbox.pop()).collect();
        assert_eq!(order, ["cancel", "first", "second", "third", "outcome"]);
    }

    #[test]
    fn what_the_peer_never_saw_comes_back_and_only_control_stays() {
        let mut outbox = Outbox::new();
        let (seen, unseen) = (RequestId::random(), RequestId::random());
        outbox.push(seen, true, "seen 1");
        assert_eq!(outbox.pop(), Some("seen 1"));
        outbox.push(seen, false, "seen 2");
        outbox.push(unseen, true, "unseen 1");
        outbox.push(unseen, false, "unseen 2");
        outbox.push_last("outcome");
        outbox.push_control("heartbeat");
        assert_eq!(outbox.take_unseen(), [(unseen, "unseen 1")]);
        assert_eq!(outbox.pop(), Some("heartbeat"));
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_withdrawn_call_leaves_nothing_and_tells_whether_the_peer_has_seen_it() {
        let mut outbox = Outbox::new();
        let (gone, kept) = (RequestId::random(), RequestId::random());
        outbox.push(gone, true, "gone 1");
        outbox.push(kept, true, "kept");
        outbox.push(gone, false, "gone 2");
        assert_eq!(outbox.withdraw(gone), Withdrawn::Unseen);
        assert_eq!(outbox.pop(), Some("kept"));
        assert_eq!(outbox.withdraw(kept), Withdrawn::Seen);
        assert!(outbox.is_empty());
    }
}
