//! What a tunnel's peer is told of its events and subscriptions.

use actix::prelude::*;

use crate::actors::bus::SubscriptionEnded;
use crate::actors::event::Published;
use crate::actors::mailbox::Mailbox;
use crate::actors::traffic::{Outgoing, Reply};
use crate::observe::log::outside;

use super::{Connection, ConnectionHandle};

impl ConnectionHandle {
    /// Hears what becomes of what the peer publishes.
    pub fn outcomes(&self) -> Mailbox<Published> {
        self.0.mailbox()
    }

    /// Hears of subscriptions of the peer's that are refused or taken back.
    pub fn subscriptions_ended(&self) -> Mailbox<SubscriptionEnded> {
        self.0.mailbox()
    }
}

impl Handler<Published> for Connection {
    type Result = ();

    fn handle(&mut self, published: Published, _: &mut Self::Context) {
        self.down.push_last(Outgoing::EventAck(published));
    }
}

impl Handler<SubscriptionEnded> for Connection {
    type Result = ();

    fn handle(&mut self, ended: SubscriptionEnded, _: &mut Self::Context) {
        let (tunnel, topic) = (self.tunnel, outside(ended.pattern.as_str()));
        log::warn!("subscription refused: tunnel={tunnel} topic={topic} reason={}", ended.why);
        self.down.push_reply(&self.buffer, Reply::SubscriptionEnded(ended).taking());
    }
}
