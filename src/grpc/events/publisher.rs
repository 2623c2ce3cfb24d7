//! Events of callers on their way to the bus, and what becomes of them on its way back.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tonic::Status;

use super::requests::Requests;
use super::{Events, closing, cloud_event};
use crate::actors::event::{Event, Outcome, Publication, Published};
use crate::actors::mailbox::Mailbox;
use crate::grpc::own_proto::events::publish_request::What;
use crate::grpc::own_proto::events::{
    Event as SentEvent, PublishRequest, PublishResponse, PublishStreamResponse, Rejection,
};
use crate::grpc::publishing::{Submitted, told};
use crate::grpc::{limits_reached, status};
use crate::observe::limits;
use crate::observe::log::outside;
use crate::observe::tally::{Count, count};
use crate::observe::topics::Publishing;
use crate::tunnel::failure::Failure;
use crate::tunnel::topic::TopicName;
use crate::tunnel::topic::refusal::EventRefusal;

/// Events of one stream that are under way at once; the next is read when the first of them has
/// arrived. A few hide the way to other workers and back, and hold a few times an event's size.
const UNDER_WAY_MAX: usize = 16;
/// Rejections that are told one by one: enough to see what is wrong, in an answer of some KiB.
const REJECTIONS_TOLD_MAX: usize = 100;

/// An event that cannot be published: what its publisher is told, and what it said.
struct Unpublished {
    status: Status,
    id: String,
    topic: String,
}

/// What is known of the events of one stream.
#[derive(Default)]
struct Tally {
    response: PublishStreamResponse,
    /// Events that have come.
    events: u64,
    under_way: VecDeque<(u64, mpsc::Receiver<Published>)>,
}

impl Events {
    /// Publishes one event.
    pub(super) async fn publish_one(
        &self,
        requests: &mut Requests,
    ) -> Result<PublishResponse, Status> {
        let request = requests.only().await?;
        let mut outcome = self.publish(request).map_err(|unpublished| unpublished.status)?;
        let Some(Published { id, topic, outcome, .. }) = outcome.recv().await else {
            return Err(status::refusal(Failure::Panic));
        };
        let subscribers = match outcome {
            Outcome::Accepted { subscribers } => subscribers,
            Outcome::NoSubscriber | Outcome::Duplicate => 0,
            Outcome::Refused(why) => return Err(status::event_status(&why, &topic)),
        };
        Ok(PublishResponse {
            event_id: id.to_string(),
            subscribers: u32::try_from(subscribers).unwrap_or(u32::MAX),
            duplicate: outcome == Outcome::Duplicate,
        })
    }

    /// Publishes events as they come, until the caller has said the last.
    pub(super) async fn publish_many(
        &self,
        requests: &mut Requests,
    ) -> Result<PublishStreamResponse, Status> {
        let mut tally = Tally::default();
        let mut phase = self.phase.clone();
        loop {
            let request = tokio::select! {
                biased;
                end = closing(&mut phase) => return Err(tally.cut_off(end)),
                request = requests.next() => request?,
            };
            let Some(request) = request else { break };
            tally.next(self.publish(request)).await;
        }
        tally.finish().await
    }

    /// Hands an event to the bus; what becomes of it is told once.
    fn publish(&self, request: PublishRequest) -> Result<mpsc::Receiver<Published>, Unpublished> {
        let event = self.event(request).inspect_err(|unpublished| {
            self.topics.published(Publishing::Rejected);
            count(Count::EventRefused);
            log::warn!(
                "event refused: publisher={} topic={} reason={}",
                self.publisher,
                outside(told(&unpublished.topic)),
                outside(unpublished.status.message()),
            );
        })?;
        let (outcome, heard) = Mailbox::of_task(1);
        // The stream says how much is under way, so that no other room is needed.
        self.bus.publish(Publication::new(event, None, Some(outcome), self.topics.clone()));
        Ok(heard)
    }

    fn event(&self, request: PublishRequest) -> Result<Event, Unpublished> {
        let PublishRequest { what, topic } = request;
        let sent = match what {
            Some(What::Event(event)) => event,
            Some(What::CloudEvent(sent)) => {
                let name = if topic.is_empty() { sent.r#type.clone() } else { topic.clone() };
                let id = sent.id.clone();
                cloud_event::event(sent, topic).map_err(|bad| Unpublished {
                    status: status::bad_event(bad.to_string()),
                    id,
                    topic: name,
                })?
            }
            None => {
                let status = status::bad_event("there is neither event nor cloud_event".to_owned());
                return Err(Unpublished { status, id: String::new(), topic });
            }
        };
        let SentEvent { id, topic, payload, timestamp, metadata, .. } = sent;
        let submitted = Submitted { id, topic, payload, timestamp, metadata };
        match self.check(&submitted) {
            Ok(name) => Ok(submitted.event(name, self.publisher)),
            Err(status) => Err(Unpublished { status, id: submitted.id, topic: submitted.topic }),
        }
    }

    fn check(&self, submitted: &Submitted) -> Result<TopicName, Status> {
        let grant = self.standing.grant().map_err(status::refusal)?;
        let may = |name: &_| grant.is_none_or(|grant| grant.publish.allows(name));
        submitted.check(&self.limits.now(), may).map_err(|why| {
            limits_reached::by_event_refusal(why).into_iter().for_each(limits::hit);
            status::event_status(&why, told(&submitted.topic))
        })
    }
}

impl Tally {
    /// What the caller is told if its stream ends before its time. Whoever has published a part of it
    /// must not be told to try again as if it had not run.
    fn cut_off(&self, end: Status) -> Status {
        match self.events {
            0 => end,
            events => status::cut_off(events),
        }
    }

    /// One more event has come. There are never more under way than there may be.
    async fn next(&mut self, published: Result<mpsc::Receiver<Published>, Unpublished>) {
        let index = self.events;
        self.events += 1;
        match published {
            Ok(outcome) => self.under_way.push_back((index, outcome)),
            Err(Unpublished { status, id, topic }) => self.rejected(index, &id, &topic, &status),
        }
        if self.under_way.len() >= UNDER_WAY_MAX {
            self.settle_first().await;
        }
    }

    async fn finish(mut self) -> Result<PublishStreamResponse, Status> {
        while !self.under_way.is_empty() {
            self.settle_first().await;
        }
        self.response.rejections.sort_unstable_by_key(|rejection| rejection.index);
        Ok(self.response)
    }

    async fn settle_first(&mut self) {
        let Some((index, mut outcome)) = self.under_way.pop_front() else { return };
        let Some(Published { id, topic, outcome, .. }) = outcome.recv().await else {
            let lost = status::event_status(&EventRefusal::Lost, "");
            return self.rejected(index, "", "", &lost);
        };
        match outcome {
            Outcome::Accepted { .. } | Outcome::Duplicate => self.response.accepted += 1,
            Outcome::NoSubscriber => self.response.no_subscriber += 1,
            Outcome::Refused(why) => {
                self.rejected(index, &id, &topic, &status::event_status(&why, &topic));
            }
        }
    }

    fn rejected(&mut self, index: u64, id: &str, topic: &str, status: &Status) {
        self.response.rejected += 1;
        if self.response.rejections.len() < REJECTIONS_TOLD_MAX {
            self.response.rejections.push(Rejection {
                index,
                event_id: told(id).to_owned(),
                topic: told(topic).to_owned(),
                code: status.code().into(),
                message: status.message().to_owned(),
            });
        }
    }
}
