//! Metrics of tunnels.

use prometheus::proto::MetricFamily;

use super::family::Family;
use crate::observe::tunnels::{ServiceTunnels, Tunnels};

pub(super) fn families(tunnels: &Tunnels) -> Vec<Option<MetricFamily>> {
    let services = tunnels.by_service();
    let mut families = vec![standing(&services), connects(tunnels), disconnects(tunnels)];
    families.extend(traffic(&services));
    families.extend(times(&services));
    families
}

fn standing(services: &[ServiceTunnels]) -> Option<MetricFamily> {
    let mut standing = Family::gauge("gateway_tunnels", "Open tunnels of each name.");
    for service in services {
        let states =
            [("ready", service.ready), ("late", service.late), ("draining", service.draining)];
        for (state, number) in states {
            standing.count(&[("service", &service.service), ("state", state)], number);
        }
    }
    standing.finish()
}

fn connects(tunnels: &Tunnels) -> Option<MetricFamily> {
    let mut connects = Family::counter(
        "gateway_tunnel_connects_total",
        "Attempts to open a tunnel: ok, or why it was refused.",
    );
    for (result, number) in tunnels.connects() {
        connects.count(&[("result", result)], number);
    }
    connects.finish()
}

fn disconnects(tunnels: &Tunnels) -> Option<MetricFamily> {
    let mut disconnects =
        Family::counter("gateway_tunnel_disconnects_total", "Tunnels that were open and ended.");
    for (reason, number) in tunnels.disconnects() {
        disconnects.count(&[("reason", reason)], number);
    }
    disconnects.finish()
}

fn traffic(services: &[ServiceTunnels]) -> Vec<Option<MetricFamily>> {
    let mut frames = Family::counter(
        "gateway_tunnel_frames_total",
        "Frames of tunnels; received is from the peer. A tunnel counts under its first name.",
    );
    let mut bytes = Family::counter(
        "gateway_tunnel_bytes_total",
        "Bytes of these frames, each with its prefix of five bytes.",
    );
    let mut stalled = Family::counter(
        "gateway_tunnel_window_stall_seconds_total",
        "Time in which a frame was ready and the peer's HTTP/2 window was closed.",
    );
    let mut pending =
        Family::gauge("gateway_tunnel_pending_bytes", "Bytes that wait to be written to tunnels.");
    for service in services {
        let name = ("service", service.service.as_str());
        for (kind, inbound, number) in &service.frames {
            let direction = if *inbound { "received" } else { "sent" };
            frames.count(&[("direction", direction), name, ("type", kind)], *number);
        }
        bytes.count(&[("direction", "received"), name], service.bytes_in);
        bytes.count(&[("direction", "sent"), name], service.bytes_out);
        stalled.add(&[name], service.stalled_seconds);
        pending.count(&[name], service.queued_bytes);
    }
    [frames, bytes, stalled, pending].into_iter().map(Family::finish).collect()
}

fn times(services: &[ServiceTunnels]) -> [Option<MetricFamily>; 2] {
    let mut handshake = Family::histogram(
        "gateway_tunnel_handshake_seconds",
        "From the beginning of a tunnel's stream until its peer was told that it is connected.",
    );
    let mut round_trip = Family::histogram(
        "gateway_tunnel_heartbeat_rtt_seconds",
        "Round trips of HTTP/2 pings on connections with a tunnel.",
    );
    for service in services {
        let name = [("service", service.service.as_str())];
        handshake.buckets(&name, &service.handshake);
        round_trip.buckets(&name, &service.round_trip);
    }
    [handshake.finish(), round_trip.finish()]
}
