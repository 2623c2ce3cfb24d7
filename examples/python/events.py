"""Events through an Adit gateway, with ADIT_API_KEY=<key> in the environment:

  python3 events.py subscribe 'orders.#'              prints what comes, until it is stopped
  python3 events.py publish orders.eu.paid 'number 7' publishes one event and says what became of it

gateway.py says where the gateway is, proto/registry.proto explains the frames of a tunnel."""
import os
import queue
import random
import sys
import threading
import time

import grpc

from gateway import dial

sys.path.append(f"{sys.path[0]}/../../proto")
registry, services = grpc.protos_and_services("registry.proto")
API_KEY = os.environ["ADIT_API_KEY"]
HEARTBEAT_SECONDS = 30


class Tunnel:
    """A tunnel that serves nothing: frames go by `send`, and come by going through it."""

    def __init__(self):
        self.channel = dial(grpc)
        self.outgoing = queue.Queue()
        self.over = threading.Event()

    def __enter__(self):
        self.send(register=registry.ConnectionRegister(api_key=API_KEY, features=["event_ack"]))
        gateway = services.RegistryServiceStub(self.channel)
        self.frames = gateway.EstablishConnection(iter(self.outgoing.get, None))
        threading.Thread(target=self.beat, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.outgoing.put(None)  # half-close: a goodbye
        self.channel.close()

    def __iter__(self):
        return iter(self.frames)

    def send(self, **frame):
        self.outgoing.put(registry.ConnectionMessage(**frame))

    def beat(self):
        while not self.over.wait(HEARTBEAT_SECONDS):
            self.send(heartbeat=registry.Heartbeat(timestamp=int(time.time())))


def subscribe(*patterns):
    delay = 1
    while True:
        try:
            with Tunnel() as tunnel:
                tunnel.send(subscription=registry.SubscriptionRequest(event_types=patterns))
                for frame in tunnel:
                    delay = 1
                    tell(frame)
        except grpc.RpcError as error:
            print(f"tunnel ended: {error.code().name} {error.details()}", file=sys.stderr, flush=True)
            if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                return 1
        time.sleep(delay * random.uniform(0.8, 1.2))
        delay = min(delay * 1.6, 120)


def tell(frame):
    event = frame.event
    if frame.HasField("status"):
        error = frame.status.status == registry.ConnectionStatus.ERROR
        print(f"refused: {frame.status.message}" if error else "listening", flush=True)
    elif frame.HasField("event") and event.event_type == "adit.gap":
        print(f"missed {event.metadata['missed']} of {event.metadata['topic']}", flush=True)
    elif frame.HasField("event"):
        print(f"{event.event_type} {event.event_id} {event.payload.decode(errors='replace')}", flush=True)


def publish(topic, text):
    with Tunnel() as tunnel:
        tunnel.send(event=registry.EventMessage(event_type=topic, payload=text.encode()))
        for frame in tunnel:
            if frame.HasField("event_ack"):
                ack = frame.event_ack
                print(f"{ack.result}: {ack.message or f'{ack.subscribers} subscribers'}")
                return 1 if ack.result == "rejected" else 0
    return 1


if __name__ == "__main__":
    commands = {"subscribe": subscribe, "publish": publish}
    if len(sys.argv) < 3 or sys.argv[1] not in commands or (sys.argv[1] == "publish" and len(sys.argv) != 4):
        sys.exit(__doc__)
    try:
        sys.exit(commands[sys.argv[1]](*sys.argv[2:]))
    except KeyboardInterrupt:
        pass
