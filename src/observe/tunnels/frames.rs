//! The frames of a tunnel by header only: how many of each kind, and the last few of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use uuid::Uuid;

use super::snapshot::FrameSeen;
use crate::observe::ticks::Tick;

/// So many frames of each tunnel are remembered: a few calls with what was around them.
pub const FRAMES_KEPT: usize = 64;

/// So much is kept of an id that the peer made up. The gateway's own ids are as long as that.
const PEERS_ID_BYTES_MAX: usize = 36;

/// What a frame is, by the field of its envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// The peer says who it is.
    Register,
    /// A piece of a call.
    Request,
    /// A piece of an answer.
    Response,
    /// Alive.
    Heartbeat,
    /// How the tunnel stands.
    Status,
    /// An event.
    Event,
    /// What events the peer wants.
    Subscription,
    /// A call is given up.
    Cancel,
    /// No new calls.
    Drain,
    /// What became of an event.
    EventAck,
    /// Anything else.
    Unknown,
}

const NAMES: [(FrameKind, &str); FrameKind::COUNT] = [
    (FrameKind::Register, "register"),
    (FrameKind::Request, "request"),
    (FrameKind::Response, "response"),
    (FrameKind::Heartbeat, "heartbeat"),
    (FrameKind::Status, "status"),
    (FrameKind::Event, "event"),
    (FrameKind::Subscription, "subscription"),
    (FrameKind::Cancel, "cancel"),
    (FrameKind::Drain, "drain"),
    (FrameKind::EventAck, "event_ack"),
    (FrameKind::Unknown, "unknown"),
];

impl FrameKind {
    /// How many kinds there are.
    pub(super) const COUNT: usize = 11;

    /// The kind as it is shown.
    pub fn name(self) -> &'static str {
        NAMES[self as usize].1
    }

    /// The names of all kinds, in order.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(_, name)| *name)
    }
}

/// The frames of one direction.
#[derive(Debug, Default)]
pub(super) struct Counts {
    by_kind: [AtomicU64; FrameKind::COUNT],
    bytes: AtomicU64,
}

impl Counts {
    /// Counts a frame.
    #[inline]
    pub(super) fn count(&self, kind: FrameKind, bytes: usize) {
        self.by_kind[kind as usize].fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts all that another has counted.
    pub(super) fn absorb(&self, other: &Self) {
        for (count, more) in self.by_kind.iter().zip(&other.by_kind) {
            count.fetch_add(read(more), Ordering::Relaxed);
        }
        self.bytes.fetch_add(read(&other.bytes), Ordering::Relaxed);
    }

    /// How many there were of each kind.
    pub(super) fn by_kind(&self) -> impl Iterator<Item = u64> {
        self.by_kind.iter().map(read)
    }

    /// How large they were together.
    pub(super) fn bytes(&self) -> u64 {
        read(&self.bytes)
    }
}

/// What a count stands at.
pub(super) fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// The call that a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameCall<'a> {
    /// None, or one that cannot be told.
    None,
    /// One that goes to the peer, by the gateway's id.
    Own(u128),
    /// One that the peer makes, by the peer's id.
    Peers(&'a str),
}

/// The last frames of one tunnel. It takes memory only as they come.
#[derive(Debug, Default)]
pub(super) struct FrameRing {
    frames: Vec<Header>,
    /// Where the next goes: behind the last, or over the oldest.
    next: usize,
}

#[derive(Clone, Debug)]
struct Header {
    at: Tick,
    bytes: u32,
    inbound: bool,
    kind: FrameKind,
    call: Call,
}

/// In bytes, so that a header is small: a number of 16 bytes wants to stand where 16 divides.
#[derive(Clone, Debug)]
enum Call {
    None,
    Own([u8; 16]),
    Peers(Box<str>),
}

impl FrameRing {
    /// Remembers a frame, and forgets the oldest if there are too many.
    #[inline]
    pub(super) fn push(
        &mut self,
        inbound: bool,
        kind: FrameKind,
        bytes: u32,
        call: FrameCall<'_>,
        at: Tick,
    ) {
        let header = Header { at, bytes, inbound, kind, call: Call::of(call) };
        if let Some(oldest) = self.frames.get_mut(self.next) {
            *oldest = header;
        } else {
            self.frames.push(header);
        }
        self.next = (self.next + 1) % FRAMES_KEPT;
    }

    /// The frames, the oldest first. `now` is this moment, in both ways to tell it.
    pub(super) fn seen(&self, now: (Tick, SystemTime)) -> Vec<FrameSeen> {
        let (newer, older) = self.frames.split_at(self.next);
        older.iter().chain(newer).map(|header| header.seen(now)).collect()
    }
}

impl Header {
    fn seen(&self, (tick, time): (Tick, SystemTime)) -> FrameSeen {
        FrameSeen {
            inbound: self.inbound,
            kind: self.kind.name(),
            request_id: self.call.shown(),
            bytes: self.bytes.into(),
            at: time.checked_sub(self.at.until(tick)).unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}

impl Call {
    #[inline]
    fn of(call: FrameCall<'_>) -> Self {
        match call {
            FrameCall::None => Self::None,
            FrameCall::Own(id) => Self::Own(id.to_be_bytes()),
            FrameCall::Peers(id) => {
                Self::Peers(id[..id.floor_char_boundary(PEERS_ID_BYTES_MAX)].into())
            }
        }
    }

    fn shown(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Own(id) => Some(Uuid::from_bytes(*id).to_string()),
            Self::Peers(id) => Some(id.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::ticks;

    #[test]
    fn every_kind_stands_at_its_own_place() {
        for (place, (kind, name)) in NAMES.iter().enumerate() {
            assert_eq!((*kind as usize, kind.name()), (place, *name));
        }
    }

    #[test]
    fn the_last_frames_are_kept_in_their_order() {
        let mut ring = FrameRing::default();
        for number in 0..200 {
            ring.push(number % 2 == 0, FrameKind::Request, number, FrameCall::None, ticks::now());
            let seen = ring.seen((ticks::now(), SystemTime::now()));
            let numbers: Vec<_> = seen.iter().map(|frame| frame.bytes).collect();
            let first = u64::from(number + 1).saturating_sub(64);
            assert_eq!(numbers, (first..=number.into()).collect::<Vec<_>>());
            assert!(seen.iter().all(|frame| frame.inbound == (frame.bytes % 2 == 0)));
            assert!(seen.windows(2).all(|pair| pair[0].at <= pair[1].at));
        }
    }

    #[test]
    fn ids_are_shown_as_they_are_known_outside() {
        let mut ring = FrameRing::default();
        let own = Uuid::from_u128(7);
        let long = "ä".repeat(19);
        for call in [
            FrameCall::Own(own.as_u128()),
            FrameCall::Peers("call-1"),
            FrameCall::Peers(""),
            FrameCall::Peers(&long),
            FrameCall::None,
        ] {
            ring.push(true, FrameKind::Cancel, 1, call, ticks::now());
        }
        let seen = ring.seen((ticks::now(), SystemTime::now()));
        let ids: Vec<_> = seen.into_iter().map(|frame| frame.request_id).collect();
        let shown = |id: &str| Some(id.to_owned());
        let cut = "ä".repeat(18);
        assert_eq!(ids, [shown(&own.to_string()), shown("call-1"), shown(""), shown(&cut), None]);
    }

    #[test]
    fn a_header_is_small() {
        assert!(size_of::<Header>() <= 40, "{}", size_of::<Header>());
        assert_eq!(FrameRing::default().frames.capacity(), 0);
    }
}
