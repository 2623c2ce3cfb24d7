"""Deadlines: told to the service as time that remains, and enforced by the gateway."""
import time

import grpc

from conftest import (
    PATIENCE_SECONDS, STREAM_MORE, failure, greet, greeter, hello, reason, stream_failure)

DEADLINE_SECONDS = 0.5
# What a busy machine may add. The gateway itself is much more exact.
TOLERANCE_SECONDS = 1.0


def microseconds(timeout):
    units = {"u": 1, "m": 1_000, "S": 1_000_000, "M": 60_000_000, "H": 3_600_000_000}
    return int(timeout[:-1]) * units[timeout[-1]] if timeout[-1] != "n" else int(timeout[:-1]) // 1_000


def test_the_service_is_told_the_time_that_remains(gateway, peer):
    call = gateway.caller().Greet.future(greet(), timeout=7.5)
    request = peer.receives("request")
    assert 7 <= request.timeout_seconds <= 8
    assert 6_000_000 < microseconds(request.headers["grpc-timeout"]) <= 7_700_000
    peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_without_a_deadline_nothing_is_invented(gateway, peer):
    call = gateway.caller().Greet.future(greet())
    request = peer.receives("request")
    assert request.timeout_seconds == 0
    assert "grpc-timeout" not in request.headers
    peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_a_passed_deadline_ends_the_call_and_the_service_is_told(gateway, peer):
    began = time.monotonic()
    call = gateway.caller().Greet.future(greet(), timeout=DEADLINE_SECONDS)
    request = peer.receives("request")
    error = failure(call)
    passed = time.monotonic() - began
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert DEADLINE_SECONDS - 0.05 <= passed <= DEADLINE_SECONDS + TOLERANCE_SECONDS
    cancel = peer.receives("cancel")
    assert cancel.request_id == request.request_id
    # The caller's own clock may be the faster one; then it hangs up.
    assert cancel.status_code in (grpc.StatusCode.DEADLINE_EXCEEDED.value[0], grpc.StatusCode.CANCELLED.value[0])


def test_the_gateway_keeps_the_deadline_itself(gateway, peer):
    # Written as metadata, the deadline is known to the gateway only: the caller does not watch it.
    began = time.monotonic()
    call = gateway.caller().Greet.future(greet(), metadata=[("grpc-timeout", "500m")])
    request = peer.receives("request")
    error = failure(call)
    passed = time.monotonic() - began
    assert (error.code(), reason(error)) == (grpc.StatusCode.DEADLINE_EXCEEDED, "deadline")
    assert DEADLINE_SECONDS - 0.05 <= passed <= DEADLINE_SECONDS + TOLERANCE_SECONDS
    cancel = peer.receives("cancel")
    assert cancel.request_id == request.request_id
    assert cancel.status_code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


def test_what_came_before_the_deadline_stays(gateway, peer):
    call = gateway.caller().Count(greeter.CountRequest(limit=2), timeout=DEADLINE_SECONDS)
    request = peer.receives("request")
    peer.answers(request, greeter.CountReply(number=1), streaming_info=STREAM_MORE)
    replies, error = stream_failure(call)
    assert [reply.number for reply in replies] == [1]
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_an_answer_after_the_deadline_is_dropped(gateway, peer):
    caller = gateway.caller()
    call = caller.Greet.future(greet(), timeout=DEADLINE_SECONDS)
    late = peer.receives("request")
    failure(call)
    peer.receives("cancel")
    peer.answers(late, hello("too late"))
    call = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
    peer.answers(peer.receives("request"), hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_the_example_service_stops_working(gateway, start_finishing_service):
    service = start_finishing_service(gateway.address)
    call = gateway.caller().Count(
        greeter.CountRequest(limit=1_000_000, pause_ms=10), timeout=DEADLINE_SECONDS)
    replies, error = stream_failure(call)
    assert replies
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    # If it still worked on the call, it would not be over for hours.
    service.leaves()
