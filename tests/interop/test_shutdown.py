"""A gateway that is asked to stop: what runs may finish, nothing new begins."""
import signal
import threading

import grpc

from conftest import (
    PATIENCE_SECONDS, STREAM_END, STREAM_MORE, STREAMING, Gateway, Peer, eventually, failure, greet,
    greeter, hello, reason, stream_failure)


def test_an_idle_gateway_stops_at_once(gateway):
    listening = gateway.lines.index(gateway.line("listening:"))
    assert gateway.stop() == 0
    assert not [line for line in gateway.lines[listening:] if " WARN " in line or " ERROR " in line]


def test_a_running_call_finishes(gateway, peer):
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")

    gateway.signal(signal.SIGTERM)
    gateway.line("draining:")

    peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()
    assert peer.ended().code() == grpc.StatusCode.UNAVAILABLE
    assert gateway.exit_code() == 0


def test_a_running_stream_finishes(gateway, peer):
    call = gateway.caller().Count(greeter.CountRequest(limit=2), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    peer.answers(request, greeter.CountReply(number=1), streaming_info=STREAM_MORE)
    assert next(call).number == 1

    gateway.signal(signal.SIGTERM)
    gateway.line("draining:")

    peer.answers(request, greeter.CountReply(number=2), streaming_info=STREAM_MORE)
    assert next(call).number == 2
    peer.answers(request, streaming_info=STREAM_END)
    assert list(call) == []
    assert gateway.exit_code() == 0


def test_nothing_new_begins(gateway, peer):
    caller = gateway.caller()
    running = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")

    gateway.signal(signal.SIGTERM)
    gateway.line("draining:")

    def serve_calls_that_were_quicker():
        while (frame := peer.frames.get()) is not None:
            peer.answers(frame.request, hello())

    # The line comes before every worker has heard of it. A call in between begins, and is served.
    threading.Thread(target=serve_calls_that_were_quicker, daemon=True).start()
    # On the old connection the gateway says so; to a new one nobody listens.
    for late in (caller, gateway.caller()):
        eventually(
            lambda: late.Greet.future(greet(), timeout=PATIENCE_SECONDS).code() == grpc.StatusCode.UNAVAILABLE,
            "a refusal")
    peer.answers(request, hello())
    assert running.result(PATIENCE_SECONDS) == hello()
    assert gateway.exit_code() == 0


def test_a_call_that_does_not_finish_ends_with_the_grace(start_gateway, start_peer):
    gateway = start_gateway({"drain": {"grace": "300ms"}})
    peer = start_peer(gateway, features=STREAMING)
    call = gateway.caller().Count(greeter.CountRequest(limit=2), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    peer.answers(request, greeter.CountReply(number=1), streaming_info=STREAM_MORE)
    assert next(call).number == 1

    gateway.signal(signal.SIGTERM)
    replies, error = stream_failure(call)
    assert replies == []
    # Not "draining": that is for calls that never ran, and the service has begun this one.
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "tunnel_lost")
    assert peer.receives("cancel").request_id == request.request_id
    assert gateway.exit_code() == 0
    gateway.line("drain forced")


def test_a_signal_to_the_process_and_to_its_group_is_one(gateway, peer):
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")

    gateway.signal(signal.SIGTERM)
    gateway.signal(signal.SIGTERM)
    gateway.line("draining:")

    peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()
    assert gateway.exit_code() == 0


def test_a_second_signal_ends_it_at_once(tmp_path):
    gateway = Gateway(tmp_path)
    peer = Peer(gateway)
    peer.registered()
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    peer.receives("request")
    gateway.signal(signal.SIGTERM)
    gateway.line("draining:")
    gateway.signal(signal.SIGINT)
    assert gateway.exit_code() == 1
    assert failure(call).code() == grpc.StatusCode.UNAVAILABLE
    peer.breaks()
    gateway.hang_up()
