"""What the gateway writes about itself, and that nothing waits for it."""
import json
import os
import signal
import socket
import subprocess
from contextlib import contextmanager

import grpc
import pytest

from conftest import (
    BINARY, CHANNEL_OPTIONS, KEY, PATIENCE_SECONDS, Peer, failure, greet, greeter_services, hello, registry,
    registry_services)

REFUSALS = 500


@contextmanager
def nobody_reads(gateway):
    """Nobody reads its stderr for a while, and the pipe is full."""
    with gateway.changed:  # what the thread that reads needs for each line
        pipe = os.open(f"/proc/{gateway.process.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        try:
            while True:
                os.write(pipe, b"filled up by the test\n" * 10)
        except BlockingIOError:
            pass
        finally:
            os.close(pipe)
        yield


def refuse(gateway, count):
    """Dials in with a name that is none. Each time the gateway has a line to log."""
    stub = registry_services.RegistryServiceStub(gateway.channel())
    register = registry.ConnectionRegister(api_key=KEY, services=["not a name"])
    for _ in range(count):
        stream = stub.EstablishConnection(
            iter([registry.ConnectionMessage(register=register)]), timeout=PATIENCE_SECONDS)
        assert stream.code() == grpc.StatusCode.INVALID_ARGUMENT


def greets(caller, peer):
    call = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
    peer.answers(peer.receives("request"), hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_calls_go_on_while_stderr_is_blocked(gateway, start_peer):
    peer, caller = start_peer(gateway), gateway.caller()
    unknown = gateway.channel().unary_unary("/demo.Nobody/Calls")
    with nobody_reads(gateway):
        refuse(gateway, REFUSALS)
        for _ in range(REFUSALS):
            assert failure(unknown.future(b"", timeout=PATIENCE_SECONDS)).code() == grpc.StatusCode.UNIMPLEMENTED
        greets(caller, peer)
    gateway.line("left out: lines=")
    assert 'like="tunnel refused"' in gateway.line("left out: lines=")
    assert gateway.stop() == 0
    assert "log_lines_left_out=" in gateway.line("run ended:")


def test_a_blocked_stderr_does_not_keep_the_process(gateway):
    gateway.address
    with nobody_reads(gateway):
        gateway.signal(signal.SIGTERM)
        assert gateway.process.wait(PATIENCE_SECONDS) == 0


@pytest.mark.parametrize("stderr", ["full", "closed"])
def test_calls_go_on_though_no_line_can_be_written(tmp_path, stderr):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"listeners": [{"address": address}]}))
    if stderr == "full":
        taken = os.open("/dev/full", os.O_WRONLY)
    else:
        left, taken = os.pipe()
        os.close(left)
    process = subprocess.Popen(
        [BINARY, "--config", config], env=dict(os.environ, ADIT_API_KEY=KEY), stderr=taken)
    os.close(taken)
    try:
        with grpc.insecure_channel(address, CHANNEL_OPTIONS) as channel:
            grpc.channel_ready_future(channel).result(PATIENCE_SECONDS)
        peer = Peer(type("Gateway", (), {"address": address}))
        peer.registered()
        with grpc.insecure_channel(address, CHANNEL_OPTIONS) as channel:
            greets(greeter_services.GreeterStub(channel), peer)
        peer.breaks()
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()


def test_a_name_from_outside_breaks_no_line(gateway):
    peer = Peer(gateway, services=["demo.A\n[2026-01-01T00:00:00Z INFO  adit] forged\x1b[2J"])
    peer.ended()
    peer.breaks()
    gateway.line("tunnel refused:")
    assert not [line for line in gateway.lines if line.startswith("[2026-01-01") or "\x1b" in line]


def test_no_line_shows_a_key_or_metadata_whatever_is_asked_for(start_gateway, start_peer, monkeypatch):
    monkeypatch.setenv("RUST_LOG", "trace,h2=trace,tonic=trace")
    gateway = start_gateway()
    peer = start_peer(gateway)
    secrets = [("authorization", "Bearer sesame"), ("cookie", "sesame"), ("x-api-key", "sesame"),
               ("session-token", "sesame"), ("grpc-trace-bin", b"sesame"), ("x-adit-key", KEY)]
    call = gateway.caller().Greet.future(greet(), metadata=secrets, timeout=PATIENCE_SECONDS)
    peer.answers(peer.receives("request"), hello())
    assert call.result(PATIENCE_SECONDS) == hello()
    wrong = "a-wrong-key-that-is-long-enough-to-be-one"
    stranger = Peer(gateway, key=wrong)
    stranger.ended()
    stranger.breaks()
    assert gateway.stop() == 0
    assert not [line for line in gateway.lines if "sesame" in line or KEY in line or wrong in line]
