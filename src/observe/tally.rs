//! Counts of what would otherwise be lost silently: every drop has a reason and a number.
//!
//! The counts belong to the process and only grow. They are printed when it ends.

use std::sync::atomic::{AtomicU64, Ordering};

/// Things worth counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Calls admitted.
    CallStarted,
    /// Calls ended with the service's own answer.
    CallAnswered,
    /// Calls ended by the gateway.
    CallFailed,
    /// Calls refused before they were admitted.
    CallRefused,
    /// Calls put through again because their tunnel ended before its peer saw them.
    CallPutThroughAgain,
    /// Calls that waited for a tunnel, each time they did.
    CallWaited,
    /// Tunnels opened.
    TunnelOpened,
    /// Tunnels closed.
    TunnelClosed,
    /// Registrations with a bad key.
    AuthFailed,
    /// Frames of a type the gateway does not know.
    FrameUnknown,
    /// Frames that could not be read.
    FrameUndecodable,
    /// Frames that broke a rule of the tunnel.
    FrameRejected,
    /// Events and subscriptions of callers that were refused.
    EventRefused,
    /// Answers to a call that is over or never was.
    FrameLate,
    /// Ids that a peer made up for itself.
    IdentityIgnored,
    /// Metadata that could not be carried on.
    MetadataDropped,
    /// Trailers cut to the limit.
    TrailersTrimmed,
    /// Connections closed because there were too many.
    ConnectionRefused,
    /// Connections that did not finish their handshake.
    HandshakeFailed,
    /// Those of them that ended during the handshake of TLS.
    TlsFailed,
    /// Streams refused because the connection has too many.
    StreamRefused,
    /// Streams that were reset before anything was begun for them.
    StreamGone,
    /// Connections told to go because of their age.
    ConnectionAged,
    /// Connections told to go because the gateway stops.
    ConnectionDrained,
    /// Connections closed because they cancelled too many calls early.
    ConnectionCalmed,
    /// Health watches refused because there were too many.
    WatchRefused,
    /// Answers given up because their callers did not take them.
    SendStalled,
    /// Drains whose grace was over before the last call.
    DrainForced,
    /// Configurations that took the place of another.
    ConfigApplied,
    /// Configurations that could not, for their mistakes.
    ConfigRefused,
    /// Connections to the metrics listener closed for newer ones, because there were too many.
    WatcherReplaced,
    /// Questions to the metrics listener without its token, or with a wrong one.
    WatcherUnknown,
    /// Panics of an actor.
    Panic,
    /// Log lines left out because the same place had just logged many.
    LogLineLeftOut,
    /// Log lines that stderr did not take in time.
    LogLineDropped,
    /// Lines of the access log left out because there were too many in a second.
    AccessLineLeftOut,
    /// Request ids of callers that were replaced because they were none.
    RequestIdReplaced,
}

const COUNTS: &[(Count, &str)] = &[
    (Count::CallStarted, "calls_started"),
    (Count::CallAnswered, "calls_answered"),
    (Count::CallFailed, "calls_failed"),
    (Count::CallRefused, "calls_refused"),
    (Count::CallPutThroughAgain, "calls_put_through_again"),
    (Count::CallWaited, "calls_waited"),
    (Count::TunnelOpened, "tunnels_opened"),
    (Count::TunnelClosed, "tunnels_closed"),
    (Count::AuthFailed, "auth_failures"),
    (Count::FrameUnknown, "frames_unknown"),
    (Count::FrameUndecodable, "frames_undecodable"),
    (Count::FrameRejected, "frames_rejected"),
    (Count::EventRefused, "events_refused"),
    (Count::FrameLate, "late_frames"),
    (Count::IdentityIgnored, "identities_ignored"),
    (Count::MetadataDropped, "metadata_dropped"),
    (Count::TrailersTrimmed, "trailers_trimmed"),
    (Count::ConnectionRefused, "connections_refused"),
    (Count::HandshakeFailed, "handshakes_failed"),
    (Count::TlsFailed, "tls_handshakes_failed"),
    (Count::StreamRefused, "streams_refused"),
    (Count::StreamGone, "streams_gone"),
    (Count::ConnectionAged, "connections_aged"),
    (Count::ConnectionDrained, "connections_drained"),
    (Count::ConnectionCalmed, "connections_calmed"),
    (Count::WatchRefused, "watches_refused"),
    (Count::SendStalled, "sends_stalled"),
    (Count::DrainForced, "drain_forced"),
    (Count::ConfigApplied, "configurations_applied"),
    (Count::ConfigRefused, "configurations_refused"),
    (Count::WatcherReplaced, "watchers_replaced"),
    (Count::WatcherUnknown, "watchers_unknown"),
    (Count::Panic, "panics"),
    (Count::LogLineLeftOut, "log_lines_left_out"),
    (Count::LogLineDropped, "log_lines_dropped"),
    (Count::AccessLineLeftOut, "access_lines_left_out"),
    (Count::RequestIdReplaced, "request_ids_replaced"),
];

static TALLY: [AtomicU64; COUNTS.len()] = [const { AtomicU64::new(0) }; COUNTS.len()];

/// Adds one.
pub fn count(what: Count) {
    TALLY[what as usize].fetch_add(1, Ordering::Relaxed);
}

/// How often it happened in this process.
pub fn counted(what: Count) -> u64 {
    TALLY[what as usize].load(Ordering::Relaxed)
}

/// All counts, each with its name.
pub fn all() -> impl Iterator<Item = (&'static str, u64)> {
    COUNTS.iter().map(|(what, name)| (*name, counted(*what)))
}

/// All counts that are not zero, as `name=number` words.
pub fn summary() -> String {
    let words = all().filter(|(_, number)| *number > 0);
    words.map(|(name, number)| format!("{name}={number}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_stands_at_its_own_place() {
        for (place, (what, _)) in COUNTS.iter().enumerate() {
            assert_eq!(*what as usize, place, "{what:?}");
        }
    }

    #[test]
    fn a_count_shows_in_the_summary() {
        let before = counted(Count::HandshakeFailed);
        count(Count::HandshakeFailed);
        assert_eq!(counted(Count::HandshakeFailed), before + 1);
        assert!(summary().contains("handshakes_failed="));
    }
}
