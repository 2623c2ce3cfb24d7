//! The way down a tunnel: what actors push, the tunnel's writer takes.
//!
//! Both ends live on the tunnel's arbiter. The order (control first) is [`Outbox`]'s; the room is
//! taken beforehand, see [`super::credit`]. Events wait in a lane beside it: they go only when nothing
//! else does.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::observe::tally::{Count, count};
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::id::RequestId;
use crate::tunnel::outbox::{Outbox, Withdrawn};
use crate::tunnel::topic::queue::Heard;

use super::lane::EventLane;
use super::traffic::Outgoing;

/// The pushing end. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Down {
    shared: Rc<Shared>,
}

/// The taking end.
#[derive(Debug)]
pub struct DownEnd {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    outbox: RefCell<Outbox<Outgoing>>,
    /// The peer may be told of calls: every registry knows its tunnel.
    opened: Cell<bool>,
    ended: RefCell<Option<TunnelEnd>>,
    /// The taking end has nothing in its hands.
    idle: Cell<bool>,
    lane: EventLane,
    wake: Arc<Notify>,
}

/// A new queue, and the lane of events beside it. What it says is said by `lane`'s end too.
pub fn down(lane: EventLane) -> (Down, DownEnd) {
    let wake = lane.wake().clone();
    let shared = Rc::new(Shared {
        outbox: RefCell::default(),
        opened: Cell::new(false),
        ended: RefCell::default(),
        idle: Cell::new(false),
        lane,
        wake,
    });
    (Down { shared: shared.clone() }, DownEnd { shared })
}

impl Down {
    /// Tells the peer that its tunnel is open. Frames of calls wait for this: a registry that has
    /// learnt of the tunnel may be ahead of the others.
    pub fn open(&self) {
        self.shared.opened.set(true);
        self.push_control(Outgoing::Connected);
    }

    /// Whether the peer has been told so.
    pub fn is_open(&self) -> bool {
        self.shared.opened.get()
    }

    /// Adds a heartbeat, unless something waits that shows as well that this end is alive.
    pub fn push_heartbeat(&self) {
        if self.shared.outbox.borrow().is_empty() {
            self.push_control(Outgoing::Heartbeat);
        }
    }

    /// Adds a frame that goes before all data.
    pub fn push_control(&self, frame: Outgoing) {
        if self.shared.ended.borrow().is_some() {
            return;
        }
        self.shared.outbox.borrow_mut().push_control(frame);
        self.shared.wake.notify_one();
    }

    /// Adds a control frame to what is still said after the end.
    pub fn leave_word(&self, frame: Outgoing) {
        self.shared.outbox.borrow_mut().push_control(frame);
    }

    /// Adds a control frame that answers one of the peer's. A peer that asks and does not read gets
    /// no more than a few of these.
    pub fn push_reply(&self, frame: Outgoing) {
        const REPLIES_QUEUED_MAX: usize = 100;
        if self.shared.outbox.borrow().control_len() < REPLIES_QUEUED_MAX {
            self.push_control(frame);
        } else {
            count(Count::FrameRejected);
        }
    }

    /// Adds a frame that goes when no call has one. It has room of its own.
    pub fn push_last(&self, frame: Outgoing) {
        if self.shared.ended.borrow().is_none() {
            self.shared.outbox.borrow_mut().push_last(frame);
            self.shared.wake.notify_one();
        }
    }

    /// The lane of its events.
    pub fn lane(&self) -> &EventLane {
        &self.shared.lane
    }

    /// Adds a frame of a call; `opening` if it is the call's first.
    pub fn push(&self, request: RequestId, opening: bool, frame: Outgoing) {
        if self.shared.ended.borrow().is_some() {
            return;
        }
        self.shared.outbox.borrow_mut().push(request, opening, frame);
        self.shared.wake.notify_one();
    }

    /// Drops what is queued of a call that is over.
    pub fn withdraw(&self, request: RequestId) -> Withdrawn {
        self.shared.outbox.borrow_mut().withdraw(request)
    }

    /// Whether everything that was pushed is written.
    pub fn is_idle(&self) -> bool {
        let Shared { idle, outbox, lane, .. } = &*self.shared;
        idle.get() && outbox.borrow().is_empty() && lane.is_empty()
    }

    /// Ends the tunnel. Frames of calls are not written any more, what is pushed later is dropped,
    /// and the first reason counts. The first frames of calls that the peer never saw come back.
    pub fn end(&self, end: TunnelEnd) -> Vec<(RequestId, Outgoing)> {
        self.shared.ended.borrow_mut().get_or_insert(end);
        let unseen = self.shared.outbox.borrow_mut().take_unseen();
        self.shared.lane.close();
        self.shared.wake.notify_one();
        unseen
    }
}

impl DownEnd {
    /// The next frame that is ready and no event, without waiting.
    pub fn try_next(&self) -> Option<Outgoing> {
        let mut outbox = self.shared.outbox.borrow_mut();
        if self.shared.opened.get() { outbox.pop() } else { outbox.pop_control() }
    }

    /// The next event, or that some are missing here, if no other frame is ready.
    pub fn try_next_event(&self) -> Option<Outgoing> {
        if !self.only_events_wait() {
            return None;
        }
        self.shared.lane.pop().map(|heard| match heard {
            Heard::Event(event) => Outgoing::Event(event),
            Heard::Gap(gap) => Outgoing::Missed(gap),
        })
    }

    /// Whether there are events and no other frame is ready.
    pub fn only_events_wait(&self) -> bool {
        !self.has_frame() && self.has_event()
    }

    /// Waits until another frame than an event is ready or the tunnel has ended.
    pub async fn until_frame(&self) {
        while !self.has_frame() && !self.has_ended() {
            self.shared.wake.notified().await;
        }
    }

    /// Drops what is queued of a call of which a frame could not be written: what follows must not
    /// look like the rest of it.
    pub fn withdraw(&self, request: RequestId) {
        self.shared.outbox.borrow_mut().withdraw(request);
    }

    /// Waits until there is something to take or the tunnel has ended. What was taken before is
    /// written.
    pub async fn ready(&self) {
        self.shared.idle.set(true);
        while !self.has_frame() && !self.has_event() && !self.has_ended() {
            self.shared.wake.notified().await;
        }
        self.shared.idle.set(false);
    }

    /// The next control frame that is left over from before the end.
    pub fn last_word(&self) -> Option<Outgoing> {
        self.shared.outbox.borrow_mut().pop_control()
    }

    fn has_event(&self) -> bool {
        self.shared.opened.get() && !self.shared.lane.is_empty()
    }

    fn has_frame(&self) -> bool {
        let outbox = self.shared.outbox.borrow();
        if self.shared.opened.get() { !outbox.is_empty() } else { outbox.control_len() > 0 }
    }

    /// Waits until the tunnel has ended, whatever is queued, and says why.
    pub async fn until_ended(&self) -> TunnelEnd {
        loop {
            if let Some(end) = self.ended() {
                return end;
            }
            self.shared.wake.notified().await;
        }
    }

    /// Whether the tunnel has ended.
    pub fn has_ended(&self) -> bool {
        self.shared.ended.borrow().is_some()
    }

    /// Why the tunnel has ended, if it has.
    pub fn ended(&self) -> Option<TunnelEnd> {
        self.shared.ended.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::limits::Limits;

    #[actix::test]
    async fn no_call_goes_before_the_tunnel_is_open() {
        let (down, end) = new();
        let request = RequestId::random();
        down.push(request, true, Outgoing::Error("stands for a call".into()));
        assert!(end.try_next().is_none());
        down.open();
        end.ready().await;
        assert!(matches!(end.try_next(), Some(Outgoing::Connected)));
        assert!(matches!(end.try_next(), Some(Outgoing::Error(_))));
    }

    #[actix::test]
    async fn one_heartbeat_waits_at_most() {
        let (down, end) = new();
        down.open();
        down.push_heartbeat();
        assert!(matches!(end.try_next(), Some(Outgoing::Connected)));
        down.push_heartbeat();
        down.push_heartbeat();
        assert!(matches!(end.try_next(), Some(Outgoing::Heartbeat)));
        assert!(end.try_next().is_none());
    }

    #[actix::test]
    async fn the_first_end_counts_and_control_is_all_that_is_left() {
        let (down, end) = new();
        down.open();
        end.ready().await;
        assert!(matches!(end.try_next(), Some(Outgoing::Connected)));
        down.push(RequestId::random(), true, Outgoing::Error("stands for a call".into()));
        down.push_control(Outgoing::Heartbeat);
        down.end(TunnelEnd::Silent);
        down.end(TunnelEnd::PeerLeft);
        down.push_control(Outgoing::Heartbeat);
        assert_eq!(end.until_ended().await, TunnelEnd::Silent);
        assert!(matches!(end.last_word(), Some(Outgoing::Heartbeat)));
        assert!(end.last_word().is_none());
    }

    #[actix::test]
    async fn it_is_idle_when_what_was_taken_is_written() {
        let (down, end) = new();
        down.push_control(Outgoing::Heartbeat);
        assert!(!down.is_idle());
        end.ready().await;
        assert!(end.try_next().is_some() && !down.is_idle(), "it may still be written");
        let waiting = end.ready();
        tokio::select! {
            biased;
            () = waiting => panic!("there is nothing"),
            () = async {} => assert!(down.is_idle()),
        }
    }

    fn new() -> (Down, DownEnd) {
        down(EventLane::new(&Limits::default(), Arc::default()))
    }
}
