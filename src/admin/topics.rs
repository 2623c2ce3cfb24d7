//! `/topics`: each topic that somebody listens to, on each worker that has subscribers of it.

use std::cmp::Reverse;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::observe::topics::{TopicSnapshot, TopicTotals};

use super::Facts;
use super::answer::list as list_of;
use super::paging::Paging;

/// Which topics, and in which order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    #[serde(default)]
    sort: Sort,
    offset: Option<usize>,
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    /// By name.
    #[default]
    Name,
    /// The most subscribers first.
    Subscribers,
    /// The most events first.
    Events,
    /// The most events that subscribers did not get first.
    Dropped,
    /// The most events that wait first.
    Queued,
}

#[derive(Debug, Serialize)]
struct Page {
    #[serde(flatten)]
    paging: Paging,
    /// Calls of `adit.events.v1` that are open.
    streams: u64,
    /// Events that are kept for who comes back.
    kept_events: u64,
    /// Bytes of them.
    kept_bytes: u64,
    topics: Vec<Topic>,
}

#[derive(Debug, Serialize)]
struct Topic {
    /// A name, or a pattern of names.
    #[serde(rename = "topic")]
    pattern: String,
    worker: usize,
    /// With none it has ended, and some of its events are still queued.
    subscribers: u64,
    /// Events that came for it.
    events: u64,
    /// Those on their way to a subscriber, each counted once for each.
    delivered: u64,
    /// Those that a subscriber did not get.
    dropped: u64,
    /// Those that wait for a subscriber.
    queued: u64,
}

pub(super) async fn list(
    State(facts): State<Facts>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Response {
    list_of(wish, |wish| {
        let mut paging = Paging::asked(wish.offset, wish.limit)?;
        let mut topics = facts.window.topics.look();
        sort(&mut topics, wish.sort);
        paging.cut(&mut topics);
        let TopicTotals { streams, kept_events, kept_bytes, .. } = facts.window.topics.totals();
        let topics = topics.into_iter().map(Topic::from).collect();
        Ok(Page { paging, streams, kept_events, kept_bytes, topics })
    })
}

fn sort(topics: &mut [TopicSnapshot], by: Sort) {
    topics.sort_by(|one, other| (&one.pattern, one.worker).cmp(&(&other.pattern, other.worker)));
    match by {
        Sort::Name => {}
        Sort::Subscribers => topics.sort_by_key(|topic| Reverse(topic.subscribers)),
        Sort::Events => topics.sort_by_key(|topic| Reverse(topic.events)),
        Sort::Dropped => topics.sort_by_key(|topic| Reverse(topic.dropped)),
        Sort::Queued => topics.sort_by_key(|topic| Reverse(topic.queued)),
    }
}

impl From<TopicSnapshot> for Topic {
    fn from(topic: TopicSnapshot) -> Self {
        let TopicSnapshot { pattern, worker, subscribers, events, delivered, dropped, queued } =
            topic;
        Self { pattern, worker, subscribers, events, delivered, dropped, queued }
    }
}
