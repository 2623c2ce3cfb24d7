"""Subscribers that come back: what is kept comes first, then what comes, and nothing is missing in between."""
import threading

import grpc
import pytest

from conftest import CHANNEL_OPTIONS, PATIENCE_SECONDS, Outbox, Window, failure, reason
from event_calls import Code, Subscription, events, publish, publish_all, request, stub

KEEP = {"events": {"keep_events": 5}}


@pytest.fixture
def keeping(start_gateway):
    return start_gateway(KEEP)


def published(gateway, *ids, topic="a"):
    answer = publish_all(gateway.channel(), [request(topic, id=id) for id in ids])
    assert answer.rejected == 0


def test_what_came_after_an_event_comes_before_what_comes_now(keeping):
    published(keeping, "1", "2", "3", "4")
    published(keeping, "other", topic="b")
    subscription = Subscription(keeping.channel(), "a", after=["2"])
    assert not subscription.missed
    published(keeping, "5")
    assert subscription.ids(3) == ["3", "4", "5"]
    metrics = Window(keeping).metrics()
    assert (metrics.one("gateway_bus_kept_events"), metrics.one("gateway_bus_replayed_total")) == (6, 2)
    page = Window(keeping).json("topics")
    assert (page["streams"], page["kept_events"]) == (1, 6)
    assert page["kept_bytes"] == metrics.one("gateway_bus_kept_bytes") > 0


def test_of_several_ids_the_first_counts_and_none_comes_again(keeping):
    published(keeping, "1", "2", "3", "4", "5")
    subscription = Subscription(keeping.channel(), "a", after=["4", "2"])
    assert not subscription.missed
    assert subscription.ids(2) == ["3", "5"]


def test_if_one_of_several_ids_is_not_kept_all_others_come_and_that_is_told(keeping):
    published(keeping, "1", "2", "3", "4", "5")
    subscription = Subscription(keeping.channel(), "a", after=["4", "unknown", "2"])
    assert subscription.missed
    assert subscription.ids(3) == ["1", "3", "5"]


def test_an_event_comes_again_as_it_was(keeping):
    sent = events.Event(id="1", topic="a.b", payload=b"\x00", timestamp=5, metadata={"ce-type": "t"})
    first = Subscription(keeping.channel(), "a.*")
    stub(keeping.channel()).Publish(events.PublishRequest(event=sent))
    heard = first.receives()
    assert Subscription(keeping.channel(), "#", after=[]).receives() == heard
    sent.publisher_id = heard.publisher_id
    assert heard == sent


def test_without_an_id_all_that_is_kept_comes(keeping):
    published(keeping, *"1234567")
    subscription = Subscription(keeping.channel(), "a", after=[])
    assert not subscription.missed
    assert subscription.ids(5) == list("34567")


def test_an_event_that_is_not_kept_any_more_is_told_and_all_there_is_comes(keeping):
    published(keeping, *"1234567")
    for gone in ("1", "never was"):
        subscription = Subscription(keeping.channel(), "a", after=[gone])
        assert subscription.missed
        assert subscription.ids(5) == list("34567")


def test_what_another_topic_has_lost_is_told_to_who_listens_to_it(keeping):
    published(keeping, "1")
    published(keeping, *"234567", topic="b")
    assert Subscription(keeping.channel(), "#", after=["1"]).missed
    assert not Subscription(keeping.channel(), "a", after=["1"]).missed


def test_a_large_event_is_not_kept_and_that_is_told(start_gateway):
    gateway = start_gateway({"events": {"keep_bytes": "2KiB"}})
    published(gateway, "1")
    publish(gateway.channel(), "a", id="large", payload=b"x" * 4096)
    subscription = Subscription(gateway.channel(), "a", after=["1"])
    assert subscription.missed
    published(gateway, "2")
    assert subscription.ids(1) == ["2"]


def test_where_nothing_is_kept_a_position_is_told_as_missed(gateway):
    published(gateway, "1")
    known = Subscription(gateway.channel(), "a", after=["1"])
    assert known.missed
    everything = Subscription(gateway.channel(), "a", after=[])
    assert not everything.missed
    published(gateway, "2")
    assert known.ids(1) == everything.ids(1) == ["2"]


def test_what_is_kept_is_more_than_a_subscriber_may_have_queued(start_gateway):
    gateway = start_gateway({
        "events": {"keep_events": 5_000, "keep_bytes": "8MiB"}, "limits": {"subscriber_queue_events_max": 8}})
    ids = [str(number) for number in range(5_000)]
    published(gateway, *ids)
    assert Subscription(gateway.channel(), "#", after=["0"]).ids(4_999) == ids[1:]


def test_what_is_forgotten_before_it_is_read_is_told_in_its_place(start_gateway):
    gateway = start_gateway({"events": {"keep_events": 100, "keep_bytes": "16MiB"}})
    channel, window = gateway.channel(), Window(gateway)

    def publish_more(first, last):
        for number in range(first, last):
            publish(channel, "a", id=str(number), payload=b"x" * 100_000)

    publish_more(0, 100)
    # Its window does not grow, so that it takes no more than a beginning before it reads.
    small = grpc.insecure_channel(gateway.address, [*CHANNEL_OPTIONS, ("grpc.http2.bdp_probe", 0)])
    subscription = Subscription(small, "a", after=[], reads=False)
    publish_more(100, 200)
    subscription.reads()
    heard, missed = [], []
    while not heard or heard[-1] != 199:
        message = subscription.messages.get(timeout=PATIENCE_SECONDS)
        if message.HasField("missed"):
            missed.append((len(heard), message.missed.topic, message.missed.count))
        else:
            heard.append(int(message.event.id))
    # It has a beginning of what was kept at first, and all of what is kept at last.
    assert missed == [(len(heard) - 100, "#", 0)]
    assert heard == list(range(len(heard) - 100)) + list(range(100, 200))
    assert 0 < len(heard) - 100 < 100
    assert window.metrics().one("gateway_bus_dropped_total", reason="queue_full") == 0
    small.close()


def test_what_a_subscriber_had_no_room_for_comes_when_it_comes_back(start_gateway):
    gateway = start_gateway({
        "events": {"keep_events": 1_000, "keep_bytes": "60MiB"}, "limits": {"subscriber_queue_events_max": 2}})
    channel = gateway.channel()
    small = grpc.insecure_channel(gateway.address, [*CHANNEL_OPTIONS, ("grpc.http2.bdp_probe", 0)])
    subscription = Subscription(small, "a", reads=False)
    assert publish(channel, "a", id="0").subscribers == 1
    sent, refused = 1, None
    while refused is None:
        try:
            publish(channel, "a", id=str(sent), payload=b"x" * 50_000)
        except grpc.RpcError as error:
            refused = error
        sent += 1
    assert (refused.code(), reason(refused)) == (Code.RESOURCE_EXHAUSTED, "queue_full")
    subscription.leaves()
    small.close()
    back = Subscription(gateway.channel(), "a", after=["0"])
    assert not back.missed
    assert back.ids(sent - 1) == [str(number) for number in range(1, sent)]


def test_a_connection_that_is_too_old_is_not_closed_while_it_carries_a_subscriber(start_gateway):
    gateway = start_gateway({"callers": {"connection_age_max": "200ms", "connection_age_grace": "200ms"}})
    subscription = Subscription(gateway.channel(), "a")
    # Others, opened later, are closed meanwhile; the second is surely younger.
    for _ in range(2):
        outbox = Outbox()
        stream = stub(gateway.channel()).PublishStream.future(iter(outbox))
        assert failure(stream).code() == Code.UNAVAILABLE
        outbox.half_closes()
    published(gateway, "late")
    assert subscription.ids(1) == ["late"]


class Publishing:
    """Publishes without a pause, by turns under some topics, until it is told to stop."""

    def __init__(self, gateway, name, topics):
        self.name, self.sent = name, []
        self.over = threading.Event()
        # So many are on their way at most: otherwise nobody who reads would ever catch up.
        self.room = threading.Semaphore(300)
        self.call = stub(gateway.channel()).PublishStream.future(self.requests(topics))

    def requests(self, topics):
        while self.room.acquire(timeout=PATIENCE_SECONDS) and not self.over.is_set():
            self.sent.append(f"{self.name}-{len(self.sent)}")
            yield request(topics[len(self.sent) % len(topics)], id=self.sent[-1])

    def stops(self):
        """All that it has sent, in order."""
        self.over.set()
        self.room.release()
        assert self.call.result(PATIENCE_SECONDS).rejected == 0
        return self.sent


class Listening:
    """Listens, goes away, and comes back again and again."""

    def __init__(self, gateway, patterns, publishing, named):
        self.gateway, self.patterns, self.named = gateway, patterns, named
        self.publishing = {publisher.name: publisher for publisher in publishing}
        self.heard, self.known, self.again = [], set(), 0
        self.subscription = Subscription(gateway.channel(), *patterns, after=[])

    def hears(self, count):
        for _ in range(count):
            event = self.subscription.receives()
            while event.id in self.known:
                self.again += 1
                event = self.subscription.receives()
            self.known.add(event.id)
            self.heard.append(event)
            self.publishing[event.id.split("-")[0]].room.release()

    def comes_back(self):
        self.subscription.leaves()
        position = [event.id for event in self.heard[-self.named:]]
        self.subscription = Subscription(self.gateway.channel(), *self.patterns, after=position)
        assert not self.subscription.missed


TOPICS = ["t.0", "t.1", "t.2"]


@pytest.mark.parametrize(("workers", "publishers", "patterns", "named"), [
    (1, 1, ["#"], 1), (2, 1, ["#"], 1), (1, 3, ["#"], 1), (1, 1, ["t.0"], 1),
    (2, 3, ["#"], 64), (1, 1, TOPICS, 64), (2, 3, TOPICS, 64), (2, 3, ["*.0", "t.*", "#"], 64),
])
def test_who_comes_back_while_others_publish_misses_nothing_and_hears_in_order(
        start_gateway, workers, publishers, patterns, named):
    gateway = start_gateway({"workers": workers, "events": {"keep_events": 10_000, "keep_bytes": "16MiB"}})
    topics = TOPICS if patterns != ["t.0"] else ["t.0"]
    publishing = [Publishing(gateway, f"p{number}", topics) for number in range(publishers)]
    listening = Listening(gateway, patterns, publishing, named)
    for turn in range(100):
        listening.hears(5 + turn * 7 % 40)
        listening.comes_back()
    sent = {publisher.name: publisher.stops() for publisher in publishing}
    listening.hears(sum(map(len, sent.values())) - len(listening.heard))

    of_each = {}
    for event in listening.heard:
        of_each.setdefault((event.id.split("-")[0], event.topic), []).append(int(event.id.split("-")[1]))
    assert len(of_each) == publishers * len(topics)
    assert all(numbers == sorted(numbers) for numbers in of_each.values())
    assert listening.known == {id for ids in sent.values() for id in ids}
    # One id is a place among all events, where they are heard in the order in which they are kept.
    assert named > 1 or listening.again == 0
