"""Events of programs that keep no tunnel: they publish and listen by calls."""
import os
import signal
import time

import grpc
import pytest

from conftest import (
    EXAMPLE_EVENT_SERVICE, KEY, PATIENCE_SECONDS, Outbox, Window, eventually, failure, gateways, reason,
    registry, stream_failure)
from event_calls import (
    Code, Subscription, events, publish, publish_all, refusal, request, stub)

SUBSCRIBE = registry.SubscriptionRequest.SUBSCRIBE
MIB = 1024 * 1024


@pytest.fixture
def channel(gateway):
    return gateway.channel()


@pytest.fixture
def window(gateway):
    return Window(gateway)


def nothing_is_left(window):
    """Waits until nobody publishes or listens."""
    def is_idle():
        metrics = window.metrics()
        return (window.json("topics")["topics"] == []
                and metrics.one("gateway_bus_subscribers") == metrics.one("gateway_bus_streams") == 0)
    eventually(is_idle, "nobody publishes or listens")


# Publish


def test_an_event_reaches_who_listens_with_an_id_and_a_time(gateway, channel):
    subscription = Subscription(gateway.channel(), "orders.*.paid")
    assert not subscription.missed
    told = publish(channel, "orders.eu.paid", payload=b"\x00\xff", metadata={"ce-type": "paid", "Any Name": "ü"})
    assert (told.subscribers, told.duplicate) == (1, False)
    event = subscription.receives()
    assert event.id == told.event_id and len(event.id) == 36
    assert (event.topic, event.payload) == ("orders.eu.paid", b"\x00\xff")
    assert dict(event.metadata) == {"ce-type": "paid", "Any Name": "ü"}
    assert abs(event.timestamp - time.time()) < 60


def test_its_own_id_and_time_are_kept_and_the_publisher_is_the_connection(gateway, channel):
    subscription = Subscription(gateway.channel(), "a")
    for number in range(2):
        told = publish(channel, "a", id=f"mine-{number}", timestamp=-7, publisher_id="somebody else")
        assert told.event_id == f"mine-{number}"
    publish(gateway.channel(), "a")
    first, second, other = (subscription.receives() for _ in range(3))
    assert (first.id, first.timestamp) == ("mine-0", -7)
    assert first.publisher_id == second.publisher_id != other.publisher_id
    assert "somebody else" not in (first.publisher_id, other.publisher_id)


def test_each_subscriber_is_counted_and_none_is_no_error(gateway, channel):
    assert publish(channel, "a.b").subscribers == 0
    heard = [Subscription(gateway.channel(), topic) for topic in ("a.b", "a.*", "#", "b")]
    assert publish(channel, "a.b", id="1").subscribers == 3
    assert [subscription.ids(1) for subscription in heard[:3]] == [["1"]] * 3


@pytest.mark.parametrize(("sent", "code", "told", "text"), [
    (request(""), Code.INVALID_ARGUMENT, "bad_event", 'topic "": '),
    (request("a..b"), Code.INVALID_ARGUMENT, "bad_event", 'topic "a..b": '),
    (request("a.*"), Code.INVALID_ARGUMENT, "bad_event", 'topic "a.*": '),
    (request("ü" * 128), Code.INVALID_ARGUMENT, "bad_event", f'topic "{"ü" * 127}": '),
    (request("a", id="i" * 129), Code.INVALID_ARGUMENT, "bad_event", 'topic "a": an event_id has 128 bytes at most'),
    (request("adit.x"), Code.PERMISSION_DENIED, "scope", 'topic "adit.x": '),
    (request("a", payload=b"x" * (MIB + 1)), Code.RESOURCE_EXHAUSTED, "message_too_large", 'topic "a": '),
    (request("a", payload=b"x" * 2 * MIB), Code.RESOURCE_EXHAUSTED, "message_too_large", ""),
    (request("a", metadata={f"name-{number}": "" for number in range(129)}),
     Code.RESOURCE_EXHAUSTED, "metadata_too_large", 'topic "a": '),
    (request("a", metadata={"name": "x" * 64 * 1024}), Code.RESOURCE_EXHAUSTED, "metadata_too_large", 'topic "a": '),
    (events.PublishRequest(topic="a"), Code.INVALID_ARGUMENT, "bad_event", "there is neither event nor cloud_event"),
], ids=["empty", "empty word", "wildcard", "256 bytes", "long id", "reserved", "large", "larger than an event",
        "many pairs", "large metadata", "nothing"])
def test_what_is_refused_is_told_with_its_topic(gateway, channel, sent, code, told, text):
    assert refusal(stub(channel).Publish, sent)[:2] == (code, told)
    assert refusal(stub(channel).Publish, sent)[2].startswith(text)
    # In a stream it is told, unless it is no event at all, and the stream goes on.
    if text:
        answer = publish_all(channel, [request("a"), sent, request("a")])
        assert (answer.accepted, answer.no_subscriber, answer.rejected) == (0, 2, 1)
        rejection = answer.rejections[0]
        assert (rejection.index, rejection.code) == (1, code.value[0])
        assert rejection.message.startswith(text)
    else:
        assert refusal(publish_all, channel, [request("a"), sent])[:2] == (code, told)


def test_the_largest_event_passes(gateway, channel):
    subscription = Subscription(gateway.channel(), "#")
    topic = ".".join(["x" * 63] * 3 + ["x" * 63])
    payload, metadata = os.urandom(MIB), {"name": "x" * 8000}
    assert publish(channel, topic, id="i" * 128, payload=payload, metadata=metadata).subscribers == 1
    event = subscription.receives()
    assert (event.payload, event.topic, dict(event.metadata)) == (payload, topic, metadata)


def test_an_event_that_comes_twice_is_told_where_it_is_delivered_once(start_gateway):
    gateway = start_gateway({"events": {"deduplicate": True}})
    channel = gateway.channel()
    subscription = Subscription(gateway.channel(), "a")
    assert not publish(channel, "a", id="1").duplicate
    told = publish(channel, "a", id="1")
    assert (told.event_id, told.duplicate, told.subscribers) == ("1", True, 0)
    answer = publish_all(channel, [request("a", id="1"), request("a", id="2")])
    assert (answer.accepted, answer.rejected) == (2, 0)
    # Another connection is another publisher.
    assert not publish(gateway.channel(), "a", id="1").duplicate
    assert subscription.ids(3) == ["1", "2", "1"]


# PublishStream


def test_a_stream_keeps_its_order_and_counts_what_became_of_each(gateway, channel):
    subscription = Subscription(gateway.channel(), "heard")
    sent = [request("heard" if number % 3 else "unheard", id=str(number)) for number in range(3_000)]
    sent[1_501] = request("no..topic", id="bad")
    answer = publish_all(channel, sent)
    assert (answer.accepted, answer.no_subscriber, answer.rejected) == (1_999, 1_000, 1)
    [rejection] = answer.rejections
    assert (rejection.index, rejection.event_id, rejection.topic) == (1_501, "bad", "no..topic")
    assert (rejection.code, rejection.message) == (
        Code.INVALID_ARGUMENT.value[0], 'topic "no..topic": between two dots of a topic there is a word')
    assert subscription.ids(1_999) == [str(n) for n in range(3_000) if n % 3 and n != 1_501]


def test_an_empty_stream_is_no_error(channel):
    assert publish_all(channel, []) == events.PublishStreamResponse()


def test_a_hundred_rejections_are_told_at_most(channel):
    answer = publish_all(channel, [request(f"*.{number}") for number in range(150)])
    assert answer.rejected == 150
    assert [rejection.index for rejection in answer.rejections] == list(range(100))


def test_who_stops_midway_has_published_a_beginning(gateway, channel, window):
    subscription = Subscription(gateway.channel(), "a")
    outbox = Outbox()
    call = stub(channel).PublishStream.future(iter(outbox))
    for number in range(100):
        outbox.says(request("a", id=str(number)))
    # Each comes while the stream lasts, and not at its end.
    assert subscription.ids(100) == [str(number) for number in range(100)]
    call.cancel()
    outbox.half_closes()
    subscription.leaves()
    nothing_is_left(window)


def test_events_large_and_small_keep_their_order_on_several_workers(start_gateway):
    gateway = start_gateway({"workers": 2})
    subscriptions = [Subscription(gateway.channel(), "#") for _ in range(4)]
    sent = [request("a", id=str(number), payload=b"x" * (60_000 if number % 10 == 0 else 10)) for number in range(300)]
    answer = publish_all(gateway.channel(), sent)
    assert answer.accepted == 300
    for subscription in subscriptions:
        assert subscription.ids(300) == [str(number) for number in range(300)]


# Subscribe


def test_tunnels_and_callers_hear_each_other(gateway, channel, start_peer):
    peer = start_peer(gateway, services=[], features=["event_ack"])
    subscription = Subscription(channel, "from.tunnel")
    peer.sends(event=registry.EventMessage(
        event_type="from.tunnel", event_id="1", payload=b"up",
        metadata={"ce-type": "paid", "content-type": "text/plain"}))
    assert peer.receives("event_ack").subscribers == 1
    event = subscription.receives()
    assert (event.id, event.payload, event.publisher_id) == ("1", b"up", peer.connected.connection_id)
    assert dict(event.metadata) == {"ce-type": "paid", "content-type": "text/plain"}

    peer.sends(subscription=registry.SubscriptionRequest(action=SUBSCRIBE, event_types=["to.#"]))
    eventually(lambda: publish(channel, "to.tunnel", id="2", payload=b"down").subscribers == 1, "the tunnel listens")
    event = peer.receives("event")
    assert (event.event_id, event.event_type, event.payload) == ("2", "to.tunnel", b"down")


def test_who_listens_to_several_patterns_gets_one_copy(gateway, channel):
    subscription = Subscription(gateway.channel(), "a.b", "a.*", "#", "a.b")
    assert publish(channel, "a.b", id="1").subscribers == 1
    assert publish(channel, "b", id="2").subscribers == 1
    assert subscription.ids(2) == ["1", "2"]


@pytest.mark.parametrize(("topics", "code", "told", "text"), [
    ([], Code.INVALID_ARGUMENT, "bad_event", 'topic ""'),
    ([f"t{number}" for number in range(257)], Code.RESOURCE_EXHAUSTED, "topic_limit", "256 subscriptions at most"),
    (["x" * 256], Code.INVALID_ARGUMENT, "bad_event", "255 bytes"),
    (["fine", "a..b"], Code.INVALID_ARGUMENT, "bad_event", 'topic "a..b"'),
], ids=["none", "257", "256 bytes", "empty word"])
def test_a_bad_subscription_is_refused_as_a_whole(channel, window, topics, code, told, text):
    refused = refusal(Subscription, channel, *topics)
    assert refused[:2] == (code, told)
    assert text in refused[2]
    nothing_is_left(window)


def test_256_topics_are_heard(gateway, channel):
    subscription = Subscription(gateway.channel(), *(f"t.{number}" for number in range(256)))
    assert publish(channel, "t.0", id="first").subscribers == publish(channel, "t.255", id="last").subscribers == 1
    assert subscription.ids(2) == ["first", "last"]


def test_a_position_of_too_many_ids_is_refused(channel):
    refused = refusal(Subscription, channel, "a", after=[str(number) for number in range(1_001)])
    assert refused == (Code.INVALID_ARGUMENT, "bad_event", "a position has 1000 event ids at most")


def test_one_topic_too_many_is_refused_and_nothing_of_it_stays(start_gateway):
    gateway = start_gateway({"limits": {"topics_max": 2}})
    refused = refusal(Subscription, gateway.channel(), "a", "b", "c")
    assert refused[:2] == (Code.RESOURCE_EXHAUSTED, "topic_limit")
    nothing_is_left(Window(gateway))


def test_who_does_not_read_is_told_what_it_missed_and_others_miss_nothing(start_gateway):
    gateway = start_gateway({"limits": {"subscriber_queue_events_max": 8}})
    window = Window(gateway)
    slow, quick = Subscription(gateway.channel(), "#", reads=False), Subscription(gateway.channel(), "#")
    channel, sent = gateway.channel(), 0

    def dropped():
        return window.metrics().one("gateway_bus_dropped_total", reason="queue_full")

    while not dropped():
        publish(channel, "a", id=str(sent), payload=b"x" * 200_000)
        assert quick.receives().id == str(sent)
        sent += 1
    slow.reads()
    heard, missed = [], 0
    while len(heard) + missed < sent:
        message = slow.messages.get(timeout=PATIENCE_SECONDS)
        if message.HasField("missed"):
            assert message.missed.topic == "a"
            missed += message.missed.count
        else:
            assert message.event.id == str(len(heard) + missed)
            heard.append(message.event.id)
    assert missed == dropped() >= 1
    assert publish(channel, "a", id="after").subscribers == 2
    assert slow.ids(1) == quick.ids(1) == ["after"]


def test_who_reads_nothing_for_too_long_is_let_go(start_gateway):
    gateway = start_gateway({"limits": {"slow_consumer_timeout": "300ms", "subscriber_queue_events_max": 8}})
    window, channel = Window(gateway), gateway.channel()
    slow = Subscription(gateway.channel(), "#", reads=False)

    def is_let_go():
        return publish(channel, "a", payload=b"x" * 200_000).subscribers == 0 and not window.json("topics")["topics"]

    def publish_until_let_go():
        try:
            return is_let_go()
        except grpc.RpcError as error:
            assert reason(error) == "queue_full"
            return False
    eventually(publish_until_let_go, "it is let go")
    assert window.metrics().one("gateway_limit_hits_total", limit="slow_consumer_timeout") == 1
    slow.reads()
    assert slow.ended()[0] == Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_leaving_frees_everything(gateway, window, how):
    channels = [gateway.channel() for _ in range(5)]
    subscriptions = [Subscription(channel, "a.#", f"b.{number}") for number, channel in enumerate(channels)]
    metrics = window.metrics()
    assert (metrics.one("gateway_bus_subscribers"), metrics.one("gateway_bus_streams")) == (5, 5)
    assert len({topic["topic"] for topic in window.json("topics")["topics"]}) == 6
    for channel, subscription in zip(channels, subscriptions):
        subscription.leaves() if how == "cancel" else channel.close()
    nothing_is_left(window)


def test_a_deadline_ends_a_subscription(gateway, window):
    subscription = Subscription(gateway.channel(), "a", timeout=1)
    assert subscription.ended()[0] == Code.DEADLINE_EXCEEDED
    nothing_is_left(window)


# The whole service


def test_there_is_a_last_place_among_all_streams(start_gateway):
    gateway = start_gateway({"workers": 2, "limits": {"event_streams_max": 2}})
    subscriptions = [Subscription(gateway.channel(), "a") for _ in range(2)]
    for _ in range(4):
        assert refusal(publish, gateway.channel(), "a")[:2] == (Code.RESOURCE_EXHAUSTED, "inflight_limit")
    subscriptions[0].leaves()
    channel = gateway.channel()

    def is_admitted():
        try:
            return publish(channel, "a").subscribers == 1
        except grpc.RpcError as error:
            assert reason(error) == "inflight_limit"
            return False
    eventually(is_admitted, "its place is free")
    assert Window(gateway).metrics().one("gateway_limit_hits_total", limit="event_streams_max") >= 4


@pytest.mark.parametrize(("config", "is_served"), [
    ({"listeners": [{"address": "127.0.0.1:0", "events": False}]}, False),
    ({"listeners": [{"address": "0.0.0.0:0"}], "callers": {"require_key": False}}, False),
    ({"listeners": [{"address": "0.0.0.0:0", "events": True}], "callers": {"require_key": False}}, True),
])
def test_a_listener_serves_it_or_not(start_gateway, config, is_served):
    gateway = start_gateway(config)
    channel = gateway.channel()
    if is_served:
        assert publish(channel, "a").subscribers == 0
    else:
        assert refusal(publish, channel, "a")[:2] == (Code.UNIMPLEMENTED, "unknown_service")
        assert refusal(Subscription, channel, "a")[:2] == (Code.UNIMPLEMENTED, "unknown_service")


def test_what_is_no_message_of_the_contract_is_told_with_a_reason(gateway, channel):
    def call(method, message=b"\xff", **options):
        return refusal(channel.unary_unary(f"/adit.events.v1.EventService/{method}"), message, **options)[:2]

    for method in ("Publish", "PublishStream", "Subscribe"):
        assert call(method) == (Code.INVALID_ARGUMENT, "bad_event")
        assert call(method, b"\xff" * 1_000, compression=grpc.Compression.Gzip) == (Code.UNIMPLEMENTED, "unsupported_encoding")
    assert call("Nothing") == (Code.UNIMPLEMENTED, "unknown_service")
    assert publish(channel, "a").subscribers == 0


@pytest.mark.parametrize("method", ["Publish", "Subscribe"])
def test_a_request_whose_message_does_not_come_ends(start_gateway, method):
    gateway = start_gateway({"limits": {"message_timeout": "300ms"}})
    outbox = Outbox()
    call = gateway.channel().stream_stream(f"/adit.events.v1.EventService/{method}")(iter(outbox))
    assert stream_failure(call)[1].code() == Code.DEADLINE_EXCEEDED
    assert reason(call) == "deadline"
    outbox.half_closes()
    nothing_is_left(Window(gateway))


def test_a_drain_ends_subscriptions_and_streams(gateway):
    subscription = Subscription(gateway.channel(), "a")
    outbox = Outbox()
    call = stub(gateway.channel()).PublishStream.future(iter(outbox))
    outbox.says(request("a", id="1"))
    assert subscription.ids(1) == ["1"]
    gateway.signal(signal.SIGTERM)
    assert subscription.ended() == (Code.UNAVAILABLE, "draining")
    error = failure(call)
    assert (error.code(), reason(error)) == (Code.UNAVAILABLE, "draining")
    assert error.details() == "the gateway is shutting down; 1 events were taken"
    metadata = dict(error.trailing_metadata())
    assert "grpc-retry-pushback-ms" not in metadata, "a part of it has run"
    outbox.half_closes()
    assert gateway.exit_code() == 0


# The example


def test_the_example_publishes_and_subscribes(start_gateway, start_program):
    gateway = start_gateway({"callers": {"require_key": True}, "events": {"keep_events": 3}})

    def start(*arguments, key=KEY):
        command = [*EXAMPLE_EVENT_SERVICE, *arguments]
        return start_program(command, gateway.address, let_in=False, environment={"ADIT_CALLER_KEY": key})

    def published(topic, text):
        program = start("publish", topic, text)
        return program.exit_code(), program.lines

    listening = start("subscribe", "orders.#", "news")
    listening.line("listening")
    code, [line] = published("orders.eu.paid", "number 1")
    assert code == 0 and line.endswith(": 1 subscribers")
    first = line.split()[1].rstrip(":")
    listening.line(f"orders.eu.paid {first} number 1")
    published("orders.eu.paid", "number 2")

    after = start("subscribe", "orders.#", "--after", first)
    assert after.line(" number ").endswith(" number 2") and after.lines[0] == "listening"
    kept = start("subscribe", "orders.#", "--kept")
    assert kept.line(" number ", 2).endswith(" number 2")
    unknown = start("subscribe", "orders.#", "--after", "gone")
    unknown.line("listening: some events before this are not kept")

    assert published("adit.own", "x") == (
        1, ['refused: PERMISSION_DENIED topic "adit.own": names that begin with `adit` are the gateway\'s own'])
    stranger = start("subscribe", "#", key="")
    assert stranger.exit_code() == 1
    stranger.line("call ended: UNAUTHENTICATED")


def test_the_example_comes_back_to_another_gateway(tmp_path, start_program):
    with gateways(tmp_path) as start:
        first = start()
        port = int(first.address.rsplit(":", 1)[1])
        listening = start_program([*EXAMPLE_EVENT_SERVICE, "subscribe", "#"], first.address, let_in=False)
        listening.line("listening")
        publish(first.channel(), "a", id="1")
        listening.line("a 1 ")
        first.hang_up()
        first.stop()
        listening.line("call ended: UNAVAILABLE")
        second = start(port=port)
        # What the first has published is not known to the second.
        listening.line("listening: some events before this are not kept")
        publish(second.channel(), "a", id="2")
        listening.line("a 2 ")
