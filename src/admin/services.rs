//! `/services`: each name, who serves it and how its calls go.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::observe::calls::ServiceCalls;
use crate::observe::tunnels::TunnelSnapshot;

use super::Facts;
use super::answer::list as list_of;
use super::paging::Paging;

/// Which names, and in which order.
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
    /// The most calls in flight first.
    Calls,
    /// The most calls a second first, then the most in all.
    Rate,
    /// The most calls that the gateway ended first.
    Errors,
}

#[derive(Debug, Serialize)]
struct Page {
    #[serde(flatten)]
    paging: Paging,
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
    /// Calls that began, over the last ten seconds.
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

pub(super) async fn list(
    State(facts): State<Facts>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Response {
    let window = &facts.window;
    list_of(wish, |wish| {
        let mut paging = Paging::asked(wish.offset, wish.limit)?;
        let mut services = joined(window.tunnels.open(), window.calls.services());
        sort(&mut services, wish.sort);
        paging.cut(&mut services);
        Ok(Page { paging, services })
    })
}

fn sort(services: &mut [Service], by: Sort) {
    match by {
        Sort::Name => {}
        Sort::Calls => services.sort_by_key(|service| Reverse(service.calls_in_flight)),
        Sort::Rate => {
            let rate = |service: &Service| (service.per_second, service.calls_started);
            services.sort_by(|one, other| {
                let (one, other) = (rate(one), rate(other));
                other.0.total_cmp(&one.0).then(other.1.cmp(&one.1))
            });
        }
        Sort::Errors => {
            services.sort_by_key(|service| Reverse(service.by_reason.values().sum::<u64>()));
        }
    }
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
