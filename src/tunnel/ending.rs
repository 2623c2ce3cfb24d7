//! Why a tunnel ends. `grpc::status` says what its peer is told of each.

use std::fmt;

use super::admission::Rejection;

/// The reason for which a tunnel is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelEnd {
    /// The peer ended its stream.
    PeerLeft,
    /// The peer's connection broke.
    ConnectionLost,
    /// The peer's connection was closed because it answered no ping.
    ConnectionDead,
    /// Nothing came from the peer for too long.
    Silent,
    /// No first frame came in time.
    RegisterTimeout,
    /// The first frame was something else than `register`.
    RegisterFirst,
    /// A second `register` came.
    RegisteredTwice,
    /// The key is not valid.
    BadKey,
    /// The key is valid no more.
    KeyExpired,
    /// The key was taken out of the configuration.
    KeyRevoked,
    /// The key does not allow any more what the tunnel serves.
    KeyNarrowed(Rejection),
    /// The key is good, but not with the certificate of this connection.
    CertificateMismatch,
    /// The peer may not have this tunnel.
    Rejected(Rejection),
    /// A frame was over the limit.
    FrameTooLarge {
        /// How many bytes a frame may have.
        max: usize,
    },
    /// There was no room for its first frame.
    NoRoom,
    /// Too many frames could not be read.
    BadFrames,
    /// Heartbeats came far faster than they were asked for.
    TooManyHeartbeats,
    /// Its events waited for too long.
    SlowConsumer,
    /// The gateway is shutting down and the last call is over.
    Draining,
    /// A part of the gateway broke while it held the tunnel.
    Panic,
}

impl TunnelEnd {
    /// Whether there is nobody who could still be told anything.
    pub fn is_unheard(&self) -> bool {
        matches!(self, Self::PeerLeft | Self::ConnectionLost | Self::ConnectionDead)
    }
}

impl fmt::Display for TunnelEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerLeft => f.write_str("the peer left"),
            Self::ConnectionLost => f.write_str("the connection of the peer broke"),
            Self::ConnectionDead => f.write_str("the connection of the peer answered no ping"),
            Self::Silent => f.write_str("heartbeat_timeout: nothing was heard for too long"),
            Self::RegisterTimeout => f.write_str("register_timeout: no register frame in time"),
            Self::RegisterFirst => f.write_str("register_first: the first frame must be register"),
            Self::RegisteredTwice => f.write_str("register came twice"),
            Self::BadKey => f.write_str("the api_key is not valid"),
            Self::KeyExpired => f.write_str("auth_revoked: the api_key has expired"),
            Self::KeyRevoked => f.write_str("auth_revoked: the api_key is valid no more"),
            Self::KeyNarrowed(rejection) => write!(f, "auth_revoked: {rejection}"),
            Self::CertificateMismatch => {
                f.write_str("the api_key needs another client certificate")
            }
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::FrameTooLarge { max } => write!(f, "a frame is over {max} bytes"),
            Self::NoRoom => f.write_str("too many messages have come in part"),
            Self::BadFrames => f.write_str("too many frames could not be read"),
            Self::TooManyHeartbeats => f.write_str("rate_limited: too many heartbeats"),
            Self::SlowConsumer => {
                f.write_str("slow_consumer: its queue of events was full for too long")
            }
            Self::Draining => f.write_str("draining: the gateway is shutting down"),
            Self::Panic => f.write_str("the gateway failed while it held the tunnel"),
        }
    }
}
