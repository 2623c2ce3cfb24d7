//! Which limit it was that ended a call or a tunnel, where the end itself tells.

use crate::observe::limits::Limit;
use crate::tunnel::admission::Rejection;
use crate::tunnel::ending::TunnelEnd;
use crate::tunnel::failure::Failure;
use crate::tunnel::topic::BadTopic;
use crate::tunnel::topic::refusal::EventRefusal;

/// The limit that a failed call has reached. Failures that may be those of several limits are counted
/// where they are made.
#[expect(clippy::match_same_arms, reason = "one line says why each of the last is none")]
pub(super) fn by_failure(failure: Failure) -> Option<Limit> {
    match failure {
        Failure::MessageTooLarge => Some(Limit::MessageBytesMax),
        Failure::FrameTooLarge => Some(Limit::ClassicFrameBytesMax),
        Failure::QueueFull => Some(Limit::TunnelQueueBytesMax),
        Failure::NoRoom => Some(Limit::GatheredBytesMax),
        Failure::HalfCloseOverdue => Some(Limit::HalfCloseTimeout),
        Failure::MessageOverdue => Some(Limit::MessageTimeout),
        Failure::Idle => Some(Limit::StreamIdleTimeout),
        // Counted where it is known which of several it is.
        Failure::InflightLimit
        | Failure::TooManyWaiting
        | Failure::BufferFull
        | Failure::MetadataTooLarge => None,
        // No limit of the gateway.
        Failure::UnknownService
        | Failure::NoTunnel
        | Failure::TunnelLost
        | Failure::Draining
        | Failure::Deadline
        | Failure::Cancelled
        | Failure::UnaryOnly
        | Failure::UnsupportedEncoding
        | Failure::Protocol
        | Failure::BadTimeout
        | Failure::BadTunnelFrame
        | Failure::NoCredentials
        | Failure::BadCredentials
        | Failure::ExpiredCredentials
        | Failure::Scope
        | Failure::CertificateMismatch
        | Failure::Panic => None,
    }
}

/// The limit that a tunnel has reached which was refused or closed.
pub(super) fn by_tunnel(end: &TunnelEnd) -> Option<Limit> {
    match end {
        TunnelEnd::RegisterTimeout => Some(Limit::RegisterTimeout),
        TunnelEnd::FrameTooLarge { .. } => Some(Limit::PeerFrameBytesMax),
        TunnelEnd::SlowConsumer => Some(Limit::SlowConsumerTimeout),
        TunnelEnd::NoRoom => Some(Limit::GatheredBytesMax),
        TunnelEnd::Rejected(rejection) | TunnelEnd::KeyNarrowed(rejection) => {
            by_rejection(rejection)
        }
        TunnelEnd::PeerLeft
        | TunnelEnd::ConnectionLost
        | TunnelEnd::ConnectionDead
        | TunnelEnd::Silent
        | TunnelEnd::RegisterFirst
        | TunnelEnd::RegisteredTwice
        | TunnelEnd::BadKey
        | TunnelEnd::KeyExpired
        | TunnelEnd::KeyRevoked
        | TunnelEnd::CertificateMismatch
        | TunnelEnd::BadFrames
        | TunnelEnd::TooManyHeartbeats
        | TunnelEnd::Draining
        | TunnelEnd::Panic => None,
    }
}

/// The limit that an event or a subscription has reached which was refused as it came. The bus counts
/// those that it finds.
pub(super) fn by_event_refusal(why: EventRefusal) -> Option<Limit> {
    match why {
        EventRefusal::BadTopic(BadTopic::TooLong { .. }) => Some(Limit::TopicBytesMax),
        EventRefusal::TooLarge { .. } => Some(Limit::EventBytesMax),
        EventRefusal::NoRoom => Some(Limit::TunnelBufferBytesMax),
        EventRefusal::Subscriptions { .. } => Some(Limit::SubscriptionsPerTunnelMax),
        EventRefusal::BadTopic(_)
        | EventRefusal::BadId { .. }
        | EventRefusal::NotText
        | EventRefusal::OutOfScope
        | EventRefusal::Topics { .. }
        | EventRefusal::MetadataTooLarge
        | EventRefusal::NoneHadRoom
        | EventRefusal::Lost => None,
    }
}

fn by_rejection(rejection: &Rejection) -> Option<Limit> {
    match rejection {
        Rejection::TooManyServices { .. } => Some(Limit::ServicesPerTunnelMax),
        Rejection::NameTooLong { .. } => Some(Limit::ServiceNameBytesMax),
        Rejection::TunnelsPerKey { .. } => Some(Limit::TunnelsPerKeyMax),
        Rejection::ServicesPerKey { .. } => Some(Limit::ServicesOfKey),
        Rejection::TunnelsPerService { .. } => Some(Limit::TunnelsPerServiceMax),
        Rejection::BadName(_)
        | Rejection::ReservedName(_)
        | Rejection::OutOfScope(_)
        | Rejection::Owned(_)
        | Rejection::Draining => None,
    }
}
