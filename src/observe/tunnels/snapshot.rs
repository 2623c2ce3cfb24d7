//! What is told of tunnels to whoever looks: plain data, taken at one moment.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use crate::observe::buckets::Buckets;

/// One tunnel.
#[derive(Clone, Debug)]
pub struct TunnelSnapshot {
    /// Its id, assigned by the gateway.
    pub id: String,
    /// The id of the key that opened it.
    pub key_id: String,
    /// The other end of its connection.
    pub peer_address: SocketAddr,
    /// "plain" if its peer asked for no feature, "extended" otherwise.
    pub dialect: &'static str,
    /// The features it was granted.
    pub features: Vec<String>,
    /// The names it serves, as it registered them.
    pub services: Vec<String>,
    /// The topics and patterns it listens to.
    pub topics: Vec<String>,
    /// The worker it lives on.
    pub worker: usize,
    /// "opening" until every registry knows it, then "ready", "late" or "draining".
    pub state: &'static str,
    /// When it had registered.
    pub opened_at: SystemTime,
    /// How long ago that was.
    pub age: Duration,
    /// Calls that its peer is answering, and those that their callers left and that keep a slot.
    pub calls_in_flight: u64,
    /// Calls that were put on it.
    pub calls_started: u64,
    /// Calls that its peer makes.
    pub own_calls_in_flight: u64,
    /// Frames from its peer.
    pub frames_in: u64,
    /// Frames to its peer.
    pub frames_out: u64,
    /// Bytes of the frames from its peer, with gRPC's prefix of five bytes each.
    pub bytes_in: u64,
    /// Bytes of the frames to its peer, with gRPC's prefix of five bytes each.
    pub bytes_out: u64,
    /// How long ago the last frame came.
    pub last_heard: Duration,
    /// How long the last HTTP/2 ping took to be answered, if one was.
    pub round_trip: Option<Duration>,
    /// What waits in its queue, as `tunnel_queue_bytes_max` counts it: payloads and 256 bytes each.
    pub queued_bytes: u64,
    /// How long its writer has waited until HTTP/2 let it write, all in all.
    pub stalled: Duration,
}

/// A tunnel that has ended.
#[derive(Clone, Debug)]
pub struct ClosedTunnel {
    /// The tunnel as it ended.
    pub tunnel: TunnelSnapshot,
    /// When it ended.
    pub closed_at: SystemTime,
    /// Why, out of a closed set.
    pub reason: &'static str,
    /// The same in words.
    pub detail: String,
}

/// One tunnel, and the last of its frames.
#[derive(Clone, Debug)]
pub struct OneTunnel {
    /// The tunnel.
    pub tunnel: OpenOrClosed,
    /// The last 64 frames, the oldest first.
    pub frames: Vec<FrameSeen>,
}

/// A tunnel that is open, or one that was.
#[derive(Clone, Debug)]
pub enum OpenOrClosed {
    /// It is open.
    Open(TunnelSnapshot),
    /// It has ended.
    Closed(ClosedTunnel),
}

/// How the open tunnels stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Not every registry knows them yet.
    pub opening: usize,
    /// They may be chosen for calls.
    pub ready: usize,
    /// They have been silent for too long.
    pub late: usize,
    /// They take no new calls.
    pub draining: usize,
    /// Names that they serve, each once.
    pub services: usize,
}

/// A frame, by its header.
#[derive(Clone, Debug)]
pub struct FrameSeen {
    /// Whether it came from the peer.
    pub inbound: bool,
    /// What it is.
    pub kind: &'static str,
    /// The call that it belongs to, if it belongs to one; a peer's own ids are cut to 36 bytes.
    pub request_id: Option<String>,
    /// Its size, with gRPC's prefix of five bytes.
    pub bytes: u64,
    /// When it was read, or handed to HTTP/2.
    pub at: SystemTime,
}

/// The tunnels of one service. What only grows also has what ended tunnels have counted.
#[derive(Clone, Debug)]
pub struct ServiceTunnels {
    /// The name; "other" for those that found no place, "none" for tunnels that serve nothing.
    pub service: String,
    /// Tunnels under this name that may be chosen for calls. A tunnel counts under each of its names.
    pub ready: u64,
    /// Those that have been silent for too long.
    pub late: u64,
    /// Those that take no new calls because their peer or the gateway is leaving.
    pub draining: u64,
    /// Tunnels that were told that they are connected. This and all below counts under the first name
    /// of a tunnel only.
    pub connects: u64,
    /// Frames by kind and by whether they came from peers; those of which there were any.
    pub frames: Vec<(&'static str, bool, u64)>,
    /// Bytes of the frames from peers.
    pub bytes_in: u64,
    /// Bytes of the frames to peers.
    pub bytes_out: u64,
    /// From the arrival of a tunnel's stream until the peer was told that it is connected.
    pub handshake: Buckets,
    /// HTTP/2 pings on the connections of its tunnels.
    pub round_trip: Buckets,
    /// How long writers waited until HTTP/2 let them write.
    pub stalled_seconds: f64,
    /// What waits in the queues of the tunnels that are open.
    pub queued_bytes: u64,
}
