"""How a call ends: codes, messages and details of the service, unchanged."""
import grpc
import pytest

from conftest import (
    PATIENCE_SECONDS, STREAM_END, STREAM_MORE, failure, greet, greeter, hello, reason, stream_failure, values)

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]

HTTP_CODES = [
    (400, grpc.StatusCode.INVALID_ARGUMENT),
    (401, grpc.StatusCode.UNAUTHENTICATED),
    (403, grpc.StatusCode.PERMISSION_DENIED),
    (404, grpc.StatusCode.NOT_FOUND),
    (409, grpc.StatusCode.ABORTED),
    (429, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (499, grpc.StatusCode.CANCELLED),
    (500, grpc.StatusCode.INTERNAL),
    (501, grpc.StatusCode.UNIMPLEMENTED),
    (503, grpc.StatusCode.UNAVAILABLE),
    (504, grpc.StatusCode.DEADLINE_EXCEEDED),
    (418, grpc.StatusCode.UNKNOWN),
    (99, grpc.StatusCode.UNKNOWN),
    (-1, grpc.StatusCode.UNKNOWN),
]


@pytest.fixture
def begun(gateway, peer):
    """A call that waits for its answer, and how to answer it."""
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    return call, peer, peer.receives("request")


def test_every_code_passes(gateway, peer):
    caller = gateway.caller()
    for code in CODES:
        call = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
        peer.answers(peer.receives("request"), status_code=code.value[0], error_message=f"it is {code.name}")
        error = failure(call)
        assert (error.code(), error.details()) == (code, f"it is {code.name}")
        assert reason(error) is None


@pytest.mark.parametrize("message", [
    "",
    "plain",
    "100 % of it, and %41 stays as it is",
    "Grüße, 世界 🌍",
    "two\nlines\tand a tab",
])
def test_the_message_passes(begun, message):
    call, peer, request = begun
    peer.answers(request, status_code=3, error_message=message)
    assert failure(call).details() == message


def test_the_details_are_trailers(begun):
    call, peer, request = begun
    # `CAMSAm5v` is a google.rpc.Status of code 3 with the message "no".
    peer.answers(request, status_code=3, headers={"grpc-status-details-bin": "CAMSAm5v", "x-late": "1"})
    error = failure(call)
    assert values(error.trailing_metadata(), "grpc-status-details-bin") == [b"\x08\x03\x12\x02no"]
    assert values(error.trailing_metadata(), "x-late") == ["1"]


def test_the_details_of_an_error_after_messages(gateway, peer):
    call = gateway.caller().Count(greeter.CountRequest(limit=2), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    peer.answers(request, greeter.CountReply(number=1), streaming_info=STREAM_MORE)
    peer.answers(
        request, streaming_info=STREAM_END, status_code=9, error_message="enough",
        headers={"grpc-status-details-bin": "CAk="})
    replies, error = stream_failure(call)
    assert [reply.number for reply in replies] == [1]
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "enough")
    assert values(error.trailing_metadata(), "grpc-status-details-bin") == [b"\x08\x09"]


def test_a_code_other_than_0_ends_the_call_whatever_else_the_frame_says(gateway, peer):
    call = gateway.caller().Count(greeter.CountRequest(limit=2), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    peer.answers(request, streaming_info=STREAM_MORE, status_code=5, error_message="not here")
    replies, error = stream_failure(call)
    assert replies == []
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "not here")


def test_http_codes_are_translated(gateway, plain_peer):
    caller = gateway.caller()
    for number, code in HTTP_CODES:
        call = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
        plain_peer.answers(plain_peer.receives("request"), status_code=number, error_message="said so")
        error = failure(call)
        assert (error.code(), error.details()) == (code, "said so"), number


@pytest.mark.parametrize("number", [200, 204])
def test_http_codes_of_success_are_success(gateway, plain_peer, number):
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    plain_peer.answers(plain_peer.receives("request"), hello(), status_code=number)
    assert call.result(PATIENCE_SECONDS) == hello()
