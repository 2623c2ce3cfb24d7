//! `grpc.health.v1`: whether the gateway, and each service behind it, can be called now.

use std::collections::HashMap;

use futures_util::stream::{BoxStream, StreamExt as _, TryStreamExt as _, try_unfold};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::actors::registry::{Admits, RegistryHandle};
use crate::observe::limits::{self, Limit};
use crate::observe::tally::{Count, count};
use crate::tunnel::allowance::{Allowance, Hold};
use crate::tunnel::directory::Condition;
use crate::tunnel::failure::Failure;

use super::asker::Asker;
use super::own_proto::health::health_check_response::ServingStatus;
use super::own_proto::health::health_server::{self, HealthServer};
use super::own_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use super::status;
use super::wire::{Phase, Wire};

/// A list has this many names at most, the gateway's among them (gRFC A90).
const LISTED_MAX: usize = 100;
/// A request is a name: those of services have 255 bytes unless the limits are set higher.
const REQUEST_BYTES_MAX: usize = 4 * 1024;

/// The service for one request.
#[derive(Debug)]
pub struct Health {
    outlook: Outlook,
    watches: Allowance,
    /// Names are told only to whoever may call them. How the gateway itself fares is told to
    /// everybody, because what asks that has often no way to send a key.
    asker: Asker,
}

/// What is known of how things fare.
#[derive(Clone, Debug)]
struct Outlook {
    registry: RegistryHandle,
    phase: watch::Receiver<Phase>,
}

impl Health {
    /// Answers one caller.
    pub fn new(wire: &Wire, asker: Asker) -> Self {
        let registry = wire.worker.tunnels.registry.clone();
        let outlook = Outlook { registry, phase: wire.phase.clone() };
        Self { outlook, watches: wire.watches.clone(), asker }
    }

    /// The service as it is served.
    pub fn service(self) -> HealthServer<Self> {
        HealthServer::new(self).max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    fn may_ask(&self, service: &str) -> Result<(), Status> {
        if service.is_empty() || self.asker.admits()?(service) {
            return Ok(());
        }
        Err(status::refusal(Failure::Scope))
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        self.may_ask(&service)?;
        let status = self.outlook.of(&service).await;
        if status == ServingStatus::ServiceUnknown {
            return Err(Status::not_found("no such service has registered here"));
        }
        Ok(Response::new(response(status)))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let statuses =
            self.outlook.of_all(self.asker.admits()?, LISTED_MAX).await.ok_or_else(|| {
                Status::resource_exhausted(format!("more than {LISTED_MAX} services are known"))
            })?;
        let statuses = statuses.into_iter().map(|(name, status)| (name, response(status)));
        Ok(Response::new(HealthListResponse { statuses: statuses.collect() }))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        self.may_ask(&service)?;
        let Some(place) = self.watches.take(1) else {
            count(Count::WatchRefused);
            limits::hit(Limit::HealthWatchesMax);
            let refusal = status::refusal(Failure::InflightLimit);
            let (code, metadata) = (refusal.code(), refusal.metadata().clone());
            return Err(Status::with_metadata(code, "too many watches are open", metadata));
        };
        let watch = Watch {
            changes: self.outlook.registry.changes().await,
            outlook: self.outlook.clone(),
            service,
            told: None,
            _place: place,
        };
        // Each status is looked up when the caller can take it: one that reads slowly is told the
        // latest and misses what was in between.
        let statuses = try_unfold(watch, |mut watch| async move {
            let status = watch.next().await.map_err(status::refusal)?;
            Ok(Some((status, watch)))
        });
        Ok(Response::new(statuses.map_ok(response).boxed()))
    }
}

impl Outlook {
    /// How one service fares; the gateway's own name is the empty one.
    async fn of(&self, service: &str) -> ServingStatus {
        if service.is_empty() {
            return self.now(Condition::Serving);
        }
        let condition = self.registry.condition(service).await;
        condition.map_or(ServingStatus::ServiceUnknown, |condition| self.now(condition))
    }

    /// How everything fares that is known and that the caller may hear of. `None` if that is more than `max`.
    async fn of_all(&self, admits: Admits, max: usize) -> Option<HashMap<String, ServingStatus>> {
        let conditions = self.registry.conditions(admits, max - 1).await?;
        let services = conditions
            .into_iter()
            .map(|(name, condition)| (name.as_str().to_owned(), self.now(condition)));
        Some(services.chain([(String::new(), self.now(Condition::Serving))]).collect())
    }

    /// A gateway that drains serves nothing any more, whoever is still there.
    fn now(&self, condition: Condition) -> ServingStatus {
        match (*self.phase.borrow(), condition) {
            (Phase::Serving, Condition::Serving) => ServingStatus::Serving,
            (Phase::Serving | Phase::Draining | Phase::Closing, _) => ServingStatus::NotServing,
        }
    }
}

/// One watch.
#[derive(Debug)]
struct Watch {
    outlook: Outlook,
    changes: watch::Receiver<()>,
    service: String,
    /// What the caller was told last.
    told: Option<ServingStatus>,
    _place: Hold,
}

impl Watch {
    /// What the caller must be told next, which may take for ever.
    async fn next(&mut self) -> Result<ServingStatus, Failure> {
        loop {
            // Marked as seen before the look, so that no change in between is missed.
            self.changes.borrow_and_update();
            let phase = *self.outlook.phase.borrow_and_update();
            let status = self.outlook.of(&self.service).await;
            if self.told != Some(status) {
                self.told = Some(status);
                return Ok(status);
            }
            if phase == Phase::Closing {
                return Err(Failure::Draining);
            }
            tokio::select! {
                changed = self.changes.changed() => changed.map_err(|_| Failure::Panic)?,
                changed = self.outlook.phase.changed() => changed.map_err(|_| Failure::Draining)?,
            }
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
