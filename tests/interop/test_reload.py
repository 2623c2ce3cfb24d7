"""A configuration that changes while the gateway runs."""
import hashlib
import json
import os
import signal
import socket

import grpc

from conftest import KEY, PATIENCE_SECONDS, Peer, eventually, failure, greet, hello, reason

OTHER = "another-key-for-tests-0123456789-0123456789"


def entry(name, key, **more):
    return {"id": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), **more}


def change(gateway, text):
    """Puts another text in the file's place, as editors and orchestrators do."""
    path = gateway.config_path
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def changed(gateway, **parts):
    change(gateway, json.dumps({**json.loads(gateway.config_path.read_text()), **parts}))


def test_a_removed_key_closes_its_tunnels_and_a_call_elsewhere_goes_on(start_gateway, start_peer):
    gateway = start_gateway({"keys": [entry("one", KEY), entry("other", OTHER)]}, key=None)
    leaving = start_peer(gateway, key=OTHER, services=["demo.Other"])
    staying = start_peer(gateway)
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = staying.receives("request")

    changed(gateway, keys=[entry("one", KEY)])
    gateway.line("configuration applied:")
    ended = leaving.ended()
    assert (ended.code(), reason(ended)) == (grpc.StatusCode.UNAUTHENTICATED, "bad_credentials")
    late = Peer(gateway, key=OTHER)
    assert late.ended().code() == grpc.StatusCode.UNAUTHENTICATED
    late.breaks()

    staying.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_a_broken_file_changes_nothing_and_says_so_once(start_gateway, start_peer):
    gateway = start_gateway()
    peer = start_peer(gateway)
    good = gateway.config_path.read_text()
    change(gateway, good[:-2])
    gateway.line("configuration refused, the old one stays:")
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    peer.answers(peer.receives("request"), hello())
    assert call.result(PATIENCE_SECONDS) == hello()

    change(gateway, good)
    gateway.line("configuration applied:")
    assert sum("configuration refused" in line for line in gateway.lines) == 1
    assert gateway.stop() == 0


def test_sighup_reads_the_file_at_once_and_a_mistake_is_named(start_gateway):
    gateway = start_gateway()
    gateway.line("listening:")
    gateway.signal(signal.SIGHUP)
    gateway.line("configuration applied:")
    changed(gateway, limits={"calls_max": 0})
    gateway.signal(signal.SIGHUP)
    gateway.line("limits.calls_max: must be more than zero")


def test_what_needs_a_restart_is_named_and_the_rest_is_in_force(start_gateway, start_peer):
    gateway = start_gateway({"limits": {"calls_max": 1}})
    peer = start_peer(gateway)
    caller = gateway.caller()
    running = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    error = failure(caller.Greet.future(greet(), timeout=PATIENCE_SECONDS))
    assert reason(error) == "inflight_limit"

    changed(gateway, workers=1, heartbeat={"interval": "1s"}, limits={"calls_max": 2})
    gateway.line("configuration applied in part: needs_restart=workers,heartbeat")
    second = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
    peer.answers(peer.receives("request"), hello())
    assert second.result(PATIENCE_SECONDS) == hello()
    peer.answers(request, hello())
    assert running.result(PATIENCE_SECONDS) == hello()


def test_the_log_becomes_as_loud_as_it_is_told(start_gateway):
    gateway = start_gateway()
    host, port = gateway.address.rsplit(":", 1)

    def no_caller():
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            connection.recv(1_000)

    no_caller()
    changed(gateway, log={"level": "debug"})
    gateway.line("configuration applied:")
    assert not [line for line in gateway.lines if "handshake failed:" in line]
    no_caller()
    gateway.line("handshake failed:")


def test_the_key_of_the_run_stays_when_the_file_changes(start_gateway, start_peer):
    gateway = start_gateway(key=None)
    key = gateway.line("  adit_").strip()
    peer = start_peer(gateway, key=key)
    changed(gateway, log={"level": "debug"})
    gateway.line("configuration applied:")
    start_peer(gateway, key=key)

    # A key of the configuration takes its place.
    changed(gateway, keys=[entry("one", KEY)])
    eventually(lambda: peer.stream.done(), "the end of its tunnel")


def test_a_pipe_in_place_of_the_file_holds_up_nobody(start_gateway, start_peer):
    gateway = start_gateway()
    peer = start_peer(gateway)
    gateway.config_path.unlink()
    os.mkfifo(gateway.config_path)
    gateway.signal(signal.SIGHUP)
    gateway.line("configuration refused, the old one stays:")
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    peer.answers(peer.receives("request"), hello())
    assert call.result(PATIENCE_SECONDS) == hello()
    assert gateway.stop() == 0
