//! `/connections`: every tunnel, open or closed not long ago, and what went through one of them last.

use std::cmp::Reverse;
use std::net::SocketAddr;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::observe::tunnels::{ClosedTunnel, FrameSeen, OneTunnel, OpenOrClosed, TunnelSnapshot};

use super::Facts;
use super::answer::{captured, list as list_of, moment, refused, seconds};
use super::paging::Paging;

/// Which tunnels, and in which order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    #[serde(default)]
    state: Which,
    #[serde(default)]
    sort: Sort,
    offset: Option<usize>,
    limit: Option<usize>,
    service: Option<String>,
    key: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Which {
    #[default]
    Open,
    Closed,
    All,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    /// The oldest first; closed ones the latest first.
    #[default]
    Age,
    /// The most calls in flight first.
    Calls,
    /// The most bytes, both ways together, first.
    Bytes,
    /// The longest not heard first.
    Silence,
}

#[derive(Debug, Serialize)]
struct Page {
    /// How many are open, whatever the question was about.
    open: usize,
    /// How many that are closed are remembered.
    closed: usize,
    #[serde(flatten)]
    paging: Paging,
    connections: Vec<Connection>,
}

#[derive(Debug, Serialize)]
struct Connection {
    id: String,
    key_id: String,
    peer_address: SocketAddr,
    /// `plain` if its peer asked for no feature, otherwise `extended`.
    dialect: &'static str,
    features: Vec<String>,
    services: Vec<String>,
    topics: Vec<String>,
    worker: usize,
    /// `opening`, `ready`, `late`, `draining` or `closed`.
    state: &'static str,
    opened_at: String,
    age_seconds: f64,
    calls_in_flight: u64,
    calls_started: u64,
    /// Calls that its peer makes itself.
    own_calls_in_flight: u64,
    frames_in: u64,
    frames_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// Bytes that wait to be written to it.
    queued_bytes: u64,
    /// How long its writer has waited for the peer to take more, all in all.
    stalled_seconds: f64,
    last_heard_seconds_ago: f64,
    /// Of the last HTTP/2 ping.
    round_trip_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<String>,
    /// Why it was closed: one of a closed set of words.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The same in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// `/connections/{id}`
#[derive(Debug, Serialize)]
struct One {
    connection: Connection,
    /// The last 64, the latest last: their headers alone.
    frames: Vec<Frame>,
}

#[derive(Debug, Serialize)]
struct Frame {
    /// `in` is from the peer.
    direction: &'static str,
    kind: &'static str,
    request_id: Option<String>,
    bytes: u64,
    at: String,
}

pub(super) async fn list(
    State(facts): State<Facts>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Response {
    let tunnels = &facts.window.tunnels;
    list_of(wish, |wish| {
        let paging = Paging::asked(wish.offset, wish.limit)?;
        Ok(Page::of(tunnels.open(), tunnels.closed(), &wish, paging))
    })
}

pub(super) async fn one(
    State(facts): State<Facts>,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    let Ok(Path(id)) = id else {
        return refused(StatusCode::BAD_REQUEST, "an id is text in UTF-8");
    };
    let Ok(id) = id.parse::<Uuid>() else {
        return refused(StatusCode::BAD_REQUEST, "an id is a UUID; /connections lists them");
    };
    match facts.window.tunnels.one(id.as_u128()) {
        Some(OneTunnel { tunnel, frames }) => {
            let connection = match tunnel {
                OpenOrClosed::Open(tunnel) => Connection::open(tunnel),
                OpenOrClosed::Closed(tunnel) => Connection::closed(tunnel),
            };
            captured(&One { connection, frames: frames.into_iter().map(Frame::of).collect() })
        }
        None => refused(
            StatusCode::NOT_FOUND,
            "no tunnel with this id is open or among the last 1,000 that were closed",
        ),
    }
}

impl Page {
    fn of(
        open: Vec<TunnelSnapshot>,
        closed: Vec<ClosedTunnel>,
        wish: &Wish,
        mut paging: Paging,
    ) -> Self {
        let counts = (open.len(), closed.len());
        let is_meant = |tunnel: &TunnelSnapshot| {
            let named = |name: &String| tunnel.services.contains(name);
            wish.service.as_ref().is_none_or(named)
                && wish.key.as_ref().is_none_or(|key| *key == tunnel.key_id)
        };
        let mut found = Vec::new();
        if wish.state != Which::Closed {
            let mut open: Vec<_> = open.into_iter().filter(is_meant).collect();
            open.sort_by(|one, other| (other.age, &other.id).cmp(&(one.age, &one.id)));
            found.extend(open.into_iter().map(Connection::open));
        }
        if wish.state != Which::Open {
            let closed = closed.into_iter().filter(|closed| is_meant(&closed.tunnel));
            found.extend(closed.map(Connection::closed));
        }
        match wish.sort {
            Sort::Age => {}
            Sort::Calls => found.sort_by_key(|tunnel| Reverse(tunnel.calls_in_flight)),
            Sort::Bytes => found.sort_by_key(|tunnel| Reverse(tunnel.bytes_in + tunnel.bytes_out)),
            Sort::Silence => found.sort_by(|one, other| {
                other.last_heard_seconds_ago.total_cmp(&one.last_heard_seconds_ago)
            }),
        }
        paging.cut(&mut found);
        Self { open: counts.0, closed: counts.1, paging, connections: found }
    }
}

impl Connection {
    fn open(tunnel: TunnelSnapshot) -> Self {
        Self {
            id: tunnel.id,
            key_id: tunnel.key_id,
            peer_address: tunnel.peer_address,
            dialect: tunnel.dialect,
            features: tunnel.features,
            services: tunnel.services,
            topics: tunnel.topics,
            worker: tunnel.worker,
            state: tunnel.state,
            opened_at: moment(tunnel.opened_at),
            age_seconds: seconds(tunnel.age),
            calls_in_flight: tunnel.calls_in_flight,
            calls_started: tunnel.calls_started,
            own_calls_in_flight: tunnel.own_calls_in_flight,
            frames_in: tunnel.frames_in,
            frames_out: tunnel.frames_out,
            bytes_in: tunnel.bytes_in,
            bytes_out: tunnel.bytes_out,
            queued_bytes: tunnel.queued_bytes,
            stalled_seconds: seconds(tunnel.stalled),
            last_heard_seconds_ago: seconds(tunnel.last_heard),
            round_trip_seconds: tunnel.round_trip.map(seconds),
            closed_at: None,
            reason: None,
            detail: None,
        }
    }

    fn closed(closed: ClosedTunnel) -> Self {
        let ClosedTunnel { tunnel, closed_at, reason, detail } = closed;
        Self {
            state: "closed",
            closed_at: Some(moment(closed_at)),
            reason: Some(reason),
            detail: Some(detail),
            ..Self::open(tunnel)
        }
    }
}

impl Frame {
    fn of(seen: FrameSeen) -> Self {
        let FrameSeen { inbound, kind, request_id, bytes, at } = seen;
        let direction = if inbound { "in" } else { "out" };
        Self { direction, kind, request_id, bytes, at: moment(at) }
    }
}
