"""Services that call services: a peer sends `request` frames itself, over the tunnel it serves on."""
import grpc
import pytest

from conftest import (
    BIDIRECTIONAL, STREAM_END, STREAM_MORE, STREAMING, UNARY, greet, greeter, hello, registry, say)

METHOD = "/demo.Greeter/Greet"


@pytest.fixture
def calling(gateway, peer, start_peer):
    """A peer that serves nothing and only calls."""
    return start_peer(gateway, services=[], features=STREAMING)


def calls(peer, name, method, message=None, kind=UNARY, sequence=0, end=True, **fields):
    """Sends one `request` frame; `name` is the peer's own name for the call."""
    peer.sends(request=registry.ForwardRequest(
        request_id=name, method_path=method,
        payload=message.SerializeToString() if message is not None else b"",
        streaming_info=registry.StreamingInfo(
            stream_type=kind, sequence_number=sequence, is_stream_end=end),
        **fields))


def test_unary(peer, calling):
    calls(calling, "mine-1", METHOD, greet(), headers={"x-one": "1"})
    request = peer.receives("request")
    assert request.request_id != "mine-1"
    assert request.method_path == METHOD
    assert request.headers["x-one"] == "1"
    assert greeter.GreetRequest.FromString(request.payload) == greet()
    peer.answers(request, hello(), headers={"x-two": "2"})
    response = calling.receives("response")
    assert response.request_id == "mine-1"
    assert response.status_code == 0
    assert response.headers["x-two"] == "2"
    assert greeter.GreetReply.FromString(response.payload) == hello()
    assert not response.HasField("streaming_info")


def test_a_request_without_streaming_info_is_a_whole_call(peer, calling):
    calling.sends(request=registry.ForwardRequest(
        request_id="mine-1", method_path=METHOD, payload=greet().SerializeToString()))
    request = peer.receives("request")
    assert request.streaming_info.is_stream_end
    peer.answers(request, hello())
    assert calling.receives("response").payload == hello().SerializeToString()


def test_an_error_of_the_service(peer, calling):
    calls(calling, "mine-1", METHOD, greet())
    peer.answers(peer.receives("request"), status_code=7, error_message="50 % nein, Größe")
    response = calling.receives("response")
    assert (response.status_code, response.error_message) == (7, "50 % nein, Größe")
    assert "x-gateway-error" not in response.headers


def test_a_service_that_nobody_registered(calling):
    calls(calling, "mine-1", "/demo.Nobody/Call", greet())
    response = calling.receives("response")
    assert response.request_id == "mine-1"
    assert response.status_code == grpc.StatusCode.UNIMPLEMENTED.value[0]
    assert response.headers["x-gateway-error"] == "unknown_service"


@pytest.mark.parametrize("path", ["", "Greet", "/registry.RegistryService/Register"])
def test_a_path_that_cannot_be_called(calling, path):
    calls(calling, "mine-1", path, greet())
    assert calling.receives("response").headers["x-gateway-error"] == "unknown_service"


def test_a_deadline_in_whole_seconds(peer, calling):
    calls(calling, "mine-1", METHOD, greet(), timeout_seconds=1)
    request = peer.receives("request")
    assert request.timeout_seconds == 1
    response = calling.receives("response")
    assert response.status_code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert response.headers["x-gateway-error"] == "deadline"
    cancel = peer.receives("cancel")
    assert (cancel.request_id, cancel.status_code) == (request.request_id, response.status_code)


def test_an_exact_deadline(peer, calling):
    calls(calling, "mine-1", METHOD, greet(), headers={"grpc-timeout": "200m"})
    assert peer.receives("request").headers["grpc-timeout"]
    assert calling.receives("response").headers["x-gateway-error"] == "deadline"


def test_the_calling_peer_cancels(peer, calling):
    calls(calling, "mine-1", METHOD, greet())
    request = peer.receives("request")
    calling.sends(cancel=registry.Cancel(request_id="mine-1"))
    assert peer.receives("cancel").request_id == request.request_id


def test_the_calling_peer_goes_away(peer, calling):
    calls(calling, "mine-1", METHOD, greet())
    request = peer.receives("request")
    calling.breaks()
    assert peer.receives("cancel").request_id == request.request_id


def test_the_serving_peer_goes_away(peer, calling):
    calls(calling, "mine-1", METHOD, greet())
    peer.receives("request")
    peer.breaks()
    response = calling.receives("response")
    assert response.status_code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert response.headers["x-gateway-error"] == "tunnel_lost"


def test_a_bidirectional_stream(peer, calling):
    chat = "/demo.Greeter/Chat"
    calls(calling, "mine-1", chat, say("one"), BIDIRECTIONAL, 0, end=False)
    first = peer.receives("request")
    peer.answers(first, say("1"), streaming_info=STREAM_MORE)
    response = calling.receives("response")
    assert (response.request_id, response.payload) == ("mine-1", say("1").SerializeToString())
    assert not response.streaming_info.is_stream_end

    calls(calling, "mine-1", chat, say("two"), BIDIRECTIONAL, 1, end=False)
    second = peer.receives("request")
    assert (second.request_id, second.streaming_info.sequence_number) == (first.request_id, 1)

    calls(calling, "mine-1", chat, None, BIDIRECTIONAL, 2)
    assert peer.receives("request").streaming_info.is_stream_end
    peer.answers(first, streaming_info=STREAM_END, headers={"x-late": "1"})
    response = calling.receives("response")
    assert response.streaming_info.is_stream_end
    assert (response.status_code, response.headers["x-late"]) == (0, "1")


def test_ids_are_each_peers_own(gateway, peer, start_peer):
    both = [start_peer(gateway, services=[], features=STREAMING) for _ in range(2)]
    for number, calling in enumerate(both):
        calls(calling, "1", METHOD, greet(f"peer {number}"))
    for _ in both:
        request = peer.receives("request")
        name = greeter.GreetRequest.FromString(request.payload).name
        peer.answers(request, hello(f"Hello, {name}!"))
    for number, calling in enumerate(both):
        response = calling.receives("response")
        assert response.request_id == "1"
        assert greeter.GreetReply.FromString(response.payload) == hello(f"Hello, peer {number}!")


def test_an_id_may_be_used_again_when_its_call_is_over(peer, calling):
    for _ in range(3):
        calls(calling, "1", METHOD, greet())
        peer.answers(peer.receives("request"), hello())
        assert calling.receives("response").payload == hello().SerializeToString()


def test_a_peer_may_call_what_it_serves(peer):
    calls(peer, "mine-1", METHOD, greet())
    request = peer.receives("request")
    peer.answers(request, hello())
    assert peer.receives("response").payload == hello().SerializeToString()


def test_a_plain_peer_may_call_too(gateway, plain_peer, start_peer):
    calling = start_peer(gateway, services=[])
    calling.sends(request=registry.ForwardRequest(
        request_id="mine-1", method_path=METHOD, payload=greet().SerializeToString()))
    plain_peer.answers(plain_peer.receives("request"), hello())
    assert calling.receives("response").payload == hello().SerializeToString()


def test_a_peer_calls_the_example_service(gateway, start_service, start_peer):
    start_service(gateway.address)
    calling = start_peer(gateway, services=[], features=STREAMING)
    calls(calling, "mine-1", "/demo.Greeter/Count", greeter.CountRequest(limit=2))
    numbers = []
    while True:
        response = calling.receives("response")
        if response.payload:
            numbers.append(greeter.CountReply.FromString(response.payload).number)
        if response.streaming_info.is_stream_end:
            break
    assert numbers == [1, 2]
