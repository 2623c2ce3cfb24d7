"""The access log: a line for each call, in both forms, and no more of them than are wanted."""
import json
import uuid

import grpc
import pytest

from conftest import (
    KEY, PATIENCE_SECONDS, eventually, failure, greet, hello, registry, values)

FIELDS = [
    "time", "method", "status", "reason", "duration_seconds", "overhead_seconds", "bytes_in", "bytes_out",
    "messages_in", "messages_out", "tunnel", "key", "request_id", "call_id", "remote"]
METHOD = "/demo.Greeter/Greet"


def from_text(line):
    """A line of the text form as the JSON form would have it."""
    words = dict(word.split("=", 1) for word in line.split(" "))
    numbers = ("duration_seconds", "overhead_seconds", "bytes_in", "bytes_out", "messages_in", "messages_out")
    return {name: None if value == "-" else json.loads(value) if name in numbers else value
            for name, value in words.items()}


def is_access(line):
    return line.startswith(("{", "time="))


def lines(gateway, count):
    """The first lines of the access log, once there are so many."""
    def found():
        return [line for line in gateway.lines if is_access(line)]
    eventually(lambda: len(found()) >= count, f"{count} lines of the access log")
    read = [json.loads(line) if line.startswith("{") else from_text(line) for line in found()]
    assert all(list(line) == FIELDS for line in read)
    return read


def greets(gateway, peer, **options):
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS, **options)
    request = peer.receives("request")
    peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()
    return request, call


@pytest.mark.parametrize("form", ["json", "text"])
def test_every_call_has_a_line_with_what_is_known_of_it(start_gateway, start_peer, form):
    gateway = start_gateway({"log": {"access": form}, "callers": {"require_key": True}})
    peer = start_peer(gateway)
    with_key = {"metadata": [("x-adit-key", KEY), ("authorization", "Bearer sesame")]}
    request, call = greets(gateway, peer, **with_key)
    line, = lines(gateway, 1)
    assert (line["method"], line["status"], line["reason"], line["key"]) == (METHOD, "OK", None, "env")
    sizes = (len(greet().SerializeToString()), len(hello().SerializeToString()))
    assert (line["bytes_in"], line["bytes_out"]) == sizes
    assert (line["messages_in"], line["messages_out"]) == (1, 1)
    assert 0 < line["overhead_seconds"] <= line["duration_seconds"] < PATIENCE_SECONDS
    assert line["tunnel"] == peer.connected.connection_id
    assert line["call_id"] == line["request_id"] == request.request_id
    assert values(call.initial_metadata(), "x-request-id") == [line["request_id"]]
    assert line["remote"].startswith("127.0.0.1:") and line["time"].endswith("Z")

    # The gateway ends one, and the caller brings a name of its own for it.
    options = {"metadata": [("x-request-id", "mine-1")], "timeout": PATIENCE_SECONDS}
    error = failure(gateway.caller().Greet.future(greet(), **options))
    assert values(error.trailing_metadata(), "x-request-id") == ["mine-1"]
    line = lines(gateway, 2)[1]
    assert (line["status"], line["reason"], line["key"]) == ("UNAUTHENTICATED", "no_credentials", None)
    assert (line["tunnel"], line["overhead_seconds"], line["request_id"]) == (None, None, "mine-1")
    assert uuid.UUID(line["call_id"]).version == 4

    # A peer calls.
    calling = start_peer(gateway, services=["demo.Calling"])
    calling.sends(request=registry.ForwardRequest(request_id="7", method_path="/demo.No Body/\n\u202e"))
    assert calling.receives("response").status_code == grpc.StatusCode.UNIMPLEMENTED.value[0]
    eventually(lambda: sum(map(is_access, gateway.lines)) == 3, "the third line")
    third = [line for line in gateway.lines if is_access(line)][2]
    escaped = r"/demo.No Body/\n\u{202e}"
    shown = json.dumps(escaped) if form == "json" else f'"{escaped}"'
    assert shown in third and "unknown_service" in third, third
    assert not [line for line in gateway.lines if "sesame" in line or KEY in line]


def test_a_flood_is_sampled_and_what_is_left_out_is_counted(start_gateway):
    gateway = start_gateway({"log": {"access": "json", "access_per_second_max": 5}})
    caller = gateway.channel().unary_unary("/demo.Nobody/Calls")
    calls = [caller.future(b"", timeout=PATIENCE_SECONDS) for _ in range(500)]
    for call in calls:
        assert failure(call).code() == grpc.StatusCode.UNIMPLEMENTED

    def written():
        return sum(line.startswith("{") for line in gateway.lines)

    def left_out():
        told = [line for line in gateway.lines if 'like="access"' in line]
        return sum(int(line.split("lines=")[1].split()[0]) for line in told)
    eventually(lambda: written() + left_out() == 500, "all calls, written or counted")
    assert 5 <= written() < 250
    assert gateway.stop() == 0
    assert f"access_lines_left_out={left_out()}" in gateway.line("run ended:")


def test_it_is_off_unless_it_is_switched_on_and_a_reload_switches_it(start_gateway, start_peer):
    gateway = start_gateway()
    peer = start_peer(gateway)
    greets(gateway, peer)
    settings = json.loads(gateway.config_path.read_text())
    settings["log"] = {"access": "text"}
    gateway.config_path.write_text(json.dumps(settings))
    gateway.line("configuration applied")
    assert not [line for line in gateway.lines if is_access(line)]
    request, _ = greets(gateway, peer)
    line, = lines(gateway, 1)
    assert line["call_id"] == request.request_id


def test_a_caller_that_goes_away_has_a_line(start_gateway, start_peer):
    gateway = start_gateway({"log": {"access": "json"}})
    peer = start_peer(gateway, features=["stream", "cancel"])
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    peer.receives("request")
    call.cancel()
    peer.receives("cancel")
    line, = lines(gateway, 1)
    assert (line["status"], line["reason"], line["overhead_seconds"]) == ("CANCELLED", "cancelled", None)
    assert (line["messages_in"], line["messages_out"]) == (1, 0)


def test_a_caller_whose_time_is_up_has_not_cancelled(start_gateway, start_peer):
    gateway = start_gateway({"log": {"access": "json"}})
    peer = start_peer(gateway, features=["stream", "cancel"])
    call = gateway.caller().Greet.future(greet(), timeout=0.5)
    peer.receives("request")
    assert failure(call).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    line, = lines(gateway, 1)
    assert (line["status"], line["reason"]) == ("DEADLINE_EXCEEDED", "deadline")
