"""The words of the transcripts about events of those who keep no tunnel: a Subscription, and publishing."""
import queue
import threading

import grpc

from conftest import PATIENCE_SECONDS, reason

events, event_services = grpc.protos_and_services("adit/events/v1/events.proto")
cloud_events = grpc.protos("adit/events/v1/cloudevents.proto")

Attribute = cloud_events.CloudEvent.CloudEventAttributeValue
Code = grpc.StatusCode


def stub(channel):
    return event_services.EventServiceStub(channel)


def shown(key):
    """The metadata of a caller that shows this key."""
    return [("x-adit-key", key)] if key else None


def request(topic, **fields):
    return events.PublishRequest(event=events.Event(topic=topic, **fields))


def publish(channel, topic, key=None, **fields):
    """Publishes an event; returns what became of it."""
    return stub(channel).Publish(request(topic, **fields), timeout=PATIENCE_SECONDS, metadata=shown(key))


def publish_all(channel, requests, key=None):
    return stub(channel).PublishStream(iter(requests), timeout=PATIENCE_SECONDS, metadata=shown(key))


def refusal(call, *arguments, **options):
    """The code, the reason and the message with which a call is refused."""
    try:
        answer = call(*arguments, **options)
    except grpc.RpcError as error:
        return error.code(), reason(error), error.details()
    raise AssertionError(f"it succeeded: {answer}")


class Subscription:
    """A call that listens. Made, it has heard that it is subscribed."""

    def __init__(self, channel, *topics, after=None, key=None, reads=True, timeout=None):
        resume = None if after is None else events.Resume(after_event_ids=after)
        self.call = stub(channel).Subscribe(
            events.SubscribeRequest(topics=topics, resume=resume), metadata=shown(key), timeout=timeout)
        first = next(self.call)
        assert first.HasField("subscribed"), first
        self.missed = first.subscribed.missed
        self.messages = queue.Queue()
        if reads:
            self.reads()

    def reads(self):
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for message in self.call:
                self.messages.put(message)
        except grpc.RpcError:
            pass  # how it ended is asked by `ended`
        self.messages.put(None)

    def receives(self, kind="event"):
        """The next message, which must be of this kind."""
        message = self.messages.get(timeout=PATIENCE_SECONDS)
        assert message is not None, f"the call ended: {self.call.code()} {self.call.details()}"
        assert message.WhichOneof("what") == kind, message
        return getattr(message, kind)

    def ids(self, count):
        """The ids of so many events, the next ones."""
        return [self.receives().id for _ in range(count)]

    def ended(self):
        """The code and the reason with which the gateway ended it."""
        while self.messages.get(timeout=PATIENCE_SECONDS) is not None:
            pass
        return self.call.code(), reason(self.call)

    def leaves(self):
        self.call.cancel()
