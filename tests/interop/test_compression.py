"""Compressed messages: inflated for services that did not ask for them, untouched for those that did."""
import gzip

import grpc

from conftest import PATIENCE_SECONDS, STREAM_END, STREAMING, greet, greeter, hello, registry, say

# gRPC does not compress what would not become smaller.
TEXT = "x" * 10_000


def test_a_service_without_compression_gets_plain_bytes(gateway, peer):
    caller = gateway.caller(compression=grpc.Compression.Gzip)
    call = caller.Greet.future(greet(TEXT), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    assert greeter.GreetRequest.FromString(request.payload).name == TEXT
    assert not request.compressed
    assert "grpc-encoding" not in request.headers
    peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_deflate_is_undone_too(gateway, peer):
    caller = gateway.caller(compression=grpc.Compression.Deflate)
    call = caller.Chat(iter([say(TEXT), say(TEXT)]), timeout=PATIENCE_SECONDS)
    for _ in range(2):
        request = peer.receives("request")
        assert greeter.ChatMessage.FromString(request.payload).text == TEXT
        assert not request.compressed
    peer.answers(request, streaming_info=STREAM_END)
    assert list(call) == []


def test_a_plain_peer_gets_plain_bytes(gateway, plain_peer):
    caller = gateway.caller(compression=grpc.Compression.Gzip)
    call = caller.Greet.future(greet(TEXT), timeout=PATIENCE_SECONDS)
    request = plain_peer.receives("request")
    assert greeter.GreetRequest.FromString(request.payload).name == TEXT
    plain_peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_a_service_with_compression_gets_what_the_caller_sent(gateway, start_peer):
    peer = start_peer(gateway, features=(*STREAMING, "compression"))
    caller = gateway.caller(compression=grpc.Compression.Gzip)
    call = caller.Greet.future(greet(TEXT), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    assert request.compressed
    assert request.headers["grpc-encoding"] == "gzip"
    assert greeter.GreetRequest.FromString(gzip.decompress(request.payload)).name == TEXT

    peer.sends(response=registry.ForwardResponse(
        request_id=request.request_id, compressed=True, headers={"grpc-encoding": "gzip"},
        payload=gzip.compress(hello(TEXT).SerializeToString())))
    assert call.result(PATIENCE_SECONDS) == hello(TEXT)


def test_the_example_service_never_notices(gateway, start_service):
    start_service(gateway.address)
    caller = gateway.caller(compression=grpc.Compression.Gzip)
    assert caller.Greet(greet(TEXT), timeout=PATIENCE_SECONDS).text == f"Hello, {TEXT}!"
