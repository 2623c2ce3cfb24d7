"""The example services, called with plain gRPC: each of the four kinds of call."""
import os
import subprocess

import grpc
import pytest

from conftest import (
    EXAMPLE_CALLERS, EXAMPLE_SERVICES, LANGUAGES, PATIENCE_SECONDS, Outbox, failure, gateways, greet, greeter,
    programs, say)


@pytest.fixture(scope="module", params=LANGUAGES)
def gateway(request, tmp_path_factory):
    """One gateway with an example service for all of these tests: none of them leaves anything behind."""
    with gateways(tmp_path_factory.mktemp("gateway")) as start_gateway, programs() as start_program:
        gateway = start_gateway()
        start_program(EXAMPLE_SERVICES[request.param], gateway.address)
        yield gateway


@pytest.fixture
def caller(gateway):
    return gateway.caller()


def test_unary(caller):
    assert caller.Greet(greet("Ada"), timeout=PATIENCE_SECONDS).text == "Hello, Ada!"


def test_unary_with_metadata_that_the_service_reads(caller):
    german = [("accept-language", "de")]
    assert caller.Greet(greet("Ada"), metadata=german, timeout=PATIENCE_SECONDS).text == "Hallo, Ada!"


def test_server_streaming(caller):
    replies = caller.Count(greeter.CountRequest(limit=5), timeout=PATIENCE_SECONDS)
    assert [reply.number for reply in replies] == [1, 2, 3, 4, 5]


def test_server_streaming_without_a_message(caller):
    assert list(caller.Count(greeter.CountRequest(limit=0), timeout=PATIENCE_SECONDS)) == []


def test_client_streaming(caller):
    numbers = [greeter.SumRequest(number=number) for number in range(1, 101)]
    assert caller.Sum(iter(numbers), timeout=PATIENCE_SECONDS).total == 5050


@pytest.mark.parametrize("numbers", [[], [7]])
def test_client_streaming_of_none_and_of_one(caller, numbers):
    requests = iter([greeter.SumRequest(number=number) for number in numbers])
    assert caller.Sum(requests, timeout=PATIENCE_SECONDS).total == sum(numbers)


def test_bidirectional_streaming_turn_by_turn(caller):
    outbox = Outbox()
    replies = caller.Chat(iter(outbox), timeout=PATIENCE_SECONDS)
    for text in ("one", "two", "three"):
        outbox.says(say(text))
        assert next(replies).text == f"You said: {text}"
    outbox.half_closes()
    assert list(replies) == []
    assert replies.code() == grpc.StatusCode.OK


def test_empty_messages(caller):
    # Zero and the empty text encode to no bytes at all.
    outbox = Outbox()
    replies = caller.Chat(iter(outbox), timeout=PATIENCE_SECONDS)
    outbox.says(greeter.ChatMessage())
    assert next(replies).text == "You said: "
    outbox.half_closes()
    assert list(replies) == []
    assert caller.Sum(iter([greeter.SumRequest()] * 3), timeout=PATIENCE_SECONDS).total == 0


def test_messages_of_one_mebibyte(caller):
    text = "x" * (1 << 20)
    assert caller.Greet(greet(text), timeout=PATIENCE_SECONDS).text == f"Hello, {text}!"
    replies = caller.Chat(iter([say(text)] * 8), timeout=PATIENCE_SECONDS)
    assert [len(reply.text) for reply in replies] == [len("You said: ") + len(text)] * 8


def test_an_error_of_the_service(caller):
    error = failure(caller.Greet.future(greet(""), timeout=PATIENCE_SECONDS))
    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "one name, please")


def test_a_method_that_the_service_does_not_have(gateway):
    call = gateway.channel().unary_unary("/demo.Greeter/Nothing").future(b"", timeout=PATIENCE_SECONDS)
    error = failure(call)
    assert (error.code(), error.details()) == (
        grpc.StatusCode.UNIMPLEMENTED, "no method /demo.Greeter/Nothing")


@pytest.mark.parametrize("method", ["Greet", "Count", "Sum", "Chat"])
def test_a_method_that_fails(gateway, method):
    # A request that is no protobuf message does that. What went wrong is told to the log only.
    call = gateway.channel().unary_unary(f"/demo.Greeter/{method}").future(b"\xff", timeout=PATIENCE_SECONDS)
    error = failure(call)
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "the method failed")


def test_many_calls_in_a_row_lose_no_message(gateway):
    # Each call from a new connection, so that the gateway's workers take turns.
    for _ in range(100):
        numbers = iter([greeter.SumRequest(number=number) for number in (1, 2, 3)])
        caller = gateway.caller()
        assert caller.Sum(numbers, timeout=PATIENCE_SECONDS).total == 6


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language in EXAMPLE_CALLERS])
def test_the_example_caller(gateway, language):
    printed = subprocess.run(
        EXAMPLE_CALLERS[language],
        env=dict(os.environ, ADIT_ADDRESS=gateway.address),
        capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS)
    spelt = "InvalidArgument" if language == "go" else "INVALID_ARGUMENT"
    assert printed.stdout.splitlines() == [
        "Greet: Hello, Ada!",
        "Count: 1",
        "Count: 2",
        "Count: 3",
        "Sum: 6",
        "Chat: You said: hello",
        "Chat: You said: goodbye",
        f"Greet without a name: {spelt} one name, please",
    ]
