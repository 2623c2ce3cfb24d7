//! `/actors`: every actor, by kind, by arbiter and one by one.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::observe::cast::{
    ActorSnapshot, ArbiterTotals, CastSnapshot, Handling, KindTotals, Panicked, STUCK_AFTER,
};
use crate::observe::histogram::Times;

use super::Facts;
use super::answer::{captured, list as list_of, refused, seconds};
use super::paging::Paging;

/// Which actors, and in which order. Those that are stuck always come first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    #[serde(default)]
    sort: Sort,
    offset: Option<usize>,
    limit: Option<usize>,
    kind: Option<String>,
    arbiter: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    /// The most messages waiting first.
    #[default]
    Depth,
    /// The most messages handled first.
    Handled,
    /// The oldest first.
    Age,
    /// The longest at one message first.
    Handling,
    /// By kind and id.
    Kind,
}

#[derive(Debug, Serialize)]
struct Page {
    kinds: Vec<Cast>,
    arbiters: Vec<Thread>,
    #[serde(flatten)]
    paging: Paging,
    actors: Vec<Actor>,
    /// The last hundred that panicked, the latest first.
    panicked: Vec<Panic>,
}

/// `/actors/{id}`
#[derive(Debug, Serialize)]
struct Named {
    actors: Vec<Actor>,
}

#[derive(Debug, Serialize)]
struct Cast {
    kind: &'static str,
    alive: u64,
    started: u64,
    stopped: u64,
    messages_handled: u64,
    mailbox_depth: u64,
    /// Of the fullest mailbox.
    mailbox_depth_max: u64,
    panics: u64,
    dead_letters: u64,
    dead_letters_by_reason: BTreeMap<&'static str, u64>,
    /// How long one message takes.
    handle: Durations,
    /// How long it waits in the mailbox before.
    wait: Durations,
    /// How many of each message were handled.
    messages: BTreeMap<&'static str, u64>,
}

/// Since the start. Quantiles are exact to an eighth; the longest is exact.
#[derive(Debug, Serialize)]
struct Durations {
    count: u64,
    sum_seconds: f64,
    p50_seconds: f64,
    p99_seconds: f64,
    longest_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Thread {
    arbiter: usize,
    alive: u64,
    messages_handled: u64,
    mailbox_depth: u64,
    panics: u64,
    dead_letters: u64,
    /// What it does at this moment, if it handles a message.
    handling: Option<InHand>,
    kinds: BTreeMap<&'static str, OfKind>,
}

#[derive(Debug, Serialize)]
struct OfKind {
    alive: u64,
    messages_handled: u64,
}

#[derive(Debug, Serialize)]
struct InHand {
    kind: &'static str,
    id: String,
    message: &'static str,
    for_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Actor {
    kind: &'static str,
    id: String,
    arbiter: usize,
    age_seconds: f64,
    mailbox_depth: u64,
    messages_handled: u64,
    dead_letters: u64,
    /// It has been handling one message for more than a second.
    stuck: bool,
    /// The message that it is handling.
    handling: Option<InHand>,
}

#[derive(Debug, Serialize)]
struct Panic {
    kind: &'static str,
    id: String,
    arbiter: usize,
    /// The message that it was handling.
    message: Option<&'static str>,
    seconds_ago: f64,
}

pub(super) async fn list(
    State(facts): State<Facts>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Response {
    list_of(wish, |wish| {
        let paging = Paging::asked(wish.offset, wish.limit)?;
        let cast = facts.window.cast.look();
        wish.check(&cast)?;
        Ok(Page::of(cast, &wish, paging))
    })
}

impl Wish {
    /// Whether there are such kinds and arbiters at all.
    fn check(&self, cast: &CastSnapshot) -> Result<(), String> {
        let kinds: Vec<_> = cast.kinds.iter().map(|kind| kind.kind).collect();
        if self.kind.as_ref().is_some_and(|kind| !kinds.contains(&kind.as_str())) {
            return Err(format!("kind: must be one of {}", kinds.join(", ")));
        }
        let arbiters = cast.arbiters.len();
        if self.arbiter.is_some_and(|arbiter| arbiter >= arbiters) {
            return Err(format!("arbiter: must be less than {arbiters}"));
        }
        Ok(())
    }
}

/// `/actors/{id}`: a call's or a tunnel's id means one actor, a worker's number several.
pub(super) async fn one(
    State(facts): State<Facts>,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    let Ok(Path(id)) = id else {
        return refused(StatusCode::BAD_REQUEST, "an id is text in UTF-8");
    };
    let named = facts.window.cast.look().actors.into_iter().filter(|actor| actor.id == id);
    let actors: Vec<_> = named.map(Actor::of).collect();
    if actors.is_empty() {
        return refused(StatusCode::NOT_FOUND, "no actor with this id is alive");
    }
    captured(&Named { actors })
}

impl Page {
    fn of(snapshot: CastSnapshot, wish: &Wish, mut paging: Paging) -> Self {
        let CastSnapshot { arbiters, kinds, actors, panicked } = snapshot;
        let is_meant = |actor: &ActorSnapshot| {
            wish.kind.as_ref().is_none_or(|kind| kind == actor.kind)
                && wish.arbiter.is_none_or(|arbiter| arbiter == actor.arbiter)
        };
        let mut actors: Vec<_> = actors.into_iter().filter(is_meant).collect();
        actors.sort_by(|one, other| one.kind.cmp(other.kind).then_with(|| one.id.cmp(&other.id)));
        actors.sort_by_key(|actor| Reverse((is_stuck(actor), rank(wish.sort, actor))));
        paging.cut(&mut actors);
        Self {
            kinds: kinds.into_iter().map(Cast::of).collect(),
            arbiters: arbiters.into_iter().map(Thread::of).collect(),
            paging,
            actors: actors.into_iter().map(Actor::of).collect(),
            panicked: panicked.into_iter().map(Panic::of).collect(),
        }
    }
}

fn is_stuck(actor: &ActorSnapshot) -> bool {
    actor.handling.as_ref().is_some_and(|handling| handling.for_ >= STUCK_AFTER)
}

fn rank(sort: Sort, actor: &ActorSnapshot) -> u128 {
    match sort {
        Sort::Depth => actor.depth.into(),
        Sort::Handled => actor.handled.into(),
        Sort::Age => actor.age.as_nanos(),
        Sort::Handling => actor.handling.as_ref().map_or(0, |handling| handling.for_.as_nanos()),
        Sort::Kind => 0,
    }
}

impl Cast {
    fn of(totals: KindTotals) -> Self {
        Self {
            kind: totals.kind,
            alive: totals.alive,
            started: totals.started,
            stopped: totals.stopped,
            messages_handled: totals.handled,
            mailbox_depth: totals.depth,
            mailbox_depth_max: totals.depth_max,
            panics: totals.panics,
            dead_letters: totals.dead_letters,
            dead_letters_by_reason: totals.dead_letters_by_reason.into_iter().collect(),
            handle: Durations::of(&totals.handle),
            wait: Durations::of(&totals.wait),
            messages: totals.messages.into_iter().collect(),
        }
    }
}

impl Durations {
    fn of(times: &Times) -> Self {
        Self {
            count: times.count,
            sum_seconds: times.sum_seconds,
            p50_seconds: times.p50_seconds,
            p99_seconds: times.p99_seconds,
            longest_seconds: times.longest_seconds,
        }
    }
}

impl Thread {
    fn of(totals: ArbiterTotals) -> Self {
        let kinds = totals.kinds.into_iter();
        let kinds =
            kinds.map(|(kind, alive, messages_handled)| (kind, OfKind { alive, messages_handled }));
        Self {
            arbiter: totals.arbiter,
            alive: totals.alive,
            messages_handled: totals.handled,
            mailbox_depth: totals.depth,
            panics: totals.panics,
            dead_letters: totals.dead_letters,
            handling: totals.handling.map(InHand::of),
            kinds: kinds.collect(),
        }
    }
}

impl InHand {
    fn of(handling: Handling) -> Self {
        let Handling { kind, id, message, for_ } = handling;
        Self { kind, id, message, for_seconds: seconds(for_) }
    }
}

impl Actor {
    fn of(actor: ActorSnapshot) -> Self {
        Self {
            stuck: is_stuck(&actor),
            kind: actor.kind,
            id: actor.id,
            arbiter: actor.arbiter,
            age_seconds: seconds(actor.age),
            mailbox_depth: actor.depth,
            messages_handled: actor.handled,
            dead_letters: actor.dead_letters,
            handling: actor.handling.map(InHand::of),
        }
    }
}

impl Panic {
    fn of(panicked: Panicked) -> Self {
        let Panicked { kind, id, arbiter, message, ago } = panicked;
        Self { kind, id, arbiter, message, seconds_ago: seconds(ago) }
    }
}
