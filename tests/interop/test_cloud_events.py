"""CloudEvents that callers publish, as subscribers see them."""
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.timestamp_pb2 import Timestamp

from conftest import eventually, registry
from event_calls import Attribute, Code, Subscription, cloud_events, events, publish_all, refusal, stub

FIELDS = {"id": "1", "source": "/shop", "spec_version": "1.0", "type": "orders.paid"}
IN_METADATA = {"ce-id": "1", "ce-source": "/shop", "ce-specversion": "1.0", "ce-type": "orders.paid"}


def sent(topic="", attributes=None, **fields):
    event = cloud_events.CloudEvent(**{**FIELDS, **fields}, attributes=attributes or {})
    return events.PublishRequest(cloud_event=event, topic=topic)


@pytest.fixture
def channel(gateway):
    return gateway.channel()


@pytest.fixture
def heard(gateway, channel):
    """What a CloudEvent is delivered as."""
    subscription = Subscription(gateway.channel(), "#")

    def publish(*arguments, **fields):
        told = stub(channel).Publish(sent(*arguments, **fields))
        event = subscription.receives()
        assert told.event_id == event.id
        return event
    return publish


def test_its_attributes_are_metadata_and_its_type_the_topic(heard):
    event = heard(binary_data=b"\x00\xff")
    assert (event.id, event.topic, event.payload) == ("1", "orders.paid", b"\x00\xff")
    assert dict(event.metadata) == IN_METADATA
    assert heard("elsewhere").topic == "elsewhere"


def test_text_is_its_bytes(heard):
    kind = {"datacontenttype": Attribute(ce_string="text/plain")}
    event = heard(text_data="grün", attributes=kind)
    assert event.payload == "grün".encode()
    assert dict(event.metadata) == {**IN_METADATA, "content-type": "text/plain"}


def test_a_message_says_what_it_is(heard):
    message = Any()
    message.Pack(Timestamp(seconds=7))
    event = heard(proto_data=message)
    assert Timestamp.FromString(event.payload) == Timestamp(seconds=7)
    assert dict(event.metadata) == {
        **IN_METADATA, "content-type": "application/protobuf",
        "ce-dataschema": "type.googleapis.com/google.protobuf.Timestamp"}


@pytest.mark.parametrize(("value", "text"), [
    ({"ce_boolean": True}, "true"), ({"ce_boolean": False}, "false"), ({"ce_integer": -7}, "-7"),
    ({"ce_string": "ü \"%"}, "ü \"%"), ({"ce_string": ""}, ""), ({"ce_bytes": b"\xff\x00"}, "/wA="),
    ({"ce_uri": "https://a.b/c"}, "https://a.b/c"), ({"ce_uri_ref": "/c"}, "/c"),
    ({"ce_timestamp": Timestamp(seconds=1_700_000_000, nanos=500_000_000)}, "2023-11-14T22:13:20.5Z"),
])
def test_each_type_of_an_attribute_has_its_text(heard, value, text):
    assert heard(attributes={"mine": Attribute(**value)}).metadata["ce-mine"] == text


def test_its_time_is_the_time_of_the_event(heard):
    event = heard(attributes={"time": Attribute(ce_timestamp=Timestamp(seconds=1_700_000_000))})
    assert (event.timestamp, event.metadata["ce-time"]) == (1_700_000_000, "2023-11-14T22:13:20Z")
    assert heard(attributes={"time": Attribute(ce_string="1985-04-12T23:20:50.52Z")}).timestamp == 482_196_050


@pytest.mark.parametrize(("request_", "text"), [
    (sent(id=""), "attribute id must not be empty"),
    (sent(source=""), "attribute source must not be empty"),
    (sent(type=""), "attribute type must not be empty"),
    (sent(spec_version=""), "attribute specversion must not be empty"),
    (sent(spec_version="0.3"), 'attribute specversion must be "1.0", not "0.3"'),
    (sent(attributes={"Mine": Attribute(ce_integer=1)}), '"Mine" is no name of an attribute'),
    (sent(attributes={"id": Attribute(ce_string="2")}), '"id" is no name of a further attribute'),
    (sent(attributes={"mine": Attribute()}), "attribute mine has no value"),
    (sent(attributes={"subject": Attribute(ce_string="")}), "attribute subject must not be empty"),
    (sent(attributes={"mine": Attribute(ce_string="\x00")}), "attribute mine must not have the character U+0000"),
    (sent(attributes={"time": Attribute(ce_string="noon")}), "attribute time must be a timestamp"),
    (sent(type="orders..paid"), 'topic "orders..paid": '),
    (sent("orders.*"), 'topic "orders.*": '),
    (sent(id="i" * 129), 'topic "orders.paid": an event_id has 128 bytes at most'),
])
def test_what_is_none_is_refused_and_the_attribute_named(gateway, channel, request_, text):
    code, told, message = refusal(stub(channel).Publish, request_)
    assert (code, told) == (Code.INVALID_ARGUMENT, "bad_event")
    assert message.startswith(text)
    answer = publish_all(channel, [sent(), request_, sent()])
    assert (answer.no_subscriber, answer.rejected) == (2, 1)
    [rejection] = answer.rejections
    assert (rejection.index, rejection.message) == (1, message)
    assert rejection.event_id == request_.cloud_event.id


def test_metadata_that_is_too_large_is_refused(channel):
    large = sent(attributes={"mine": Attribute(ce_string="x" * 64 * 1024)})
    assert refusal(stub(channel).Publish, large)[:2] == (Code.RESOURCE_EXHAUSTED, "metadata_too_large")


def test_a_tunnel_gets_one_as_its_attributes_in_metadata(gateway, channel, start_peer):
    peer = start_peer(gateway, services=[])
    peer.sends(subscription=registry.SubscriptionRequest(
        action=registry.SubscriptionRequest.SUBSCRIBE, event_types=["orders.paid"]))
    eventually(lambda: stub(channel).Publish(sent(text_data="7")).subscribers == 1, "the tunnel listens")
    event = peer.receives("event")
    assert (event.event_id, event.event_type, event.payload) == ("1", "orders.paid", b"7")
    assert dict(event.metadata) == IN_METADATA
