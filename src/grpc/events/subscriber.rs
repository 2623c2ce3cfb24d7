//! A caller that listens: what is kept since its position, then what comes.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::requests::Requests;
use super::{Events, closing};
use crate::actors::bus::{Membership, SubscriptionEnded};
use crate::actors::event::Event;
use crate::actors::lane::EventLane;
use crate::actors::mailbox::Mailbox;
use crate::auth::KeyGrant;
use crate::grpc::own_proto::events::subscribe_response::What;
use crate::grpc::own_proto::events::{Missed, Resume, SubscribeRequest, Subscribed};
use crate::grpc::publishing::told;
use crate::grpc::wire::Phase;
use crate::grpc::{limits_reached, status};
use crate::observe::limits;
use crate::observe::log::outside;
use crate::observe::tally::{Count, count};
use crate::tunnel::id::MemberId;
use crate::tunnel::limits::Limits;
use crate::tunnel::topic::queue::{Gap, Heard};
use crate::tunnel::topic::reader::Reader;
use crate::tunnel::topic::refusal::EventRefusal;
use crate::tunnel::topic::{BadTopic, TopicPattern};

/// So many ids may name a position: more than can be under way at once to a subscriber that reads.
const POSITION_IDS_MAX: usize = 1_000;

/// One who listens.
pub(super) struct Subscriber {
    membership: Membership,
    lane: EventLane,
    patterns: Vec<TopicPattern>,
    /// Where it is in what is kept, until it has read all of that.
    behind: Option<Reader>,
    /// What it is told next.
    ready: VecDeque<Told>,
    ended: mpsc::Receiver<SubscriptionEnded>,
    phase: watch::Receiver<Phase>,
}

/// What a subscriber is told.
pub(super) enum Told {
    /// Something was published.
    Event(Arc<Event>),
    /// Anything else.
    Else(What),
}

impl Events {
    /// Listens to topics; returns when every worker knows it.
    pub(super) async fn listen(&self, requests: &mut Requests) -> Result<Subscriber, Status> {
        let SubscribeRequest { topics, resume } = requests.first().await?;
        let limits = self.limits.now().clone();
        let patterns = patterns(&topics, &limits)
            .and_then(|patterns| self.in_scope(patterns))
            .inspect_err(|refusal| {
                let reason = outside(refusal.message());
                count(Count::EventRefused);
                log::warn!("subscription refused: caller={} reason={reason}", self.publisher);
            })?;
        let mut subscriber = self.subscriber(patterns, &limits);
        subscriber.begin(resume).await?;
        Ok(subscriber)
    }

    fn in_scope(&self, patterns: Vec<TopicPattern>) -> Result<Vec<TopicPattern>, Status> {
        if let Some(grant) = self.standing.grant().map_err(status::refusal)? {
            covers(&grant, &patterns)?;
        }
        Ok(patterns)
    }

    fn subscriber(&self, patterns: Vec<TopicPattern>, limits: &Limits) -> Subscriber {
        let lane = EventLane::new(limits);
        // Each subscription ends once.
        let (ended, hears_end) = Mailbox::of_task(patterns.len());
        let membership = self.bus.member(MemberId::random(), lane.clone(), ended);
        Subscriber {
            membership,
            lane,
            patterns,
            behind: None,
            ready: VecDeque::new(),
            ended: hears_end,
            phase: self.phase.clone(),
        }
    }
}

impl Subscriber {
    async fn begin(&mut self, resume: Option<Resume>) -> Result<(), Status> {
        let mut missed = false;
        if let Some(Resume { after_event_ids }) = resume {
            if after_event_ids.len() > POSITION_IDS_MAX {
                let text = format!("a position has {POSITION_IDS_MAX} event ids at most");
                return Err(status::bad_event(text));
            }
            let (reader, may_miss) = self.membership.resume(&self.patterns, &after_event_ids);
            missed = may_miss;
            self.behind = Some(reader);
        }
        self.membership.subscribe(self.patterns.clone());
        self.membership.settled().await;
        if let Ok(ended) = self.ended.try_recv() {
            return Err(refused(&ended));
        }
        self.ready.push_back(Told::Else(What::Subscribed(Subscribed { missed })));
        Ok(())
    }

    /// What comes next, which may take for ever.
    pub(super) async fn next(&mut self) -> Result<Told, Status> {
        loop {
            if let Ok(ended) = self.ended.try_recv() {
                return Err(refused(&ended));
            }
            if let Some(told) = self.next_now() {
                return Ok(told);
            }
            if self.behind.is_some() {
                // Much of what is kept may be nothing to it: others on its thread have their turn.
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                Some(ended) = self.ended.recv() => return Err(refused(&ended)),
                end = closing(&mut self.phase) => return Err(end),
                () = self.lane.until_filled() => {}
            }
        }
    }

    /// What comes next, if it is there.
    pub(super) fn next_now(&mut self) -> Option<Told> {
        if self.ready.is_empty() {
            self.hear();
        }
        self.ready.pop_front()
    }

    /// The patterns that it listens to.
    pub(super) fn patterns(&self) -> &[TopicPattern] {
        &self.patterns
    }

    /// Takes some of what is there.
    fn hear(&mut self) {
        if let Some(reader) = &mut self.behind {
            let read = self.membership.read_kept(reader);
            if read.may_miss {
                let missed = Missed { topic: "#".to_owned(), count: 0 };
                self.ready.push_back(Told::Else(What::Missed(missed)));
            }
            self.ready.extend(read.events.into_iter().map(Told::Event));
            if read.is_end {
                self.behind = None;
            }
            return;
        }
        match self.lane.pop() {
            Some(Heard::Event(queued)) => {
                queued.topic.delivered();
                self.ready.push_back(Told::Event(queued.event));
            }
            Some(Heard::Gap(gap)) => self.ready.push_back(Told::Else(What::Missed(missed(gap)))),
            None => {}
        }
    }
}

/// The patterns that somebody asks for, each once.
fn patterns(topics: &[String], limits: &Limits) -> Result<Vec<TopicPattern>, Status> {
    let most = limits.subscriptions_per_tunnel_max;
    let refuse = |why: EventRefusal, topic: &str| {
        limits_reached::by_event_refusal(why).into_iter().for_each(limits::hit);
        status::event_status(&why, told(topic))
    };
    if topics.is_empty() {
        return Err(refuse(BadTopic::Empty.into(), ""));
    }
    let distinct: BTreeSet<&String> = topics.iter().collect();
    if distinct.len() > most {
        return Err(refuse(EventRefusal::Subscriptions { max: most }, &topics[0]));
    }
    let parsed = distinct.into_iter().map(|text| {
        TopicPattern::parse(text, limits.topic_bytes_max).map_err(|bad| refuse(bad.into(), text))
    });
    parsed.collect()
}

/// Whether a key allows all patterns.
pub(super) fn covers(grant: &KeyGrant, patterns: &[TopicPattern]) -> Result<(), Status> {
    match patterns.iter().find(|pattern| !grant.subscribe.covers(pattern)) {
        Some(pattern) => Err(status::event_status(&EventRefusal::OutOfScope, pattern.as_str())),
        None => Ok(()),
    }
}

fn refused(ended: &SubscriptionEnded) -> Status {
    status::event_status(&ended.why, ended.pattern.as_str())
}

fn missed(gap: Gap) -> Missed {
    Missed { topic: gap.topic.into(), count: gap.missed }
}
