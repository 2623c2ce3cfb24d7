"""Peers that ask for no feature: programs that were written before there were any."""
import hashlib

import grpc

from conftest import (
    PATIENCE_SECONDS, STREAM_END, STREAM_MORE, UNARY, Outbox, failure, greet, greeter, hello, reason, registry)


def test_nothing_is_granted_and_nothing_new_is_said(gateway, plain_peer):
    assert plain_peer.connected.message == "Successfully registered"
    assert len(plain_peer.connected.connection_id) == 36
    assert list(plain_peer.connected.features) == []
    assert plain_peer.connected.workers == 0


def test_a_unary_call_is_always_one_frame(gateway, plain_peer):
    call = gateway.caller().Greet.future(greet(), timeout=7.5, metadata=[("x-one", "1")])
    request = plain_peer.receives("request")
    info = request.streaming_info
    assert (info.stream_type, info.sequence_number, info.is_stream_end) == (UNARY, 0, True)
    assert 7 <= request.timeout_seconds <= 8
    assert request.headers["x-one"] == "1"
    assert not request.metadata
    plain_peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_without_a_deadline_it_sees_300_seconds(gateway, plain_peer):
    # Such programs take 0 for "at once".
    call = gateway.caller().Greet.future(greet())
    request = plain_peer.receives("request")
    assert request.timeout_seconds == 300
    assert "grpc-timeout" not in request.headers
    plain_peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_what_it_sees_is_enforced(start_gateway, start_peer):
    gateway = start_gateway({"limits": {"plain_call_timeout": "1s"}})
    peer = start_peer(gateway)
    call = gateway.caller().Greet.future(greet())
    assert peer.receives("request").timeout_seconds == 1
    error = failure(call)
    assert (error.code(), reason(error)) == (grpc.StatusCode.DEADLINE_EXCEEDED, "deadline")


def test_a_second_message_is_refused(gateway, plain_peer):
    outbox = Outbox()
    call = gateway.caller().Sum.future(iter(outbox), timeout=PATIENCE_SECONDS)
    outbox.says(greeter.SumRequest(number=1))
    outbox.says(greeter.SumRequest(number=2))
    error = failure(call)
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNIMPLEMENTED, "unary_only")
    outbox.half_closes()


def test_a_call_without_a_message_is_refused(gateway, plain_peer):
    error = failure(gateway.caller().Sum.future(iter([]), timeout=PATIENCE_SECONDS))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNIMPLEMENTED, "unary_only")


def test_client_streaming_of_one_message_is_a_whole_call(gateway, plain_peer):
    outbox = Outbox()
    call = gateway.caller().Sum.future(iter(outbox), timeout=PATIENCE_SECONDS)
    outbox.says(greeter.SumRequest(number=1))
    outbox.half_closes()
    request = plain_peer.receives("request")
    assert request.streaming_info.is_stream_end
    plain_peer.answers(request, greeter.SumReply(total=1))
    assert call.result(PATIENCE_SECONDS).total == 1


def test_it_is_not_asked_before_the_half_close_which_must_come_in_time(start_gateway, start_peer):
    gateway = start_gateway({"limits": {"half_close_timeout": "300ms"}})
    peer = start_peer(gateway)
    outbox = Outbox()
    caller = gateway.caller()
    call = caller.Sum.future(iter(outbox), timeout=PATIENCE_SECONDS)
    outbox.says(greeter.SumRequest(number=1))
    error = failure(call)
    assert (error.code(), reason(error)) == (grpc.StatusCode.DEADLINE_EXCEEDED, "deadline")
    outbox.half_closes()
    # The first call it hears of is the next one.
    call = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    assert request.method_path == "/demo.Greeter/Greet"
    peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_it_may_stream_its_answer(gateway, plain_peer):
    call = gateway.caller().Count(greeter.CountRequest(limit=3), timeout=PATIENCE_SECONDS)
    request = plain_peer.receives("request")
    for number in (1, 2, 3):
        plain_peer.answers(request, greeter.CountReply(number=number), streaming_info=STREAM_MORE)
        assert next(call).number == number
    plain_peer.answers(request, streaming_info=STREAM_END)
    assert list(call) == []


def test_ids_and_heartbeats_that_it_made_up_do_no_harm(gateway, plain_peer):
    plain_peer.sends(heartbeat=registry.Heartbeat(timestamp=-1, connection_id="my own name"))
    plain_peer.sends(status=registry.ConnectionStatus(connection_id="my own name"))
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    plain_peer.answers(plain_peer.receives("request"), hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_a_key_can_grant_streaming(start_gateway, start_peer):
    key = "the-key-of-a-program-that-does-not-ask"
    entry = {"id": "old", "sha256": hashlib.sha256(key.encode()).hexdigest(), "features": ["stream"]}
    gateway = start_gateway({"keys": [entry]})
    peer = start_peer(gateway, key=key)
    call = gateway.caller().Sum.future(
        iter([greeter.SumRequest(number=number) for number in (1, 2)]), timeout=PATIENCE_SECONDS)
    requests = [peer.receives("request") for _ in range(3)]
    assert [request.streaming_info.is_stream_end for request in requests] == [False, False, True]
    peer.answers(requests[0], greeter.SumReply(total=3))
    assert call.result(PATIENCE_SECONDS).total == 3
