"""Where calls go: to whoever serves the name, or back with a reason."""
import signal

import grpc
import pytest

from conftest import (
    PATIENCE_SECONDS, STREAMING, failure, greet, greeter, hello, reason, registry,
    stream_failure)


def refused(gateway):
    error = failure(gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS))
    return error.code(), reason(error)


def test_a_service_that_nobody_ever_registered(gateway):
    assert refused(gateway) == (grpc.StatusCode.UNIMPLEMENTED, "unknown_service")


def test_for_a_while_after_a_start_every_name_counts_as_known(start_gateway):
    gateway = start_gateway({"routing": {"startup_grace": "1h"}})
    assert refused(gateway) == (grpc.StatusCode.UNAVAILABLE, "no_tunnel")


def test_a_name_that_a_key_names_is_known_before_it_registers(start_gateway):
    key = {"id": "later", "sha256": "0" * 64, "services": ["demo.Greeter"]}
    gateway = start_gateway({"keys": [key]})
    assert refused(gateway) == (grpc.StatusCode.UNAVAILABLE, "no_tunnel")


@pytest.mark.parametrize("path", ["/demo.Greeter", "/demo.Greeter/", "//Greet", "/demo.Greeter/Greet/more"])
def test_a_path_that_names_no_method(gateway, peer, path):
    call = gateway.channel().unary_unary(path).future(b"", timeout=PATIENCE_SECONDS)
    error = failure(call)
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNIMPLEMENTED, "unknown_service")


def test_after_the_service_left(gateway, start_service):
    service = start_service(gateway.address)
    assert gateway.caller().Greet(greet(), timeout=PATIENCE_SECONDS) == hello()
    service.kill()
    gateway.line("tunnel closed:")
    assert refused(gateway) == (grpc.StatusCode.UNAVAILABLE, "no_tunnel")


def test_a_service_that_is_killed_in_the_middle_of_a_call(gateway, start_service):
    service = start_service(gateway.address)
    call = gateway.caller().Count(
        greeter.CountRequest(limit=1_000_000, pause_ms=10), timeout=PATIENCE_SECONDS)
    assert next(call).number == 1
    service.kill()
    replies, error = stream_failure(call)
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "tunnel_lost")
    # What did come is a prefix of the answer.
    assert [reply.number for reply in replies] == list(range(2, len(replies) + 2))


def test_a_unary_call_whose_tunnel_breaks(gateway, peer):
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    peer.receives("request")
    peer.breaks()
    error = failure(call)
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "tunnel_lost")


def test_after_a_goodbye_the_calls_in_flight_may_finish(gateway, start_finishing_service):
    service = start_finishing_service(gateway.address)
    call = gateway.caller().Count(greeter.CountRequest(limit=50, pause_ms=10), timeout=PATIENCE_SECONDS)
    assert next(call).number == 1
    service.signal(signal.SIGTERM)
    gateway.line("tunnel drains:")
    assert refused(gateway) == (grpc.StatusCode.UNAVAILABLE, "no_tunnel")
    assert [reply.number for reply in call] == list(range(2, 51))
    assert service.exit_code() == 0


def test_the_example_service_dials_again(start_gateway, start_service):
    first = start_gateway()
    address = first.address
    service = start_service(address)
    assert first.stop() == 0
    service.line("tunnel ended:")

    second = start_gateway(port=int(address.rsplit(":", 1)[1]))
    service.line("registered:", count=2)
    assert second.caller().Greet(greet(), timeout=PATIENCE_SECONDS) == hello()


def test_the_example_service_dials_again_after_a_tunnel_that_broke_with_calls_on_it(start_gateway, start_service):
    first = start_gateway({"drain": {"grace": "0s"}})
    address = first.address
    service = start_service(address)
    calls = [
        first.caller().Count(greeter.CountRequest(limit=1_000_000, pause_ms=pause), timeout=PATIENCE_SECONDS)
        for pause in (0, 10)]
    assert [next(call).number for call in calls] == [1, 1]
    assert first.stop() == 0
    service.line("tunnel ended:")

    second = start_gateway(port=int(address.rsplit(":", 1)[1]))
    service.line("registered:", count=2)
    assert second.caller().Greet(greet(), timeout=PATIENCE_SECONDS) == hello()


def test_the_example_service_leaves_while_it_waits_to_dial_again(gateway, start_finishing_service):
    service = start_finishing_service(gateway.address)
    assert gateway.stop() == 0
    service.line("tunnel ended:")
    service.leaves()


def test_a_peer_that_registered_only_the_last_part_of_the_name(gateway, start_peer):
    peer = start_peer(gateway, services=["Greeter"])
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    assert request.method_path == "/demo.Greeter/Greet"
    peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_the_full_name_goes_before_its_last_part(gateway, start_peer):
    start_peer(gateway, services=["Greeter"])
    full = start_peer(gateway, services=["demo.Greeter"])
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    full.answers(full.receives("request"), hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_two_peers_share_the_calls(gateway, start_peer):
    peers = [start_peer(gateway), start_peer(gateway)]
    caller = gateway.caller()
    calls = [caller.Greet.future(greet(), timeout=PATIENCE_SECONDS) for _ in range(40)]
    answered = 0
    for peer in peers:
        # The one on the caller's own worker may get twice as many and a few more, not all.
        for _ in range(5):
            peer.answers(peer.receives("request"), hello())
            answered += 1
    assert answered == 10
    for peer in peers:
        peer.breaks()
    codes = [call.code() for call in calls]
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert codes.count(grpc.StatusCode.OK) <= answered


def test_one_peer_can_answer_only_its_own_calls(gateway, start_peer):
    owner = start_peer(gateway, services=["demo.Greeter"], features=STREAMING)
    thief = start_peer(gateway, services=["demo.Other"], features=STREAMING)
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = owner.receives("request")
    thief.answers(request, hello("stolen"))
    # A call of its own shows that the gateway has read what the thief sent before it.
    thief.sends(request=registry.ForwardRequest(request_id="1", method_path="/demo.Nobody/Call"))
    assert thief.receives("response").status_code == grpc.StatusCode.UNIMPLEMENTED.value[0]
    owner.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()
