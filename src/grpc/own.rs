//! The gateway's own services beside tunnels: which requests are theirs, and who answers.

use std::rc::Rc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;

use super::answer::http_status;
use super::asker::Asker;
use super::body::{self, Unsent};
use super::events;
use super::health::Health;
use super::own_proto::health::health_server;
use super::own_proto::reflection::server_reflection_server as reflection_server;
use super::own_proto::reflection_alpha::server_reflection_server as reflection_alpha_server;
use super::reflection::Reflection;
use super::wire::{Roles, Shared, StreamSlot, Wire};
use super::{head, register};

const REGISTER: &str = "/registry.RegistryService/Register";

/// A service of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// The old way in.
    Register,
    /// How services fare.
    Health,
    /// Which services there are and what they look like.
    Reflection,
    /// The same under its first name.
    ReflectionAlpha,
    /// What is published, and for whom.
    Events,
}

/// Whose request this is, if it is for a service of the gateway's own that is served here.
pub fn find(path: &str, roles: Roles) -> Option<Own> {
    if roles.tunnels && path == REGISTER {
        return Some(Own::Register);
    }
    let (service, _method) = path.strip_prefix('/')?.split_once('/')?;
    match service {
        health_server::SERVICE_NAME if roles.health => Some(Own::Health),
        reflection_server::SERVICE_NAME if roles.reflection => Some(Own::Reflection),
        reflection_alpha_server::SERVICE_NAME if roles.reflection => Some(Own::ReflectionAlpha),
        events::SERVICE_NAME if roles.events => Some(Own::Events),
        _ => None,
    }
}

/// Answers a request. It is no call: it has a place among its connection's streams and no other.
pub fn serve(
    own: Own,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    slot: StreamSlot,
    shared: &Rc<Shared>,
    wire: &Rc<Wire>,
) {
    if let Err(code) = head::content_type(request.method(), request.headers()) {
        return http_status(respond, slot, code);
    }
    let (shared, wire) = (shared.clone(), wire.clone());
    actix_rt::spawn(async move {
        let mut slot = slot;
        if let Err(error) = answer(own, request, respond, &mut slot, &shared, &wire).await {
            log::debug!("own service ended: remote={} cause={error}", shared.remote);
        }
    });
}

async fn answer(
    own: Own,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    slot: &mut StreamSlot,
    shared: &Shared,
    wire: &Wire,
) -> Result<(), Unsent> {
    let limits = &wire.worker.tunnels.limits;
    let stall = limits.now().send_stall_timeout;
    let asker = async |headers| Asker::of(headers, shared, wire).await;
    match own {
        Own::Register => {
            let timeout = limits.now().register_timeout;
            let answered = body::serve(register::service(), request, respond, slot, stall);
            // Dropped before its end, the stream is reset.
            let in_time = tokio::time::timeout(timeout, answered).await;
            in_time.unwrap_or_else(|_| {
                slot.answered();
                Ok(())
            })
        }
        Own::Health => {
            let health = Health::new(wire, asker(request.headers()).await);
            body::serve(health.service(), request, respond, slot, stall).await
        }
        Own::Reflection => {
            let asker = asker(request.headers()).await;
            let reflection = Reflection::new(wire, shared, asker);
            body::serve(reflection.service(), request, respond, slot, stall).await
        }
        Own::ReflectionAlpha => {
            let asker = asker(request.headers()).await;
            let reflection = Reflection::new(wire, shared, asker);
            body::serve(reflection.alpha_service(), request, respond, slot, stall).await
        }
        Own::Events => {
            let asker = asker(request.headers()).await;
            events::serve(request, respond, slot, asker, shared, wire).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_gateways_own_only_where_it_is_served() {
        let none = Roles { callers: true, ..Roles::default() };
        let all =
            Roles { callers: true, tunnels: true, health: true, reflection: true, events: true };
        for (path, own) in [
            ("/registry.RegistryService/Register", Own::Register),
            ("/grpc.health.v1.Health/Check", Own::Health),
            ("/grpc.health.v1.Health/NoSuchMethod", Own::Health),
            ("/adit.events.v1.EventService/Publish", Own::Events),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Own::Reflection),
            (
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                Own::ReflectionAlpha,
            ),
        ] {
            assert_eq!(find(path, all), Some(own));
            assert_eq!(find(path, none), None, "{path}");
        }
        for path in ["/demo.Echo/Say", "/grpc.health.v1.Health", "grpc.health.v1.Health/Check", "*"]
        {
            assert_eq!(find(path, all), None, "{path}");
        }
    }
}
