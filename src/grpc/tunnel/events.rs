//! What a peer publishes, and the topics that it listens to.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::actors::bus::Membership;
use crate::actors::connection::ConnectionHandle;
use crate::actors::down::Down;
use crate::actors::event::{Outcome, Publication, Published};
use crate::actors::mailbox::Mailbox;
use crate::actors::traffic::Reply;
use crate::auth::{Credential, KeyGrant, Keyring};
use crate::grpc::proto::subscription_request::Action;
use crate::grpc::proto::{EventMessage, SubscriptionRequest};
use crate::grpc::publishing::{Submitted, told};
use crate::grpc::wire::Wire;
use crate::grpc::{limits_reached, status};
use crate::observe::limits;
use crate::observe::log::outside;
use crate::observe::tally::{Count, count};
use crate::observe::topics::Publishing;
use crate::tunnel::allowance::Allowance;
use crate::tunnel::id::TunnelId;
use crate::tunnel::topic::refusal::EventRefusal;
use crate::tunnel::topic::{BadTopic, TopicName, TopicPattern};

/// The events of one tunnel.
pub(super) struct PeerEvents {
    wire: Rc<Wire>,
    credential: Credential,
    tunnel: TunnelId,
    down: Down,
    /// Room for what the peer says.
    buffer: Allowance,
    membership: Rc<Membership>,
    /// Hears what becomes of each event, if the peer asked for that.
    outcomes: Option<Mailbox<Published>>,
}

impl PeerEvents {
    /// A peer that listens to nothing yet; and its membership of the bus.
    pub(super) fn new(
        wire: Rc<Wire>,
        credential: Credential,
        tunnel: TunnelId,
        connection: &ConnectionHandle,
        down: Down,
        buffer: Allowance,
        acks: bool,
    ) -> (Self, Rc<Membership>) {
        let (lane, ended) = (down.lane().clone(), connection.subscriptions_ended());
        let membership = Rc::new(wire.worker.bus.member(tunnel.into(), lane, ended));
        let outcomes = acks.then(|| connection.outcomes());
        let own = membership.clone();
        (Self { wire, credential, tunnel, down, buffer, membership: own, outcomes }, membership)
    }

    /// The peer publishes something.
    pub(super) fn publish(&self, message: EventMessage) {
        let EventMessage { event_id: id, event_type: topic, payload, timestamp, metadata, .. } =
            message;
        let submitted = Submitted { id, topic, payload, timestamp, metadata };
        let name = match self.check(&submitted) {
            Ok(name) => name,
            Err(why) => return self.refuse_event(&submitted.id, &submitted.topic, why),
        };
        let event = submitted.event(name, self.tunnel.into());
        let Some(room) = self.buffer.take(event.cost()) else {
            return self.refuse_event(&event.id, event.name.as_str(), EventRefusal::NoRoom);
        };
        let counted = self.wire.worker.window.topics.clone();
        let publication = Publication::new(event, Some(room), self.outcomes.clone(), counted);
        self.wire.worker.bus.publish(publication);
    }

    fn refuse_event(&self, id: &str, topic: &str, why: EventRefusal) {
        self.wire.worker.window.topics.published(Publishing::Rejected);
        self.refuse("event", topic, why);
        if self.outcomes.is_some() {
            let (id, topic) = (told(id).into(), told(topic).into());
            let refused = Published { id, topic, outcome: Outcome::Refused(why), room: None };
            self.down.push_reply(&self.buffer, Reply::EventAck(refused).taking());
        }
    }

    /// The peer listens to topics, or does so no more.
    pub(super) fn subscription(&self, request: &SubscriptionRequest) {
        let Ok(action) = Action::try_from(request.action) else {
            return count(Count::FrameUnknown);
        };
        if request.event_types.is_empty() {
            self.refuse("subscription", "", BadTopic::Empty.into());
        }
        let max = self.wire.worker.tunnels.limits.now().subscriptions_per_tunnel_max;
        let mut granted = Vec::new();
        for text in request.event_types.iter().take(max) {
            let checked = match action {
                Action::Subscribe => self.admitted(text),
                Action::Unsubscribe => self.pattern(text),
            };
            match checked {
                Ok(pattern) => granted.push(pattern),
                Err(why) => self.refuse("subscription", text, why),
            }
        }
        match action {
            Action::Subscribe => self.membership.subscribe(granted),
            Action::Unsubscribe => {
                for pattern in granted {
                    self.membership.unsubscribe(pattern);
                }
            }
        }
        // More than a peer may listen to is not looked at one by one.
        if let Some(first) = request.event_types.get(max) {
            self.refuse("subscription", first, EventRefusal::Subscriptions { max });
        }
    }

    /// A frame of the peer's about events has a text that is none.
    pub(super) fn unreadable(&self) {
        self.refuse("event", "", EventRefusal::NotText);
    }

    /// A pattern that the peer may listen to.
    fn admitted(&self, text: &str) -> Result<TopicPattern, EventRefusal> {
        let pattern = self.pattern(text)?;
        if !self.grant().is_some_and(|grant| grant.subscribe.covers(&pattern)) {
            return Err(EventRefusal::OutOfScope);
        }
        Ok(pattern)
    }

    fn pattern(&self, text: &str) -> Result<TopicPattern, EventRefusal> {
        let bytes_max = self.wire.worker.tunnels.limits.now().topic_bytes_max;
        Ok(TopicPattern::parse(text, bytes_max)?)
    }

    fn check(&self, submitted: &Submitted) -> Result<TopicName, EventRefusal> {
        let may = |name: &_| self.grant().is_some_and(|grant| grant.publish.allows(name));
        submitted.check(&self.wire.worker.tunnels.limits.now(), may)
    }

    /// What the peer's key allows now.
    fn grant(&self) -> Option<Arc<KeyGrant>> {
        let admission = self.wire.keys.borrow().look_up(self.credential, SystemTime::now());
        admission.ok().map(|admission| admission.grant)
    }

    fn refuse(&self, what: &str, topic: &str, why: EventRefusal) {
        count(Count::FrameRejected);
        limits_reached::by_event_refusal(why).into_iter().for_each(limits::hit);
        let topic = told(topic);
        log::warn!("{what} refused: tunnel={} topic={} reason={why}", self.tunnel, outside(topic));
        let error = status::event_refusal(&why, topic).into();
        self.down.push_reply(&self.buffer, Reply::Error(error).taking());
    }
}

/// Ends the subscriptions that the key of a tunnel does not allow any more, each time that keys change.
pub(super) async fn follow_key(
    mut keys: watch::Receiver<Arc<Keyring>>,
    credential: Credential,
    membership: Rc<Membership>,
) {
    while keys.changed().await.is_ok() {
        let ring = keys.borrow_and_update().clone();
        // The tunnel of a key that is good no more ends by itself.
        if let Ok(admission) = ring.look_up(credential, SystemTime::now()) {
            membership.narrow(move |pattern| admission.grant.subscribe.covers(pattern));
        }
    }
    // The gateway is gone, and this tunnel in a moment.
    std::future::pending::<()>().await;
}
