//! Every limit of the gateway, with its unit and its default.
//!
//! A limit is counted where the rule that needs it lives; this file only says how much there is.

use std::time::Duration;

/// Streams of one connection, at most, whatever is configured: HTTP/2 is told of no more.
pub const STREAMS_MAX: u32 = 1_100;

/// How much of everything the gateway holds, and for how long it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls in flight in the whole gateway. The next is `RESOURCE_EXHAUSTED inflight_limit`.
    pub calls_max: usize,
    /// Calls in flight on one tunnel, calls whose caller left included until they are freed.
    pub calls_per_tunnel_max: usize,
    /// Calls in flight to one service, down all its tunnels, calls whose caller left included.
    pub calls_per_service_max: usize,
    /// Calls that wait for a tunnel, in the whole gateway.
    pub waiting_calls_max: usize,
    /// The same of one service.
    pub waiting_calls_per_service_max: usize,
    /// Bytes of messages that wait with their calls, in the whole gateway.
    pub waiting_bytes_max: usize,
    /// Connections open at once; further ones are closed as they come.
    pub connections_max: usize,
    /// The same from one address that is not loopback.
    pub connections_per_address_max: usize,
    /// Streams one connection may have open; the next is refused with `REFUSED_STREAM`.
    pub streams_per_connection_max: usize,
    /// Calls that one connection may cancel at once before their answers begin; past this it is
    /// closed (CVE-2023-44487).
    pub early_cancels_burst: usize,
    /// How many more it may cancel each second.
    pub early_cancels_per_second: usize,
    /// One message, either way, as the caller sees it.
    pub message_bytes_max: usize,
    /// Bytes of messages that have come in part, from everybody together.
    pub gathered_bytes_max: usize,
    /// Metadata of one call: the sum of names, values and 32 a pair, as HTTP/2 counts it.
    pub metadata_bytes_max: usize,
    /// Pairs of metadata of one call.
    pub metadata_entries_max: usize,
    /// One frame down a classic tunnel. Peers accept 4 MiB unless told otherwise.
    pub classic_frame_bytes_max: usize,
    /// One frame from a peer. A larger one ends the tunnel.
    pub peer_frame_bytes_max: usize,
    /// Bytes queued towards one tunnel. An empty queue admits any legal message.
    pub tunnel_queue_bytes_max: usize,
    /// Bytes one call may have in its tunnel's queue, so that bulk does not hold up the others.
    /// One message is always admitted.
    pub call_queue_bytes_max: usize,
    /// Bytes of one call's answer held for a caller that reads slowly.
    pub call_buffer_bytes_max: usize,
    /// The same for all calls of one tunnel together.
    pub tunnel_buffer_bytes_max: usize,
    /// Names one tunnel may register.
    pub services_per_tunnel_max: usize,
    /// Bytes of a registered name.
    pub service_name_bytes_max: usize,
    /// Tunnels one key may have open.
    pub tunnels_per_key_max: usize,
    /// Tunnels one service may have.
    pub tunnels_per_service_max: usize,
    /// Names remembered after their last tunnel has gone.
    pub names_remembered_max: usize,
    /// Health watches open at once, of everybody together.
    pub health_watches_max: usize,
    /// Wrong keys in a minute from one address; further ones are answered late.
    pub bad_keys_per_minute_max: usize,
    /// How late.
    pub bad_key_delay: Duration,
    /// Topics that somebody listens to, in the whole gateway.
    pub topics_max: usize,
    /// Topics one tunnel may listen to.
    pub subscriptions_per_tunnel_max: usize,
    /// Bytes of a topic.
    pub topic_bytes_max: usize,
    /// Bytes of what is published at once.
    pub event_bytes_max: usize,
    /// Publishers and subscribers without a tunnel, of everybody together.
    pub event_streams_max: usize,
    /// Events that wait for one subscriber; past this the newest is dropped for it.
    pub subscriber_queue_events_max: usize,
    /// Bytes of them. An empty queue admits any legal event.
    pub subscriber_queue_bytes_max: usize,
    /// A tunnel whose queue of events stays full for so long is closed.
    pub slow_consumer_timeout: Duration,
    /// A tunnel's first frame must have come by then.
    pub register_timeout: Duration,
    /// Preface and SETTINGS of a new connection must be done by then.
    pub handshake_timeout: Duration,
    /// A plain peer gets whole calls only: the half-close must follow the message within this.
    pub half_close_timeout: Duration,
    /// How long a question about schemas may take, with all the services that are asked.
    pub reflection_timeout: Duration,
    /// What a plain peer's call may take when its caller gave no deadline.
    pub plain_call_timeout: Duration,
    /// A message of a caller's that has begun must have come within this.
    pub message_timeout: Duration,
    /// A call on which no message goes either way for this long ends; [`Duration::MAX`] is never.
    pub stream_idle_timeout: Duration,
    /// A caller that takes nothing of its answer for so long is given up.
    pub send_stall_timeout: Duration,
    /// A call whose caller left holds its slot on the tunnel this long, unless the peer ends it.
    pub cancel_timeout: Duration,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_max: 20_000,
            calls_per_tunnel_max: 1_000,
            // Half of all, so that one service that hangs leaves the others room.
            calls_per_service_max: 10_000,
            waiting_calls_max: 1_000,
            waiting_calls_per_service_max: 100,
            waiting_bytes_max: 64 * MIB,
            connections_max: 10_000,
            connections_per_address_max: 256,
            streams_per_connection_max: 100,
            early_cancels_burst: 200,
            early_cancels_per_second: 50,
            message_bytes_max: 4 * MIB,
            gathered_bytes_max: 512 * MIB,
            metadata_bytes_max: 32 * KIB,
            metadata_entries_max: 100,
            classic_frame_bytes_max: 4 * MIB,
            peer_frame_bytes_max: 64 * MIB,
            tunnel_queue_bytes_max: 8 * MIB,
            call_queue_bytes_max: 64 * KIB,
            call_buffer_bytes_max: 16 * MIB,
            tunnel_buffer_bytes_max: 64 * MIB,
            services_per_tunnel_max: 64,
            service_name_bytes_max: 255,
            tunnels_per_key_max: 64,
            tunnels_per_service_max: 256,
            names_remembered_max: 10_000,
            health_watches_max: 1_000,
            bad_keys_per_minute_max: 10,
            bad_key_delay: Duration::from_mins(1),
            topics_max: 10_000,
            subscriptions_per_tunnel_max: 256,
            topic_bytes_max: 255,
            event_bytes_max: MIB,
            event_streams_max: 1_000,
            subscriber_queue_events_max: 1_024,
            subscriber_queue_bytes_max: 8 * MIB,
            slow_consumer_timeout: Duration::from_mins(1),
            register_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            half_close_timeout: Duration::from_secs(30),
            reflection_timeout: Duration::from_secs(5),
            plain_call_timeout: Duration::from_mins(5),
            message_timeout: Duration::from_secs(30),
            // A bidirectional stream may rightly be silent for days.
            stream_idle_timeout: Duration::MAX,
            send_stall_timeout: Duration::from_mins(1),
            cancel_timeout: Duration::from_secs(5),
        }
    }
}
