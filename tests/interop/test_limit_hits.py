"""Limits that were reached are counted under their names."""
import hashlib

import grpc
import pytest

from conftest import (
    KEY, PATIENCE_SECONDS, STREAMING, Peer, Window, eventually, failure, greet, hello)

LIMITS = {
    "calls_per_service_max": 1, "message_bytes_max": "64B", "metadata_entries_max": 4, "metadata_bytes_max": "1KiB",
    "services_per_tunnel_max": 2, "tunnels_per_key_max": 1, "register_timeout": "200ms",
}


@pytest.fixture
def gateway(start_gateway):
    key = {"id": "tests", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}
    return start_gateway({"limits": LIMITS, "keys": [key]}, key=None)


def refused(gateway, metadata=None, name="Ada"):
    error = failure(gateway.caller().Greet.future(greet(name), timeout=PATIENCE_SECONDS, metadata=metadata))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_each_limit_counts_what_it_refused(gateway, start_peer):
    peer = start_peer(gateway, features=STREAMING)
    window = Window(gateway)

    def hits():
        series = window.metrics().of("gateway_limit_hits_total", "limit")
        return {limit: number for limit, number in series.items() if number}

    assert hits() == {}
    in_flight = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    refused(gateway)
    peer.answers(request, hello())
    in_flight.result(PATIENCE_SECONDS)
    refused(gateway, name="a" * 100)
    refused(gateway, metadata=[(f"name-{number}", "x") for number in range(5)])
    refused(gateway, metadata=[("long", "x" * 1024)])
    for names in (["a.A", "b.B", "c.C"], ["a.A"]):
        second = Peer(gateway, services=names)
        assert second.ended().code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    Peer(gateway, register=False).ended()
    expected = {
        "calls_per_service_max": 1, "message_bytes_max": 1, "metadata_entries_max": 1, "metadata_bytes_max": 1,
        "services_per_tunnel_max": 1, "tunnels_per_key_max": 1, "register_timeout": 1,
    }
    eventually(lambda: hits().keys() >= expected.keys(), f"each limit was reached: {hits()}")
    assert hits() == expected


def test_the_limits_in_force_are_shown(gateway):
    limits = Window(gateway).metrics().of("gateway_limit", "name")
    assert limits["calls_per_service_max"] == 1 and limits["message_bytes_max"] == 64
    assert limits["register_timeout"] == 0.2 and limits["calls_max"] == 20_000
