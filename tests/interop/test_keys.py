"""Who may dial in, and who may call."""
import hashlib

import grpc
import pytest

from conftest import (
    EXAMPLE_SERVICES, KEY, LANGUAGES, PATIENCE_SECONDS, Gateway, Peer, failure, greet, hello, reason, registry)


def ended(peer):
    stream = peer.ended()
    return stream.code(), reason(stream)


def test_without_any_key_one_is_made_for_the_run(start_gateway, start_peer):
    gateway = start_gateway(key=None)
    key = gateway.line("  adit_").strip()
    start_peer(gateway, key=key)


def test_without_any_key_the_gateway_stays_on_loopback(tmp_path):
    gateway = Gateway(tmp_path, {"listeners": [{"address": "0.0.0.0:0"}]}, key=None)
    assert gateway.exit_code() == 2
    gateway.line("key")


@pytest.mark.parametrize("key", ["", "wrong", KEY + "\n", KEY[:-1], "x" * 100_000])
def test_a_wrong_key(gateway, key):
    peer = Peer(gateway, key=key)
    assert ended(peer) == (grpc.StatusCode.UNAUTHENTICATED, "bad_credentials")
    assert gateway.line("tunnel refused:").endswith(" key_id=unknown")
    assert not [line for line in gateway.lines if key and key in line], "the key is in the log"
    peer.breaks()


@pytest.mark.parametrize("language", [language for language in ("go", "node") if language in LANGUAGES])
def test_an_example_service_with_a_wrong_key_gives_up_and_says_why(gateway, start_program, language):
    service = start_program(EXAMPLE_SERVICES[language], gateway.address, key="wrong", let_in=False)
    assert service.exit_code() == 1
    assert "unauthenticated" in service.line("tunnel ended:").lower()


def test_a_first_frame_that_is_no_registration(gateway):
    peer = Peer(gateway, register=False)
    peer.sends(heartbeat=registry.Heartbeat())
    assert ended(peer) == (grpc.StatusCode.INVALID_ARGUMENT, "register_first")
    peer.breaks()


def test_no_first_frame_at_all(start_gateway):
    gateway = start_gateway({"limits": {"register_timeout": "200ms"}})
    peer = Peer(gateway, register=False)
    assert ended(peer) == (grpc.StatusCode.DEADLINE_EXCEEDED, "register_timeout")
    peer.breaks()


def test_a_second_registration(gateway, start_peer):
    peer = start_peer(gateway)
    peer.sends(register=registry.ConnectionRegister(api_key=KEY, services=["demo.Other"]))
    assert ended(peer)[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_a_name_that_the_key_is_not_good_for(start_gateway, start_peer):
    key = "the-key-of-a-program-for-demo-only"
    entry = {"id": "demo", "sha256": hashlib.sha256(key.encode()).hexdigest(), "services": ["demo.*"]}
    gateway = start_gateway({"keys": [entry]})
    start_peer(gateway, key=key, services=["demo.Greeter"])
    peer = Peer(gateway, key=key, services=["demo.Greeter", "bank.Account"])
    assert ended(peer) == (grpc.StatusCode.PERMISSION_DENIED, "scope")
    peer.breaks()


def test_reserved_names(gateway):
    for name in ("registry.RegistryService", "grpc.health.v1.Health"):
        peer = Peer(gateway, services=[name])
        assert ended(peer) == (grpc.StatusCode.PERMISSION_DENIED, "scope")
        peer.breaks()


def test_callers_show_a_key_where_one_is_asked_for(start_gateway, start_peer):
    gateway = start_gateway({"callers": {"require_key": True}})
    peer = start_peer(gateway)
    caller = gateway.caller()

    error = failure(caller.Greet.future(greet(), timeout=PATIENCE_SECONDS))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "no_credentials")

    error = failure(caller.Greet.future(
        greet(), timeout=PATIENCE_SECONDS, metadata=[("x-adit-key", "wrong")]))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "bad_credentials")

    call = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS, metadata=[("x-adit-key", KEY)])
    request = peer.receives("request")
    assert "x-adit-key" not in request.headers
    peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()
