//! What a registry tells of the services behind the gateway. None of it is asked for a call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::prelude::*;
use tokio::sync::watch;

use crate::tunnel::directory::{Condition, Witness};
use crate::tunnel::id::ServiceName;

use super::routing::toss;
use super::{Line, Registry, RegistryHandle};
use crate::actors::now;

/// Whether the asker may hear of a service.
pub type Admits = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// How does this service fare?
#[derive(Debug, Message)]
#[rtype(result = "Option<Condition>")]
pub(super) struct ConditionOf(String);

/// How does each known name fare?
#[derive(Message)]
#[rtype(result = "Option<BTreeMap<ServiceName, Condition>>")]
pub(super) struct Conditions {
    admits: Admits,
    max: usize,
}

/// Which names are served?
#[derive(Message)]
#[rtype(result = "Option<Vec<ServiceName>>")]
pub(super) struct Served {
    admits: Admits,
    max: usize,
}

/// Who can be asked about this?
#[derive(Message)]
#[rtype(result = "Vec<Witness>")]
pub(super) struct Witnesses {
    symbol: Option<String>,
    known: Vec<Witness>,
    admits: Admits,
}

/// What tells that answers to the other questions may have changed?
#[derive(Debug, Message)]
#[rtype(result = "watch::Receiver<()>")]
pub(super) struct Changes;

/// Each question is answered by the registry of the asker's own worker, which knows all tunnels. One
/// that is gone, because the gateway is ending, knows nothing.
impl RegistryHandle {
    /// How the service fares; `None` if it is not known.
    pub async fn condition(&self, service: &str) -> Option<Condition> {
        let question = ConditionOf(service.to_owned());
        self.0.ask(question).await.unwrap_or(Some(Condition::NotServing))
    }

    /// How each known name fares; `None` if there are more than `max`.
    pub async fn conditions(
        &self,
        admits: Admits,
        max: usize,
    ) -> Option<BTreeMap<ServiceName, Condition>> {
        self.0.ask(Conditions { admits, max }).await.unwrap_or_default()
    }

    /// The names that calls can be put through to, in order; `None` if there are more than `max`.
    pub async fn served(&self, admits: Admits, max: usize) -> Option<Vec<ServiceName>> {
        self.0.ask(Served { admits, max }).await.unwrap_or_default()
    }

    /// Whom to ask about a symbol, or about anything else, best first. `known` are those who have
    /// answered the same caller before, the last one last.
    pub async fn witnesses(
        &self,
        symbol: Option<&str>,
        known: Vec<Witness>,
        admits: Admits,
    ) -> Vec<Witness> {
        let question = Witnesses { symbol: symbol.map(str::to_owned), known, admits };
        self.0.ask(question).await.unwrap_or_default()
    }

    /// Tells of each change in which tunnels there are and which of them may be chosen. Ended when
    /// the registry is gone.
    pub async fn changes(&self) -> watch::Receiver<()> {
        self.0.ask(Changes).await.unwrap_or_else(|| watch::Sender::new(()).subscribe())
    }
}

impl Handler<ConditionOf> for Registry {
    type Result = MessageResult<ConditionOf>;

    fn handle(&mut self, question: ConditionOf, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.directory.condition(&question.0, now()))
    }
}

impl Handler<Conditions> for Registry {
    type Result = MessageResult<Conditions>;

    fn handle(&mut self, question: Conditions, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.directory.conditions(&*question.admits, question.max, now()))
    }
}

impl Handler<Served> for Registry {
    type Result = MessageResult<Served>;

    fn handle(&mut self, question: Served, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.directory.served(&*question.admits, question.max))
    }
}

impl Handler<Witnesses> for Registry {
    type Result = MessageResult<Witnesses>;

    fn handle(&mut self, question: Witnesses, _: &mut Self::Context) -> Self::Result {
        let Witnesses { symbol, known, admits } = question;
        let load = |line: &Arc<Line>| line.load.load(Ordering::Relaxed);
        let (symbol, coin) = (symbol.as_deref(), toss(&mut self.coin));
        MessageResult(self.directory.witnesses(symbol, &known, &*admits, coin, load))
    }
}

impl Handler<Changes> for Registry {
    type Result = MessageResult<Changes>;

    fn handle(&mut self, _: Changes, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.changes.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::testing::{ECHO, Peer, Stage, settle};
    use crate::tunnel::directory::Standing;

    #[actix::test]
    async fn every_registry_tells_how_a_service_fares_and_that_it_has_changed() {
        let stage = Stage::with(2, crate::tunnel::limits::Limits::default());
        let registry = &stage.registries[1];
        let mut changes = registry.changes().await;
        assert_eq!(registry.condition(ECHO).await, None);

        let wire = stage.attach(Peer::default()).await;
        changes.changed().await.unwrap();
        assert_eq!(registry.condition(ECHO).await, Some(Condition::Serving));
        assert_eq!(registry.served(all(), 1).await, Some(vec![ServiceName::new(ECHO)]));
        let witness = Witness { service: ServiceName::new(ECHO), tunnel: wire.id };
        assert_eq!(registry.witnesses(Some(ECHO), Vec::new(), all()).await, [witness]);

        stage.registry().set_standing(wire.id, Standing::Late);
        changes.changed().await.unwrap();
        assert_eq!(registry.condition(ECHO).await, Some(Condition::NotServing));

        stage.registry().tunnel_closed(wire.id);
        changes.changed().await.unwrap();
        let conditions = registry.conditions(all(), 1).await.unwrap();
        assert_eq!(conditions[ECHO], Condition::NotServing);
        assert_eq!(registry.served(all(), 1).await, Some(Vec::new()));
    }

    #[actix::test]
    async fn a_registry_that_is_gone_knows_nothing() {
        let stage = Stage::new();
        stage.registry().crash();
        settle().await;
        assert_eq!(stage.registry().condition(ECHO).await, Some(Condition::NotServing));
        assert_eq!(stage.registry().conditions(all(), 1).await, None);
        assert!(stage.registry().changes().await.changed().await.is_err());
    }

    fn all() -> Admits {
        Arc::new(|_| true)
    }
}
