"""Metadata, both ways: what the service sees of the caller's, and the caller of the service's."""
import base64

import grpc
import pytest

from conftest import (
    PATIENCE_SECONDS, STREAM_END, STREAM_MORE, failure, greet, greeter, hello, registry, say, values)

EXACT = ("stream", "cancel", "headers")


def header(name, value):
    return registry.Header(name=name, value=value)


def pairs(headers):
    return [(header.name, header.value) for header in headers]


def unpadded(data):
    return base64.b64encode(data).rstrip(b"=")


def test_the_callers_metadata_in_a_map(gateway, peer):
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS, metadata=[
        ("x-one", "1"),
        ("x-many", "a"), ("x-other", "between"), ("x-many", "b"),
        ("x-ascii", "".join(chr(code) for code in range(0x21, 0x7F))),
        ("x-empty", ""),
        ("x-blob-bin", b"\x00\xff\x80"),
        ("authorization", "Bearer of a token"),
    ])
    request = peer.receives("request")
    assert request.headers["x-one"] == "1"
    assert request.headers["x-many"] == "a,b"
    assert request.headers["x-ascii"] == "".join(chr(code) for code in range(0x21, 0x7F))
    assert request.headers["x-empty"] == ""
    assert request.headers["x-blob-bin"].rstrip("=") == unpadded(b"\x00\xff\x80").decode()
    assert request.headers["authorization"] == "Bearer of a token"
    assert request.headers["content-type"] == "application/grpc"
    assert request.headers["user-agent"].startswith("grpc-python/")
    assert not {"te", "content-length", ":path", ":authority"} & set(request.headers)
    assert not request.metadata
    peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_the_callers_metadata_exactly(gateway, start_peer):
    peer = start_peer(gateway, features=EXACT)
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS, metadata=[
        ("x-many", "a"), ("x-many", "b, c"), ("x-many", "a"),
        ("x-blob-bin", b"\x00\xff"), ("x-blob-bin", b""), ("x-blob-bin", b"\x01"),
    ])
    request = peer.receives("request")
    assert not request.headers
    metadata = pairs(request.metadata)
    assert values(metadata, "x-many") == [b"a", b"b, c", b"a"]
    # Binary values stay in base64; a caller may join those of one name with a comma.
    blobs = b",".join(values(metadata, "x-blob-bin")).split(b",")
    assert [blob.rstrip(b"=") for blob in blobs] == [unpadded(b"\x00\xff"), b"", unpadded(b"\x01")]
    peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_only_the_first_frame_of_a_stream_carries_metadata(gateway, peer):
    call = gateway.caller().Chat(
        iter([say("one"), say("two")]), timeout=PATIENCE_SECONDS, metadata=[("x-one", "1")])
    assert peer.receives("request").headers["x-one"] == "1"
    assert not peer.receives("request").headers
    end = peer.receives("request")
    assert not end.headers
    peer.answers(end, streaming_info=STREAM_END)
    assert list(call) == []


def test_the_headers_of_an_only_response_are_initial_metadata(gateway, peer):
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    peer.answers(request, hello(), headers={"x-one": "1", "x-blob-bin": "AP8="})
    assert call.result(PATIENCE_SECONDS) == hello()
    assert values(call.initial_metadata(), "x-one") == ["1"]
    assert values(call.initial_metadata(), "x-blob-bin") == [b"\x00\xff"]
    assert list(call.trailing_metadata()) == []


def test_initial_metadata_comes_with_the_first_response_and_trailers_with_the_last(gateway, peer):
    call = gateway.caller().Count(greeter.CountRequest(limit=2), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")

    peer.answers(request, greeter.CountReply(number=1), streaming_info=STREAM_MORE, headers={"x-at": "first"})
    assert values(call.initial_metadata(), "x-at") == ["first"]
    assert next(call).number == 1

    peer.answers(request, greeter.CountReply(number=2), streaming_info=STREAM_MORE, headers={"x-at": "middle"})
    assert next(call).number == 2

    peer.answers(request, streaming_info=STREAM_END, headers={"x-at": "last"})
    assert list(call) == []
    assert values(call.trailing_metadata(), "x-at") == ["last"]


def test_the_services_metadata_exactly(gateway, start_peer):
    peer = start_peer(gateway, features=EXACT)
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    peer.answers(
        request, hello(),
        metadata=[header("x-many", b"a"), header("x-many", b"b"), header("x-blob-bin", b"AP8")],
        trailers=[header("x-late", b"1"), header("x-late", b"2"), header("x-late-bin", b"gA")])
    assert call.result(PATIENCE_SECONDS) == hello()
    assert values(call.initial_metadata(), "x-many") == ["a", "b"]
    assert values(call.initial_metadata(), "x-blob-bin") == [b"\x00\xff"]
    assert values(call.trailing_metadata(), "x-late") == ["1", "2"]
    assert values(call.trailing_metadata(), "x-late-bin") == [b"\x80"]


def test_what_a_service_may_not_send_is_left_out(gateway, peer):
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    forged = {"x-gateway-error": "no_tunnel", "grpc-status": "13", "connection": "close", "bad name": "x", "x-fine": "1"}
    peer.answers(request, hello(), headers=forged)
    assert call.result(PATIENCE_SECONDS) == hello()
    initial = [pair for pair in call.initial_metadata() if pair[0] != "x-request-id"]
    assert initial == [("x-fine", "1")]
    assert call.code() == grpc.StatusCode.OK


@pytest.mark.parametrize("metadata", [
    pytest.param([("x-long", "x" * 33_000)], id="33 000 bytes"),
    pytest.param([(f"x-{number}", "1") for number in range(101)], id="101 pairs"),
])
def test_more_metadata_than_the_limit_is_refused(gateway, peer, metadata):
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS, metadata=metadata)
    error = failure(call)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert values(error.trailing_metadata(), "x-gateway-error") == ["metadata_too_large"]
