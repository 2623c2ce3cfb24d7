//! Limits that were reached: how often each refused, ended, closed or delayed something.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the limits, each with its name in the configuration.
macro_rules! limits {
    ($($limit:ident = $name:literal),* $(,)?) => {
        /// A limit that can be reached. What each is for is said in the configuration's reference.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is the field of the configuration of the same name")]
        pub enum Limit { $($limit),* }

        const NAMES: &[&str] = &[$($name),*];
    };
}

limits! {
    CallsMax = "calls_max",
    CallsPerTunnelMax = "calls_per_tunnel_max",
    CallsPerServiceMax = "calls_per_service_max",
    CallsOfKey = "keys.limits.calls_max",
    WaitingCallsMax = "waiting_calls_max",
    WaitingCallsPerServiceMax = "waiting_calls_per_service_max",
    WaitingBytesMax = "waiting_bytes_max",
    ConnectionsMax = "connections_max",
    ConnectionsPerAddressMax = "connections_per_address_max",
    StreamsPerConnectionMax = "streams_per_connection_max",
    EarlyCancels = "early_cancels_burst",
    MessageBytesMax = "message_bytes_max",
    GatheredBytesMax = "gathered_bytes_max",
    MetadataBytesMax = "metadata_bytes_max",
    MetadataEntriesMax = "metadata_entries_max",
    ClassicFrameBytesMax = "classic_frame_bytes_max",
    PeerFrameBytesMax = "peer_frame_bytes_max",
    TunnelQueueBytesMax = "tunnel_queue_bytes_max",
    CallBufferBytesMax = "call_buffer_bytes_max",
    TunnelBufferBytesMax = "tunnel_buffer_bytes_max",
    ServicesPerTunnelMax = "services_per_tunnel_max",
    ServiceNameBytesMax = "service_name_bytes_max",
    TunnelsPerKeyMax = "tunnels_per_key_max",
    ServicesOfKey = "keys.limits.services_max",
    TunnelsPerServiceMax = "tunnels_per_service_max",
    HealthWatchesMax = "health_watches_max",
    BadKeysPerMinuteMax = "bad_keys_per_minute_max",
    TopicsMax = "topics_max",
    SubscriptionsPerTunnelMax = "subscriptions_per_tunnel_max",
    TopicBytesMax = "topic_bytes_max",
    EventBytesMax = "event_bytes_max",
    EventStreamsMax = "event_streams_max",
    SlowConsumerTimeout = "slow_consumer_timeout",
    RegisterTimeout = "register_timeout",
    HandshakeTimeout = "handshake_timeout",
    HalfCloseTimeout = "half_close_timeout",
    MessageTimeout = "message_timeout",
    StreamIdleTimeout = "stream_idle_timeout",
    SendStallTimeout = "send_stall_timeout",
}

static HITS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];

/// Something was refused, ended, closed or delayed because of the limit.
pub fn hit(limit: Limit) {
    HITS[limit as usize].fetch_add(1, Ordering::Relaxed);
}

/// Each limit by its name, and how often it was reached in this process.
pub fn hits() -> impl Iterator<Item = (&'static str, u64)> {
    NAMES.iter().copied().zip(HITS.iter().map(|hits| hits.load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_is_counted_under_the_limits_name() {
        let hits_of = |name| hits().find(|(of, _)| *of == name).map(|(_, hits)| hits);
        let before = hits_of("send_stall_timeout").unwrap();
        hit(Limit::SendStallTimeout);
        assert!(hits_of("send_stall_timeout").unwrap() > before);
        assert_eq!(NAMES[Limit::SendStallTimeout as usize], "send_stall_timeout");
        assert_eq!(NAMES.len() - 1, Limit::SendStallTimeout as usize, "it is the last");
    }
}
