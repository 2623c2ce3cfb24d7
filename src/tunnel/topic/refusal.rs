//! Why something is not published, or a subscription is none.

use std::fmt;

use super::BadTopic;

/// The reason. `grpc::status` says what its peer is told of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventRefusal {
    /// The text is no topic or no pattern.
    BadTopic(BadTopic),
    /// The id of an event is too long.
    BadId {
        /// How many bytes it may have.
        max: usize,
    },
    /// A text of the frame is not UTF-8.
    NotText,
    /// The key does not allow it.
    OutOfScope,
    /// The subscriber listens to as many topics as it may.
    Subscriptions {
        /// How many.
        max: usize,
    },
    /// Everybody together listens to as many topics as they may.
    Topics {
        /// How many.
        max: usize,
    },
    /// The payload is too large.
    TooLarge {
        /// How many bytes it may have.
        max: usize,
    },
    /// The metadata is too large.
    MetadataTooLarge,
    /// What the publisher has sent before takes all the room that it has.
    NoRoom,
    /// None of the subscribers had room.
    NoneHadRoom,
    /// A part of the gateway broke.
    Lost,
}

impl From<BadTopic> for EventRefusal {
    fn from(bad: BadTopic) -> Self {
        Self::BadTopic(bad)
    }
}

impl fmt::Display for EventRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadTopic(bad) => bad.fmt(f),
            Self::BadId { max } => write!(f, "an event_id has {max} bytes at most"),
            Self::NotText => f.write_str("a text is not UTF-8"),
            Self::OutOfScope => f.write_str("the key does not allow this topic"),
            Self::Subscriptions { max } => {
                write!(f, "a subscriber has {max} subscriptions at most")
            }
            Self::Topics { max } => write!(f, "there are {max} topics at most"),
            Self::TooLarge { max } => write!(f, "a payload has {max} bytes at most"),
            Self::MetadataTooLarge => f.write_str("the metadata is over its limit"),
            Self::NoRoom => f.write_str("what was published before is still on its way"),
            Self::NoneHadRoom => f.write_str("no subscriber had room"),
            Self::Lost => f.write_str("a part of the gateway broke"),
        }
    }
}
