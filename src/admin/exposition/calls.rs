//! Metrics of calls: gRPC's own names (gRFC A66), `OpenTelemetry`'s, and the gateway's.

use prometheus::proto::MetricFamily;

use super::family::Family;
use crate::observe::calls::{Calls, MethodSnapshot, ServiceCalls, StatusSnapshot};

/// Statuses that are a server's fault (`OpenTelemetry` semantic conventions for gRPC): of others a
/// server's series has no `error_type`.
const ERRORS_OF_SERVERS: [&str; 6] =
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

pub(super) fn families(calls: &Calls) -> Vec<Option<MetricFamily>> {
    let methods = calls.methods();
    let services = calls.services();
    let mut families = by_grpc(&methods);
    families.extend([by_convention(&methods), overhead(&methods), local_errors(calls)]);
    families.extend(by_service(&services));
    families
}

/// gRFC A66.
fn by_grpc(methods: &[MethodSnapshot]) -> Vec<Option<MetricFamily>> {
    let mut started = Family::counter("grpc_server_call_started_total", "Calls that have begun.");
    let mut duration =
        Family::histogram("grpc_server_call_duration_seconds", "From a call's arrival to its end.");
    let mut sent = Family::histogram(
        "grpc_server_call_sent_total_compressed_message_size_bytes",
        "Bytes of all messages of a call that its caller was sent.",
    );
    let mut received = Family::histogram(
        "grpc_server_call_rcvd_total_compressed_message_size_bytes",
        "Bytes of all messages of a call that came from its caller.",
    );
    for method in methods {
        started.count(&[("grpc_method", &method.method)], method.started);
        for StatusSnapshot { status, duration: took, sent_bytes, received_bytes } in
            &method.by_status
        {
            let labels = [("grpc_method", method.method.as_str()), ("grpc_status", *status)];
            duration.buckets(&labels, took);
            sent.buckets(&labels, sent_bytes);
            received.buckets(&labels, received_bytes);
        }
    }
    [started, duration, sent, received].into_iter().map(Family::finish).collect()
}

/// `OpenTelemetry`'s name for the same duration.
fn by_convention(methods: &[MethodSnapshot]) -> Option<MetricFamily> {
    let mut duration = Family::histogram(
        "rpc_server_call_duration_seconds",
        "From a call's arrival to its end, under OpenTelemetry's name.",
    );
    for method in methods {
        let name = if method.method == "other" { "_OTHER" } else { &method.method };
        for StatusSnapshot { status, duration: took, .. } in &method.by_status {
            let error = if ERRORS_OF_SERVERS.contains(status) { status } else { "" };
            let labels = [
                ("error_type", error),
                ("rpc_method", name),
                ("rpc_status_code", *status),
                ("rpc_system_name", "grpc"),
            ];
            duration.buckets(&labels, took);
        }
    }
    duration.finish()
}

fn overhead(methods: &[MethodSnapshot]) -> Option<MetricFamily> {
    let mut overhead = Family::histogram(
        "gateway_call_overhead_seconds",
        "Of the calls that a service answered: the time spent in the gateway, without the time spent \
         waiting for the service.",
    );
    for method in methods.iter().filter(|method| method.overhead.count() > 0) {
        overhead.buckets(&[("grpc_method", &method.method)], &method.overhead);
    }
    overhead.finish()
}

fn local_errors(calls: &Calls) -> Option<MetricFamily> {
    let mut errors = Family::counter(
        "gateway_call_local_errors_total",
        "Calls that the gateway ended and no service, by the reason in x-gateway-error.",
    );
    for (reason, status, number) in calls.local_errors() {
        errors.count(&[("grpc_status", status), ("reason", reason)], number);
    }
    errors.finish()
}

fn by_service(services: &[ServiceCalls]) -> [Option<MetricFamily>; 2] {
    let mut in_flight = Family::gauge("gateway_calls_in_flight", "Calls that have not ended.");
    let mut messages = Family::counter(
        "gateway_call_messages_total",
        "Messages of calls: received from callers, sent to them.",
    );
    for service in services {
        let name = ("service", service.service.as_str());
        in_flight.count(&[name], service.started.saturating_sub(service.ended));
        messages.count(&[("direction", "received"), name], service.messages_in);
        messages.count(&[("direction", "sent"), name], service.messages_out);
    }
    [in_flight.finish(), messages.finish()]
}
