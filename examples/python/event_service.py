"""Events through an Adit gateway for a program that keeps no tunnel: plain gRPC calls.

  python3 event_service.py subscribe 'orders.#'                  prints what comes, until it is stopped
  python3 event_service.py subscribe 'orders.#' --after 1f --after 2a
                                                                 first what is kept since these events
  python3 event_service.py subscribe 'orders.#' --kept           first all that is kept
  python3 event_service.py publish orders.eu.paid 'number 7'     publishes one event

When its call ends it calls again and goes on after the last events that it has heard, if the gateway keeps any
(events.keep_events). ADIT_ADDRESS says where the gateway is, as gateway.py has it. If it asks callers for a key,
put one into ADIT_CALLER_KEY. proto/adit/events/v1/events.proto explains the messages."""
import argparse
import collections
import os
import random
import sys
import time
from pathlib import Path

import grpc

from gateway import dial

sys.path.append(str(Path(__file__).resolve().parents[2] / "proto"))
events, services = grpc.protos_and_services("adit/events/v1/events.proto")

KEY = os.environ.get("ADIT_CALLER_KEY")
METADATA = [("x-adit-key", KEY)] if KEY else None
DEADLINE_SECONDS = 10
# A gateway that is gone without a word is noticed after this.
PING_MS = 30_000
# More than this is hardly under way at once. Twice as many are remembered: one that was heard shortly before those
# that are named may come again. Both need ids that no two publishers give.
POSITION_EVENTS = 100
FINAL = {
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED}


def subscribe(patterns, after, kept):
    heard = collections.deque(after, maxlen=2 * POSITION_EVENTS)
    resume = events.Resume(after_event_ids=after) if after or kept else None
    delay = 1
    while True:
        try:
            with dial(grpc, [("grpc.keepalive_time_ms", PING_MS)]) as channel:
                request = events.SubscribeRequest(topics=patterns, resume=resume)
                for message in services.EventServiceStub(channel).Subscribe(request, metadata=METADATA):
                    delay = 1
                    tell(message, heard)
        except grpc.RpcError as error:
            print(f"call ended: {error.code().name} {error.details()}", file=sys.stderr, flush=True)
            if error.code() in FINAL:
                return 1
        if heard:
            resume = events.Resume(after_event_ids=list(heard)[-POSITION_EVENTS:])
        time.sleep(delay * random.uniform(0.8, 1.2))
        delay = min(delay * 1.6, 120)


def tell(message, heard):
    event = message.event
    if message.HasField("subscribed"):
        missed = message.subscribed.missed
        print("listening: some events before this are not kept" if missed else "listening", flush=True)
    elif message.HasField("missed"):
        print(f"missed {message.missed.count or 'some'} of {message.missed.topic}", flush=True)
    elif message.HasField("event") and event.id not in heard:
        heard.append(event.id)
        print(f"{event.topic} {event.id} {event.payload.decode(errors='replace')}", flush=True)


def publish(topic, text):
    event = events.Event(topic=topic, payload=text.encode())
    try:
        with dial(grpc) as channel:
            told = services.EventServiceStub(channel).Publish(
                events.PublishRequest(event=event), metadata=METADATA, timeout=DEADLINE_SECONDS)
    except grpc.RpcError as error:
        print(f"refused: {error.code().name} {error.details()}")
        return 1
    print(f"published {told.event_id}: {told.subscribers} subscribers")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    listening = commands.add_parser("subscribe")
    listening.add_argument("patterns", nargs="+", metavar="PATTERN")
    position = listening.add_mutually_exclusive_group()
    position.add_argument("--after", action="append", default=[], metavar="ID")
    position.add_argument("--kept", action="store_true")
    publishing = commands.add_parser("publish")
    publishing.add_argument("topic")
    publishing.add_argument("payload")
    given = parser.parse_args()
    if given.command == "publish":
        return publish(given.topic, given.payload)
    return subscribe(given.patterns, given.after, given.kept)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        pass
