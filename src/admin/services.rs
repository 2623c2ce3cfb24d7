//! `/services`: each name, who serves it and how its calls go; `/topics`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use crate::observe::calls::ServiceCalls;
use crate::observe::tunnels::TunnelSnapshot;

use super::Facts;
use super::answer::captured;

#[derive(Debug, Serialize)]
struct Page {
    services: Vec<Service>,
}

/// A name, and what is known of it.
#[derive(Debug, Default, Serialize)]
struct Service {
    /// `other` stands for the calls of all names that have no place of their own.
    name: String,
    tunnels: Tunnels,
    calls_started: u64,
    calls_in_flight: u64,
    /// Calls that ended, over the last ten seconds.
    per_second: f64,
    p50_seconds: Option<f64>,
    p99_seconds: Option<f64>,
    messages_in: u64,
    messages_out: u64,
    /// Calls that ended, by gRPC status.
    by_status: BTreeMap<&'static str, u64>,
    /// Of those the ones that the gateway ended, by reason.
    by_reason: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default, Serialize)]
struct Tunnels {
    opening: u64,
    ready: u64,
    late: u64,
    draining: u64,
}

#[derive(Debug, Serialize)]
struct Topics {
    topics: [(); 0],
}

pub(super) async fn list(State(facts): State<Facts>) -> Response {
    let window = &facts.window;
    captured(&Page { services: joined(window.tunnels.open(), window.calls.services()) })
}

pub(super) async fn topics() -> Response {
    captured(&Topics { topics: [] })
}

/// Names that have tunnels, calls or both, in order.
fn joined(tunnels: Vec<TunnelSnapshot>, calls: Vec<ServiceCalls>) -> Vec<Service> {
    let mut services = BTreeMap::<String, Service>::new();
    for tunnel in tunnels {
        for name in tunnel.services {
            let of_name = &mut services.entry(name).or_default().tunnels;
            match tunnel.state {
                "ready" => of_name.ready += 1,
                "late" => of_name.late += 1,
                "draining" => of_name.draining += 1,
                _ => of_name.opening += 1,
            }
        }
    }
    for calls in calls {
        let service = services.entry(calls.service).or_default();
        service.calls_started = calls.started;
        service.calls_in_flight = calls.started.saturating_sub(calls.ended);
        service.per_second = calls.per_second;
        service.p50_seconds = calls.duration.quantile(0.5);
        service.p99_seconds = calls.duration.quantile(0.99);
        service.messages_in = calls.messages_in;
        service.messages_out = calls.messages_out;
        service.by_status = calls.by_status.into_iter().collect();
        service.by_reason = calls.by_reason.into_iter().collect();
    }
    let named = services.into_iter();
    named.map(|(name, service)| Service { name, ..service }).collect()
}
