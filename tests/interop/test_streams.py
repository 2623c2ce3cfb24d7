"""Streams, frame by frame: who half-closes when, who answers early, what a message may be."""
import threading

import grpc
import pytest

from conftest import (
    BIDIRECTIONAL, PATIENCE_SECONDS, STREAM_END, STREAM_MORE, STREAMING, UNARY, Outbox, failure, greet,
    greeter, hello, reason, registry, say, stream_failure)


def form(request):
    info = request.streaming_info
    return info.stream_type, info.sequence_number, info.is_stream_end


def test_a_call_of_one_message_is_one_frame(gateway, peer):
    # A caller sends the half-close with or after its message; only the first makes it one frame.
    call = gateway.caller().Greet.future(greet("Ada"), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    assert request.method_path == "/demo.Greeter/Greet"
    assert greeter.GreetRequest.FromString(request.payload).name == "Ada"
    assert not request.compressed
    if form(request) != (UNARY, 0, True):
        assert form(request) == (BIDIRECTIONAL, 0, False)
        end = peer.receives("request")
        assert form(end) == (BIDIRECTIONAL, 1, True)
        assert not end.payload
    peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_the_caller_half_closes_first(gateway, peer):
    outbox = Outbox()
    call = gateway.caller().Chat(iter(outbox), timeout=PATIENCE_SECONDS)

    outbox.says(say("one"))
    first = peer.receives("request")
    assert form(first) == (BIDIRECTIONAL, 0, False)
    peer.answers(first, say("1"), streaming_info=STREAM_MORE)
    assert next(call).text == "1"

    outbox.says(say("two"))
    second = peer.receives("request")
    assert form(second) == (BIDIRECTIONAL, 1, False)
    assert second.request_id == first.request_id

    outbox.half_closes()
    end = peer.receives("request")
    assert form(end) == (BIDIRECTIONAL, 2, True)
    assert end.payload == b""

    # The service may go on for as long as it likes.
    peer.answers(first, say("2"), streaming_info=STREAM_MORE)
    assert next(call).text == "2"
    peer.answers(first, streaming_info=STREAM_END)
    assert list(call) == []
    assert call.code() == grpc.StatusCode.OK


def test_the_service_completes_its_answer_first(gateway, peer):
    outbox = Outbox()
    call = gateway.caller().Chat(iter(outbox), timeout=PATIENCE_SECONDS)
    outbox.says(say("one"))
    request = peer.receives("request")
    peer.answers(request, say("1"), streaming_info=STREAM_END)
    assert [reply.text for reply in call] == ["1"]
    assert call.code() == grpc.StatusCode.OK

    # What the caller still says has nowhere to go; the tunnel is none the worse for it.
    outbox.says(say("late"))
    outbox.half_closes()
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    assert request.method_path == "/demo.Greeter/Greet"
    peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_the_service_answers_before_the_callers_last_message(gateway, peer):
    outbox = Outbox()
    call = gateway.caller().Sum.future(iter(outbox), timeout=PATIENCE_SECONDS)
    outbox.says(greeter.SumRequest(number=1))
    request = peer.receives("request")
    peer.answers(request, greeter.SumReply(total=42))
    assert call.result(PATIENCE_SECONDS).total == 42
    outbox.half_closes()


def test_the_service_refuses_before_the_callers_last_message(gateway, peer):
    outbox = Outbox()
    call = gateway.caller().Sum.future(iter(outbox), timeout=PATIENCE_SECONDS)
    outbox.says(greeter.SumRequest(number=1))
    peer.answers(peer.receives("request"), status_code=11, error_message="too much")
    error = failure(call)
    assert (error.code(), error.details()) == (grpc.StatusCode.OUT_OF_RANGE, "too much")
    outbox.half_closes()


def test_a_call_without_a_message_is_its_half_close(gateway, peer):
    call = gateway.caller().Sum.future(iter([]), timeout=PATIENCE_SECONDS)
    end = peer.receives("request")
    assert form(end) == (BIDIRECTIONAL, 0, True)
    assert end.payload == b""
    peer.answers(end, greeter.SumReply())
    assert call.result(PATIENCE_SECONDS).total == 0


def test_empty_messages_are_messages(gateway, peer):
    outbox = Outbox()
    call = gateway.caller().Chat(iter(outbox), timeout=PATIENCE_SECONDS)
    for sequence in range(3):
        outbox.says(greeter.ChatMessage())
        request = peer.receives("request")
        assert (request.payload, form(request)) == (b"", (BIDIRECTIONAL, sequence, False))
    peer.answers(request, streaming_info=STREAM_MORE)
    assert next(call) == greeter.ChatMessage()
    # The last frame has a message only if its payload is not empty.
    peer.answers(request, streaming_info=STREAM_END)
    assert list(call) == []
    outbox.half_closes()


def test_an_empty_reply_is_a_reply(gateway, peer):
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    peer.answers(peer.receives("request"))
    assert call.result(PATIENCE_SECONDS) == greeter.GreetReply()


def test_one_message_in_slices(gateway, peer):
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    whole = hello("x" * 1000).SerializeToString()
    slices = [whole[:400], whole[400:800], whole[800:]]
    for index, piece in enumerate(slices):
        peer.sends(response=registry.ForwardResponse(
            request_id=request.request_id, payload=piece,
            response_stream_info=registry.ResponseStreamInfo(
                is_streamed=True, chunk_index=index, is_final_chunk=index == len(slices) - 1)))
    assert call.result(PATIENCE_SECONDS) == hello("x" * 1000)


@pytest.mark.parametrize("bytes_sent", [1 << 20, (4 << 20) - 1024])
def test_large_messages(gateway, peer, bytes_sent):
    text = "x" * bytes_sent
    call = gateway.caller().Greet.future(greet(text), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    assert greeter.GreetRequest.FromString(request.payload).name == text
    peer.answers(request, hello(text))
    assert call.result(PATIENCE_SECONDS) == hello(text)


def test_a_message_over_the_limit(gateway, peer):
    call = gateway.caller().Greet.future(greet("x" * (4 << 20)), timeout=PATIENCE_SECONDS)
    error = failure(call)
    assert (error.code(), reason(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "message_too_large")


def test_an_answer_over_the_limit_ends_its_call_only(gateway, peer):
    caller = gateway.caller()
    call = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    peer.answers(request, hello("x" * (4 << 20)), streaming_info=STREAM_MORE)
    error = failure(call)
    assert (error.code(), reason(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "message_too_large")
    assert peer.receives("cancel").request_id == request.request_id

    call = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
    peer.answers(peer.receives("request"), hello("x" * (4 << 20)))
    error = failure(call)
    assert (error.code(), reason(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "message_too_large")

    # That answer was complete: there was nothing left to cancel.
    call = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
    peer.answers(peer.receives("request"), hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def test_frames_for_no_call_are_dropped(gateway, peer):
    peer.sends(response=registry.ForwardResponse(request_id="never heard of", payload=b"x"))
    peer.sends(response=registry.ForwardResponse(request_id="", status_code=13))
    peer.sends()
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    peer.answers(request, hello())
    peer.answers(request, hello("once more"))
    assert call.result(PATIENCE_SECONDS) == hello()


def test_frames_of_one_call_arrive_in_order_whatever_worker_it_is_on(gateway, start_peer):
    peer = start_peer(gateway, features=STREAMING)
    texts = [str(number) for number in range(20)]

    def echo():
        for _ in range(50):
            for sequence in range(len(texts) + 1):
                request = peer.receives("request")
                seen.append(request.streaming_info.sequence_number)
                if request.streaming_info.is_stream_end:
                    peer.answers(request, streaming_info=STREAM_END)
                    break
                peer.sends(response=registry.ForwardResponse(
                    request_id=request.request_id, payload=request.payload, streaming_info=STREAM_MORE))

    seen = []
    service = threading.Thread(target=echo, daemon=True)
    service.start()
    for _ in range(50):
        call = gateway.caller().Chat(iter([say(text) for text in texts]), timeout=PATIENCE_SECONDS)
        assert [reply.text for reply in call] == texts
    assert seen == list(range(len(texts) + 1)) * 50
