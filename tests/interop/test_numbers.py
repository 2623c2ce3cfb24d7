"""Every number that the metrics listener shows, against a load whose counts are known."""
import grpc
import pytest
from conftest import (
    KEY, PATIENCE_SECONDS, STREAM_END, STREAM_MORE, STREAMING, Outbox, Peer, Window, eventually, failure,
    greet, hello, registry, say)

# Before each message of gRPC: a flag and a length.
PREFIX_BYTES = 5

GREET, CHAT, LOST = "demo.Greeter/Greet", "demo.Greeter/Chat", "demo.Lost/Do"


class CountingPeer(Peer):
    """A peer that remembers every frame of its tunnel, heartbeats apart."""

    def __init__(self, *arguments, **options):
        self.sent, self.received = [], []
        super().__init__(*arguments, **options)

    def sends(self, **frame):
        self.sent.append(registry.ConnectionMessage(**frame))
        super().sends(**frame)

    def receives(self, kind):
        part = super().receives(kind)
        self.received.append(registry.ConnectionMessage(**{kind: part}))
        return part


class Load:
    """So many calls of each kind, and what must be counted of them."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.peer = CountingPeer(gateway, features=STREAMING)
        self.id = self.peer.registered().connection_id
        self.caller = gateway.caller()
        self.channel = gateway.channel()

    def run(self):
        for _ in range(5):
            self.greets()
        for _ in range(2):
            self.is_not_found()
        self.chats(said=3, answered=4)
        for _ in range(3):
            self.calls_nobody()
        self.cancels()
        self.loses_its_tunnel()

    def greets(self):
        call = self.caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
        self.peer.answers(self.peer.receives("request"), hello())
        assert call.result(PATIENCE_SECONDS) == hello()

    def is_not_found(self):
        call = self.caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
        self.peer.answers(self.peer.receives("request"), status_code=5, error_message="nobody")
        assert failure(call).code() is grpc.StatusCode.NOT_FOUND

    def chats(self, said, answered):
        outbox = Outbox()
        call = self.caller.Chat(iter(outbox), timeout=PATIENCE_SECONDS)
        for _ in range(said):
            outbox.says(say("a"))
            request = self.peer.receives("request")
        outbox.half_closes()
        assert self.peer.receives("request").streaming_info.is_stream_end
        for _ in range(answered):
            self.peer.answers(request, say("bb"), streaming_info=STREAM_MORE)
        self.peer.answers(request, streaming_info=STREAM_END)
        assert [reply.text for reply in call] == ["bb"] * answered

    def calls_nobody(self):
        call = self.channel.unary_unary("/demo.Nobody/Do").future(b"", timeout=PATIENCE_SECONDS)
        assert failure(call).code() is grpc.StatusCode.UNIMPLEMENTED

    def cancels(self):
        call = self.caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
        request = self.peer.receives("request")
        call.cancel()
        self.peer.receives("cancel")
        # Until then the call keeps its place on the tunnel.
        self.peer.answers(request, status_code=1)

    def loses_its_tunnel(self):
        peer = Peer(self.gateway, services=["demo.Lost"])
        peer.registered()
        call = self.channel.unary_unary("/" + LOST).future(b"abc", timeout=PATIENCE_SECONDS)
        peer.receives("request")
        peer.breaks()
        assert failure(call).code() is grpc.StatusCode.UNAVAILABLE


# 5 greeted, 2 not found, 1 chat, 3 of nobody, 1 cancelled, 1 whose tunnel was lost.
CALLS = 13


@pytest.fixture
def load(gateway):
    load = Load(gateway)
    load.run()
    yield load
    load.peer.breaks()


@pytest.fixture
def window(gateway, load):
    window = Window(gateway)

    def is_over():
        calls = window.json("status")["calls"]
        return (calls["started"], calls["in_flight"]) == (CALLS, 0)

    eventually(is_over, f"{CALLS} calls have ended")
    return window


def test_calls_by_method_and_status(window):
    metrics = window.metrics()

    def ended(status, method):
        return metrics.one("grpc_server_call_duration_seconds_count", grpc_method=method, grpc_status=status)

    assert metrics.of("grpc_server_call_started_total", "grpc_method") == {
        GREET: 8, CHAT: 1, LOST: 1, "other": 3}
    assert [ended("OK", GREET), ended("NOT_FOUND", GREET), ended("CANCELLED", GREET)] == [5, 2, 1]
    assert [ended("OK", CHAT), ended("UNAVAILABLE", LOST), ended("UNIMPLEMENTED", "other")] == [1, 1, 3]
    assert metrics.sum("grpc_server_call_duration_seconds_count") == CALLS
    assert metrics.sum("rpc_server_call_duration_seconds_count") == CALLS
    assert metrics.one(
        "rpc_server_call_duration_seconds_count", rpc_system_name="grpc", rpc_method="_OTHER",
        rpc_status_code="UNIMPLEMENTED", error_type="UNIMPLEMENTED") == 3


def test_time_in_the_gateway_apart_from_the_service(window):
    metrics = window.metrics()
    assert metrics.of("gateway_call_overhead_seconds_count", "grpc_method") == {GREET: 7, CHAT: 1}
    duration = metrics.one("grpc_server_call_duration_seconds_sum", grpc_method=GREET, grpc_status="OK")
    assert 0 < metrics.one("gateway_call_overhead_seconds_sum", grpc_method=GREET) < duration * 2


def test_messages_and_bytes_of_calls(window):
    metrics = window.metrics()

    def total(which, method, status):
        return metrics.one(
            f"grpc_server_call_{which}_total_compressed_message_size_bytes_sum", grpc_method=method, grpc_status=status)

    assert total("rcvd", GREET, "OK") == 5 * greet().ByteSize()
    assert total("sent", GREET, "OK") == 5 * hello().ByteSize()
    assert total("rcvd", GREET, "NOT_FOUND") == 2 * greet().ByteSize()
    assert total("sent", GREET, "NOT_FOUND") == 0
    assert total("rcvd", CHAT, "OK") == 3 * say("a").ByteSize()
    assert total("sent", CHAT, "OK") == 4 * say("bb").ByteSize()
    messages = "gateway_call_messages_total"
    assert metrics.one(messages, service="demo.Greeter", direction="received") == 8 + 3
    assert metrics.one(messages, service="demo.Greeter", direction="sent") == 5 + 4


def test_what_the_gateway_ended_itself(window):
    metrics = window.metrics()
    errors = metrics.series("gateway_call_local_errors_total", "reason", "grpc_status")
    assert {labels: number for labels, number in errors.items() if number} == {
        ("unknown_service", "UNIMPLEMENTED"): 3,
        ("cancelled", "CANCELLED"): 1,
        ("tunnel_lost", "UNAVAILABLE"): 1,
    }


def test_services(window):
    services = {service["name"]: service for service in window.json("services")["services"]}
    greeter = services["demo.Greeter"]
    assert (greeter["calls_started"], greeter["calls_in_flight"]) == (9, 0)
    assert greeter["by_status"] == {"OK": 6, "NOT_FOUND": 2, "CANCELLED": 1}
    assert greeter["by_reason"] == {"cancelled": 1}
    assert greeter["tunnels"]["ready"] == 1 and greeter["per_second"] > 0
    assert (greeter["messages_in"], greeter["messages_out"]) == (11, 9)
    lost = services["demo.Lost"]
    assert (lost["by_status"], lost["by_reason"]) == ({"UNAVAILABLE": 1}, {"tunnel_lost": 1})


def test_the_tunnel(load, window):
    connection, = window.json("connections")["connections"]
    assert (connection["id"], connection["key_id"]) == (load.id, "env")
    assert connection["services"] == ["demo.Greeter"] and connection["dialect"] == "extended"
    assert connection["state"] == "ready"
    eventually(
        lambda: window.json("connections")["connections"][0]["calls_in_flight"] == 0, "no call is on the tunnel")
    connection, = window.json("connections")["connections"]
    assert connection["calls_started"] == 9
    assert connection["frames_in"] == len(load.peer.sent)
    assert connection["bytes_in"] == sum(PREFIX_BYTES + frame.ByteSize() for frame in load.peer.sent)
    assert connection["frames_out"] == len(load.peer.received)
    assert connection["bytes_out"] == sum(PREFIX_BYTES + frame.ByteSize() for frame in load.peer.received)
    eventually(
        lambda: window.json("connections")["connections"][0]["round_trip_seconds"] is not None, "a ping is answered")


def test_its_last_frames(load, window):
    page = window.json(f"connections/{load.id}")
    assert page["connection"]["id"] == load.id
    seen = {way: [frame for frame in page["frames"] if frame["direction"] == way] for way in ("in", "out")}
    assert [(f["kind"], f["bytes"]) for f in seen["in"]] == [
        (frame.WhichOneof("message_type"), PREFIX_BYTES + frame.ByteSize()) for frame in load.peer.sent]
    assert [f["kind"] for f in seen["out"]] == [
        frame.WhichOneof("message_type") for frame in load.peer.received]
    asked = [frame.request.request_id for frame in load.peer.received if frame.HasField("request")]
    assert [f["request_id"] for f in seen["out"] if f["kind"] == "request"] == asked


def test_frames_and_tunnels_by_service(load, window):
    metrics = window.metrics()

    def frames(direction, kind):
        return metrics.one("gateway_tunnel_frames_total", service="demo.Greeter", direction=direction, type=kind)

    def kinds(frames, kind):
        return sum(frame.HasField(kind) for frame in frames)

    assert frames("received", "register") == 1
    assert frames("received", "response") == kinds(load.peer.sent, "response")
    assert frames("sent", "request") == kinds(load.peer.received, "request")
    assert frames("sent", "cancel") == 1
    assert metrics.one("gateway_tunnels", service="demo.Greeter", state="ready") == 1
    assert metrics.one("gateway_tunnel_connects_total", result="ok") == 2
    assert metrics.sum("gateway_tunnel_disconnects_total") == 1


def test_a_closed_tunnel_is_remembered_with_its_reason(load, window):
    closed, = window.json("connections?state=closed")["connections"]
    assert closed["services"] == ["demo.Lost"] and closed["state"] == "closed"
    assert closed["reason"] in ("peer_left", "connection_reset") and closed["closed_at"]
    assert closed["calls_started"] == 1


def test_actors_and_their_messages(window):
    kinds = {kind["kind"]: kind for kind in window.json("actors")["kinds"]}
    assert kinds["entry"]["messages"]["Admit"] == CALLS
    assert kinds["registry"]["messages"]["ForwardRequest"] >= CALLS - 1
    assert kinds["connection"]["started"] == 2 and kinds["connection"]["alive"] == 1
    assert kinds["pending"]["started"] == CALLS
    assert kinds["registry"]["alive"] == kinds["entry"]["alive"] == kinds["heartbeat"]["alive"]

    def is_quiet():
        totals = window.json("actors")["kinds"]
        return all(kind["mailbox_depth"] == 0 for kind in totals) and not kinds_named(totals, "pending")["alive"]

    eventually(is_quiet, "nobody has anything left to do")
    for kind in window.json("actors")["kinds"]:
        assert kind["panics"] == 0
        assert kind["messages_handled"] == sum(kind["messages"].values()) == kind["handle"]["count"]
        assert kind["wait"]["count"] <= kind["handle"]["count"]
        assert kind["started"] - kind["stopped"] == kind["alive"]


def kinds_named(kinds, name):
    return next(kind for kind in kinds if kind["kind"] == name)


def test_each_actor(load, window):
    page = window.json("actors?kind=connection")
    actor, = page["actors"]
    assert (actor["id"], actor["kind"], actor["stuck"]) == (load.id, "connection", False)
    assert actor["arbiter"] == window.json("connections")["connections"][0]["worker"]
    assert actor["messages_handled"] > 0 and actor["mailbox_depth"] == 0
    arbiters = window.json("actors")["arbiters"]
    assert [arbiter["arbiter"] for arbiter in arbiters] == list(range(len(arbiters)))
    page = window.json("actors?sort=handled&limit=2")
    handled = [actor["messages_handled"] for actor in page["actors"]]
    assert len(handled) == 2 <= page["matched"] and handled == sorted(handled, reverse=True)
    alone = window.json("actors?arbiter=0")["actors"]
    assert alone and all(actor["arbiter"] == 0 for actor in alone)


def test_status_agrees_with_the_line_at_the_end_of_the_log(gateway, window):
    counts = window.json("status")["counts"]
    assert counts["calls_answered"] == 8 and counts["calls_started"] == CALLS
    gateway.hang_up()
    assert gateway.stop() == 0
    line = gateway.line("run ended:")
    assert f"calls_started={CALLS} calls_answered=8" in line


def test_keys_appear_nowhere(gateway, window):
    pages = ["metrics", "status", "actors", "connections?state=all", "services", "topics", "version", "config"]
    for page in pages:
        assert KEY not in window.text(page), page
    assert KEY not in "\n".join(gateway.lines)
