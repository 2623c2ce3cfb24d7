//! The ways a call can fail inside the gateway. `grpc::status` says what the caller sees of each.

use std::fmt;

/// Why the gateway, and not the service, ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No tunnel ever offered this name, or the path names no method.
    UnknownService,
    /// The name is known, but nobody serves it now.
    NoTunnel,
    /// The tunnel that carried the call has gone; the service may have run it.
    TunnelLost,
    /// The gateway is shutting down.
    Draining,
    /// The caller's time is up.
    Deadline,
    /// A plain peer's caller did not half-close in time after its message.
    HalfCloseOverdue,
    /// A message of the caller's has begun and its rest does not come.
    MessageOverdue,
    /// Nothing has moved either way for too long.
    Idle,
    /// The caller went away. Nobody is left to be told; the peer and the counters are.
    Cancelled,
    /// A message, either way, is over the limit.
    MessageTooLarge,
    /// The call's frame would be more than the peer accepts.
    FrameTooLarge,
    /// The metadata is over the limit.
    MetadataTooLarge,
    /// As many calls are in flight as may be.
    InflightLimit,
    /// The tunnel's outgoing queue is full.
    QueueFull,
    /// As many calls as may be wait for a tunnel already.
    TooManyWaiting,
    /// Too much of messages that have come in part is held already.
    NoRoom,
    /// The caller reads more slowly than the service answers, and the buffer between is full.
    BufferFull,
    /// Only peers that cannot stream serve this, and the call is not one message.
    UnaryOnly,
    /// The message is compressed in a way that the gateway cannot undo for this peer.
    UnsupportedEncoding,
    /// The caller broke gRPC's framing: a cut-off message, a bad flag, bad compressed data.
    Protocol,
    /// grpc-timeout cannot be read.
    BadTimeout,
    /// The peer broke the tunnel's rules for this call.
    BadTunnelFrame,
    /// A key is asked for and none came.
    NoCredentials,
    /// The key that came is not valid.
    BadCredentials,
    /// The key that came is valid no more.
    ExpiredCredentials,
    /// The key does not allow the call.
    Scope,
    /// The key is good, but not with the certificate of this connection.
    CertificateMismatch,
    /// A part of the gateway broke while it held the call.
    Panic,
}

impl Failure {
    /// Every failure, for tables and tests that must not miss one.
    pub const ALL: [Self; 28] = [
        Self::UnknownService,
        Self::NoTunnel,
        Self::TunnelLost,
        Self::Draining,
        Self::Deadline,
        Self::HalfCloseOverdue,
        Self::MessageOverdue,
        Self::Idle,
        Self::Cancelled,
        Self::MessageTooLarge,
        Self::FrameTooLarge,
        Self::MetadataTooLarge,
        Self::InflightLimit,
        Self::QueueFull,
        Self::TooManyWaiting,
        Self::NoRoom,
        Self::BufferFull,
        Self::UnaryOnly,
        Self::UnsupportedEncoding,
        Self::Protocol,
        Self::BadTimeout,
        Self::BadTunnelFrame,
        Self::NoCredentials,
        Self::BadCredentials,
        Self::ExpiredCredentials,
        Self::Scope,
        Self::CertificateMismatch,
        Self::Panic,
    ];

    /// Whether what is still held for the caller is dropped at once. The caller then sees a prefix
    /// of the answer and this failure; otherwise what came before is delivered first.
    pub fn drops_backlog(self) -> bool {
        matches!(self, Self::Deadline | Self::BufferFull | Self::Cancelled)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownService => "no such service has registered here",
            Self::NoTunnel => "no tunnel serves this name now",
            Self::TunnelLost => "the tunnel was lost; the call may have run",
            Self::Draining => "the gateway is shutting down",
            Self::Deadline => "the deadline has passed",
            Self::HalfCloseOverdue => {
                "the service takes whole calls only, and the half-close did not come in time"
            }
            Self::MessageOverdue => "a message has begun and its rest did not come in time",
            Self::Idle => "nothing has moved on the call for too long",
            Self::Cancelled => "the caller went away",
            Self::MessageTooLarge => "the message is over the size limit",
            Self::FrameTooLarge => "the message with its metadata is over what the tunnel carries",
            Self::MetadataTooLarge => "the metadata is over the limit",
            Self::InflightLimit => "too many calls are in flight",
            Self::QueueFull => "the tunnel's queue is full",
            Self::TooManyWaiting => "too many calls wait for a tunnel",
            Self::NoRoom => "too many messages have come in part",
            Self::BufferFull => "the answer is read too slowly and its buffer is full",
            Self::UnaryOnly => "the service takes exactly one message a call",
            Self::UnsupportedEncoding => "the message encoding is not supported here",
            Self::Protocol => "the message framing is broken",
            Self::BadTimeout => "grpc-timeout cannot be read",
            Self::BadTunnelFrame => "the service broke the tunnel protocol",
            Self::NoCredentials => "a key is required in x-adit-key",
            Self::BadCredentials => "the key is not valid",
            Self::ExpiredCredentials => "the key has expired",
            Self::Scope => "the key does not allow this call",
            Self::CertificateMismatch => "the key needs another client certificate",
            Self::Panic => "the gateway failed while it held the call",
        })
    }
}
