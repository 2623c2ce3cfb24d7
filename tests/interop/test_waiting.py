"""Calls that wait for a service, and calls that belong together, as grpcio makes them."""
import threading

import grpc
import pytest

from conftest import PATIENCE_SECONDS, eventually, failure, greet, greeter, hello, reason, say

WAITING = {"routing": {"startup_grace": "1h", "wait_for_tunnel": "1m"}}


def test_calls_of_all_kinds_wait_for_a_service_that_starts_later(start_gateway, start_service):
    gateway = start_gateway(WAITING)
    caller = gateway.caller()
    whole = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
    counted = caller.Count(greeter.CountRequest(limit=3), timeout=PATIENCE_SECONDS)
    summed = caller.Sum.future(iter([greeter.SumRequest(number=n) for n in (1, 2, 3)]), timeout=PATIENCE_SECONDS)
    chat = caller.Chat(iter([say("one"), say("two")]), timeout=PATIENCE_SECONDS)
    start_service(gateway.address)
    assert whole.result(PATIENCE_SECONDS) == hello()
    assert [reply.number for reply in counted] == [1, 2, 3]
    assert summed.result(PATIENCE_SECONDS).total == 6
    assert [reply.text for reply in chat] == ["You said: one", "You said: two"]


def test_a_service_that_comes_back_is_waited_for(start_gateway, start_service):
    gateway = start_gateway(WAITING)
    service = start_service(gateway.address)
    caller = gateway.caller()
    assert caller.Greet(greet(), timeout=PATIENCE_SECONDS) == hello()
    service.kill()
    gateway.line("tunnel closed:")
    calls = [caller.Greet.future(greet(), timeout=PATIENCE_SECONDS) for _ in range(20)]
    start_service(gateway.address)
    assert [call.result(PATIENCE_SECONDS) for call in calls] == [hello()] * 20
    assert gateway.stop() == 0
    # The one before, and those that waited.
    gateway.line("calls_started=21 calls_answered=21 ")


def test_no_call_waits_past_its_deadline(start_gateway):
    gateway = start_gateway(WAITING)
    error = failure(gateway.caller().Greet.future(greet(), timeout=0.2))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_wait_in_vain(start_gateway):
    gateway = start_gateway({"routing": {"startup_grace": "1h", "wait_for_tunnel": "100ms"}})
    error = failure(gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "no_tunnel")


def test_a_drain_ends_the_wait(start_gateway):
    gateway = start_gateway(dict(WAITING, limits={"waiting_calls_max": 1}))
    caller = gateway.caller()
    calls = [caller.Greet.future(greet(), timeout=PATIENCE_SECONDS) for _ in range(2)]
    # One of them waits once there is no room for the other.
    eventually(lambda: any(call.done() for call in calls), "a call to be refused")
    assert gateway.stop() == 0
    ends = {(failure(call).code(), reason(call)) for call in calls}
    assert ends == {
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "queue_full"), (grpc.StatusCode.UNAVAILABLE, "draining")}


def serve(peer, text):
    """Answers every call with this text."""
    while (frame := peer.frames.get()) is not None:
        peer.answers(frame.request, hello(text))


@pytest.mark.parametrize("key, values", [
    ("x-session-id", [f"session {number}" for number in range(8)]),
    ("x-session-bin", [bytes([0, 255, number]) for number in range(8)]),
])
def test_calls_with_the_same_session_go_to_one_peer(start_gateway, start_peer, key, values):
    rule = {"name": "demo.*", "affinity": {"metadata": key}}
    gateway = start_gateway({"routing": {"services": [rule]}})
    for number in range(3):
        threading.Thread(target=serve, args=(start_peer(gateway), str(number)), daemon=True).start()
    callers = [gateway.caller() for _ in range(4)]
    homes = set()
    for value in values:
        replies = {caller.Greet(greet(), metadata=[(key, value)], timeout=PATIENCE_SECONDS).text
                   for caller in callers}
        assert len(replies) == 1, f"{value!r} went to {replies}"
        homes |= replies
    assert len(homes) > 1
