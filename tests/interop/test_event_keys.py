"""Which keys may publish and listen by calls, and what becomes of calls whose key changes."""
import time

import pytest

from conftest import KEY, Outbox, failure, reason
from event_calls import Code, Subscription, publish, publish_all, refusal, request, shown, stub
from test_reload import changed, entry

SHOP = "a-key-for-a-shop-of-32-bytes-or-more"
# A key that is taken away ends what it has begun within so long.
REVOCATION_SECONDS = 5


@pytest.fixture
def start_guarded(start_gateway):
    """Starts a gateway whose callers need a key."""
    def start(*shop, **config):
        keys = [entry("tests", KEY), *shop]
        return start_gateway({"callers": {"require_key": True}, "keys": keys, **config}, key=None)
    return start


def test_a_key_is_needed_where_callers_need_one(start_guarded):
    gateway = start_guarded()
    channel = gateway.channel()
    for call in (publish, Subscription, lambda channel, topic, key=None: publish_all(channel, [request(topic)], key)):
        assert refusal(call, channel, "a")[:2] == (Code.UNAUTHENTICATED, "no_credentials")
        assert refusal(call, channel, "a", key="wrong")[:2] == (Code.UNAUTHENTICATED, "bad_credentials")
    subscription = Subscription(channel, "#", key=KEY)
    assert publish(channel, "a", key=KEY, id="1").subscribers == 1
    assert subscription.ids(1) == ["1"]


def test_a_key_may_publish_and_hear_what_its_scopes_say(start_guarded):
    gateway = start_guarded(entry("shop", SHOP, publish=["orders.*"], subscribe=["users.*", "news"]))
    channel = gateway.channel()
    assert publish(channel, "orders.eu", key=SHOP).subscribers == 0
    for topic in ("orders", "orders.eu.paid", "users.x"):
        assert refusal(publish, channel, topic, key=SHOP) == (
            Code.PERMISSION_DENIED, "scope", f'topic "{topic}": the key does not allow this topic')
    answer = publish_all(channel, [request("orders.eu"), request("users.x")], SHOP)
    assert (answer.no_subscriber, answer.rejected) == (1, 1)
    assert answer.rejections[0].code == Code.PERMISSION_DENIED.value[0]

    subscription = Subscription(channel, "users.*", "news", key=SHOP)
    assert publish(channel, "users.x", key=KEY, id="1").subscribers == 1
    assert subscription.ids(1) == ["1"]
    for pattern in ("users.#", "*.x", "#", "orders.eu"):
        assert refusal(Subscription, channel, "news", pattern, key=SHOP) == (
            Code.PERMISSION_DENIED, "scope", f'topic "{pattern}": the key does not allow this topic')


def test_what_is_kept_is_told_only_to_who_may_hear_it(start_guarded):
    gateway = start_guarded(entry("shop", SHOP, subscribe=["users.*"]), events={"keep_events": 9})
    channel = gateway.channel()
    publish(channel, "orders.eu", key=KEY, id="1")
    publish(channel, "users.x", key=KEY, id="2")
    assert refusal(Subscription, channel, "#", key=SHOP, after=[])[:2] == (Code.PERMISSION_DENIED, "scope")
    assert Subscription(channel, "users.*", key=SHOP, after=["1"]).ids(1) == ["2"]


def test_a_key_that_is_taken_away_ends_what_runs(start_guarded):
    gateway = start_guarded(entry("shop", SHOP))
    taken, stays = (Subscription(gateway.channel(), "a", key=key) for key in (SHOP, KEY))
    outbox = Outbox()
    call = stub(gateway.channel()).PublishStream.future(iter(outbox), metadata=shown(SHOP))
    outbox.says(request("a", id="1"))
    assert taken.ids(1) == stays.ids(1) == ["1"]

    changed(gateway, keys=[entry("tests", KEY)])
    gateway.line("configuration applied:")
    began = time.monotonic()
    assert taken.ended() == (Code.UNAUTHENTICATED, "bad_credentials")
    error = failure(call)
    assert (error.code(), reason(error)) == (Code.UNAUTHENTICATED, "bad_credentials")
    assert time.monotonic() - began < REVOCATION_SECONDS
    outbox.half_closes()
    assert publish(gateway.channel(), "a", key=KEY, id="2").subscribers == 1
    assert stays.ids(1) == ["2"]


def test_a_key_that_comes_to_allow_less_ends_subscriptions_and_later_events(start_guarded):
    gateway = start_guarded(entry("shop", SHOP))
    channel = gateway.channel()
    narrowed, kept = (Subscription(channel, topic, key=SHOP) for topic in ("a.#", "a.b"))
    outbox = Outbox()
    call = stub(channel).PublishStream.future(iter(outbox), metadata=shown(SHOP))
    outbox.says(request("a.b", id="1"))
    assert narrowed.ids(1) == kept.ids(1) == ["1"]

    changed(gateway, keys=[entry("tests", KEY), entry("shop", SHOP, subscribe=["a.*"], publish=["b"])])
    gateway.line("configuration applied:")
    assert narrowed.ended() == (Code.PERMISSION_DENIED, "scope")
    assert narrowed.call.details() == 'topic "a.#": the key does not allow this topic'
    outbox.says(request("a.b", id="2"))
    outbox.says(request("b", id="3"))
    outbox.half_closes()
    answer = call.result(15)
    assert (answer.accepted, answer.no_subscriber, answer.rejected) == (1, 1, 1)
    assert (answer.rejections[0].index, answer.rejections[0].event_id) == (1, "2")
    publish(channel, "a.b", key=KEY, id="4")
    assert kept.ids(1) == ["4"]


def test_a_key_that_is_taken_away_ends_who_never_stops_hearing(start_guarded):
    gateway = start_guarded(entry("shop", SHOP))
    taken = Subscription(gateway.channel(), "a", key=SHOP)

    def without_a_pause():
        while not taken.call.done():
            yield request("a", payload=b"x" * 1_000)

    call = stub(gateway.channel()).PublishStream.future(without_a_pause(), metadata=shown(KEY))
    taken.receives()
    changed(gateway, keys=[entry("tests", KEY)])
    gateway.line("configuration applied:")
    assert taken.ended() == (Code.UNAUTHENTICATED, "bad_credentials")
    assert call.result(15).rejected == 0


def test_a_key_has_a_last_call(start_guarded):
    gateway = start_guarded(entry("shop", SHOP, limits={"calls_max": 2}))
    channel = gateway.channel()
    subscriptions = [Subscription(channel, "a", key=SHOP) for _ in range(2)]
    for call in (publish, Subscription):
        assert refusal(call, channel, "a", key=SHOP)[:2] == (Code.RESOURCE_EXHAUSTED, "inflight_limit")
    assert publish(channel, "a", key=KEY, id="1").subscribers == 2
    assert [subscription.ids(1) for subscription in subscriptions] == [["1"], ["1"]]
