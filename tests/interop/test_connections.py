"""Connections that get old, and connections when there is no room for more."""
import resource
import socket
import time
from pathlib import Path

import grpc

from conftest import PATIENCE_SECONDS, STREAMING, failure, greet, hello

TIMEOUT = {"timeout": PATIENCE_SECONDS}


def counts(gateway):
    """What the gateway's last line says that it counted."""
    assert gateway.stop() == 0
    words = gateway.line("run ended: ").split()
    return {name: value for name, value in (word.split("=", 1) for word in words if "=" in word)}


def test_an_old_connection_is_left_and_no_call_notices(start_gateway, start_finishing_service):
    gateway = start_gateway({"callers": {"connection_age_max": "300ms", "connection_age_grace": "10s"}})
    start_finishing_service(gateway.address)
    caller = gateway.caller()
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert caller.Greet(greet("Ada"), **TIMEOUT) == hello()
    assert int(counts(gateway)["connections_aged"]) >= 5


def test_calls_at_once_survive_the_age_of_their_connection(start_gateway, start_finishing_service):
    gateway = start_gateway({"callers": {"connection_age_max": "200ms", "connection_age_grace": "10s"}})
    start_finishing_service(gateway.address)
    caller = gateway.caller()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        futures = [caller.Greet.future(greet(str(n)), **TIMEOUT) for n in range(20)]
        assert [reply.result() for reply in futures] == [hello(f"Hello, {n}!") for n in range(20)]
    assert int(counts(gateway)["connections_aged"]) >= 1


def test_a_call_in_flight_finishes_on_its_old_connection(start_gateway, start_peer):
    gateway = start_gateway({"callers": {"connection_age_max": "200ms", "connection_age_grace": "30s"}})
    peer = start_peer(gateway, features=STREAMING)
    caller = gateway.caller()
    call = caller.Greet.future(greet(), **TIMEOUT)
    request = peer.receives("request")
    # Both the tunnel's connection and the caller's are older than that by the time this is over.
    for _ in range(3):
        second = caller.Greet.future(greet(), timeout=0.3)
        assert failure(second).code() == grpc.StatusCode.DEADLINE_EXCEEDED
        peer.receives("request")
        peer.receives("cancel")
    peer.answers(request, hello())
    assert call.result() == hello()


def test_a_call_that_outlives_the_grace_ends_with_its_connection(start_gateway, start_peer):
    gateway = start_gateway({"callers": {"connection_age_max": "200ms", "connection_age_grace": "200ms"}})
    peer = start_peer(gateway, features=STREAMING)
    call = gateway.caller().Greet.future(greet(), **TIMEOUT)
    request = peer.receives("request")
    assert failure(call).code() == grpc.StatusCode.UNAVAILABLE
    assert peer.receives("cancel").request_id == request.request_id
    # The tunnel, as old, is still there.
    second = gateway.caller().Greet.future(greet(), **TIMEOUT)
    peer.answers(peer.receives("request"), hello())
    assert second.result() == hello()


def test_without_descriptors_it_waits_and_what_is_open_works(start_gateway, start_peer):
    gateway = start_gateway()
    peer = start_peer(gateway, features=STREAMING)
    caller = gateway.caller()

    def works(caller):
        call = caller.Greet.future(greet(), **TIMEOUT)
        peer.answers(peer.receives("request"), hello())
        return call.result() == hello()

    assert works(caller)
    process = gateway.process.pid
    before = resource.prlimit(process, resource.RLIMIT_NOFILE)
    # Numbers are given from the lowest on, so that the next would be over the limit.
    open_now = 1 + max(int(fd.name) for fd in Path(f"/proc/{process}/fd").iterdir())
    resource.prlimit(process, resource.RLIMIT_NOFILE, (open_now, before[1]))
    host, port = gateway.address.rsplit(":", 1)
    waiting = [socket.create_connection((host, int(port))) for _ in range(20)]
    gateway.line("accept failed: cause=Too many open files", count=3)
    assert works(caller)

    resource.prlimit(process, resource.RLIMIT_NOFILE, before)
    for connection in waiting:
        connection.settimeout(PATIENCE_SECONDS)
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        assert connection.recv(1), "the gateway's settings"
        connection.close()
    assert works(gateway.caller())

