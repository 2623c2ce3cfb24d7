"""Events between peers that know nothing of each other, and what is seen of them from outside."""
import time

import pytest
from conftest import EXAMPLE_EVENTS, LANGUAGES, Window, eventually, registry

SUBSCRIBE = registry.SubscriptionRequest.SUBSCRIBE
UNSUBSCRIBE = registry.SubscriptionRequest.UNSUBSCRIBE


@pytest.fixture
def publisher(gateway, start_peer):
    return start_peer(gateway, services=[], features=["event_ack"])


@pytest.fixture
def subscriber(gateway, start_peer):
    return start_peer(gateway, services=[])


def asks(peer, action, *topics):
    peer.sends(subscription=registry.SubscriptionRequest(action=action, event_types=topics))


def publishes(peer, topic, **fields):
    """Publishes an event; returns what became of it."""
    peer.sends(event=registry.EventMessage(event_type=topic, **fields))
    return peer.receives("event_ack")


def reach(publisher, topic, subscribers):
    """Waits until so many hear a topic: a subscription on another arbiter takes a moment."""
    eventually(
        lambda: publishes(publisher, topic, event_id="probe").subscribers == subscribers,
        f"{subscribers} subscribers of {topic}")


def hears(peer):
    """The next event that is no probe."""
    while True:
        event = peer.receives("event")
        if event.event_id != "probe":
            return event


def test_an_event_reaches_who_listens(publisher, subscriber):
    asks(subscriber, SUBSCRIBE, "orders.*.paid")
    reach(publisher, "orders.eu.paid", 1)
    ack = publishes(publisher, "orders.eu.paid", payload=b"\x00\xff", metadata={"ce-type": "paid"})
    assert (ack.result, ack.subscribers) == ("accepted", 1)
    event = hears(subscriber)
    assert event.event_id == ack.event_id
    assert (event.event_type, event.payload) == ("orders.eu.paid", b"\x00\xff")
    assert dict(event.metadata) == {"ce-type": "paid"}
    assert abs(event.timestamp - time.time()) < 60
    assert publishes(publisher, "orders.eu.refused").result == "no_subscriber"
    asks(subscriber, UNSUBSCRIBE, "orders.*.paid")
    reach(publisher, "orders.eu.paid", 0)


def test_a_thousand_events_come_in_order(publisher, subscriber):
    asks(subscriber, SUBSCRIBE, "#")
    reach(publisher, "a", 1)
    for number in range(1_000):
        publisher.sends(event=registry.EventMessage(event_type="a", event_id=str(number), payload=b"x" * 100))
    heard = [hears(subscriber).event_id for _ in range(1_000)]
    assert heard == [str(number) for number in range(1_000)]


def test_what_is_refused_is_named_and_the_tunnel_goes_on(publisher, subscriber):
    asks(subscriber, SUBSCRIBE, "a..b", "fine")
    status = subscriber.receives("status")
    assert status.status == registry.ConnectionStatus.ERROR
    assert status.message.startswith('INVALID_ARGUMENT bad_event: topic "a..b"')
    reach(publisher, "fine", 1)
    publisher.sends(event=registry.EventMessage(event_type="a.*"))
    assert publisher.receives("status").message.startswith('INVALID_ARGUMENT bad_event: topic "a.*"')
    assert publisher.receives("event_ack").result == "rejected"


def test_topics_are_seen_from_outside(gateway, publisher, subscriber):
    window = Window(gateway)
    asks(subscriber, SUBSCRIBE, "orders.#", "users")
    reach(publisher, "orders", 1)
    publishes(publisher, "nobody.listens")

    def is_told():
        topics = {topic["topic"]: topic for topic in window.json("topics")["topics"]}
        return topics["orders.#"]["delivered"] == topics["orders.#"]["events"] > 0
    eventually(is_told, "all events delivered")
    page = window.json("topics?sort=events&limit=1")
    assert (page["matched"], [topic["topic"] for topic in page["topics"]]) == (2, ["orders.#"])
    tunnels = window.json("connections")["connections"]
    assert sorted(tunnel["topics"] for tunnel in tunnels) == [[], ["orders.#", "users"]]
    metrics = window.metrics()
    assert metrics.one("gateway_bus_published_total", result="no_subscriber") >= 1
    assert metrics.one("gateway_bus_delivered_total") == page["topics"][0]["delivered"]
    assert metrics.one("gateway_bus_dropped_total", reason="queue_full") == 0
    assert (metrics.one("gateway_bus_subscribers"), metrics.one("gateway_bus_topics")) == (1, 2)
    subscriber.leaves()
    eventually(lambda: window.json("topics")["topics"] == [], "no topic")


@pytest.mark.parametrize("language", [language for language in EXAMPLE_EVENTS if language in LANGUAGES])
def test_the_example_publishes_and_subscribes(gateway, start_program, language):
    command = EXAMPLE_EVENTS[language]
    listening = start_program([*command, "subscribe", "orders.#"], gateway.address, let_in=False)
    listening.line("listening")

    def publish(topic):
        publishing = start_program([*command, "publish", topic, "number 7"], gateway.address, let_in=False)
        code = publishing.exit_code()
        return code, publishing.lines

    # A subscription on another arbiter takes a moment.
    eventually(lambda: publish("orders.eu.paid") == (0, ["accepted: 1 subscribers"]), "somebody listens")
    assert listening.line("orders.eu.paid ").endswith(" number 7")
    assert publish("elsewhere") == (0, ["no_subscriber: 0 subscribers"])
    code, lines = publish("adit.own")
    assert code == 1 and "PERMISSION_DENIED" in lines[0]
