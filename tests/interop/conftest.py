"""The words of the transcripts: a Gateway that runs, Peers that dial in, the example services, callers.

The gateway is the binary that ADIT_BINARY names, otherwise target/debug/adit of this repository. The
Rust example is the binary that ADIT_EXAMPLE_SERVICE names, otherwise target/debug/examples/service; the
one with events is beside it.

The tests of the example services and callers run with those that are ready: Python's always, Rust's when
it is built, Node's after `npm ci` in examples/node, Go's after `go build -o ../../target/go/ ./...` in
examples/go. With ADIT_EXAMPLE_LANGUAGES (such as "go node python rust") they run with those, ready or not.
"""
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"
sys.path += [str(REPOSITORY / "proto"), str(EXAMPLES / "proto")]
greeter, greeter_services = grpc.protos_and_services("greeter.proto")
registry, registry_services = grpc.protos_and_services("registry.proto")

BUILT = REPOSITORY / "target" / "debug"
BINARY = Path(os.environ.get("ADIT_BINARY", BUILT / "adit"))

NODE, GO = EXAMPLES / "node", REPOSITORY / "target" / "go"

# How the example programs are started, by language.
EXAMPLE_SERVICES = {
    "go": [str(GO / "service")],
    "node": ["node", str(NODE / "service.js")],
    "python": [sys.executable, str(EXAMPLES / "python" / "service.py")],
    "rust": [os.environ.get("ADIT_EXAMPLE_SERVICE", str(BUILT / "examples" / "service"))],
}
EXAMPLE_CALLERS = {
    "go": [str(GO / "caller")],
    "node": ["node", str(NODE / "caller.js")],
    "python": [sys.executable, str(EXAMPLES / "python" / "caller.py")],
}
EXAMPLE_EVENTS = {
    "python": [sys.executable, str(EXAMPLES / "python" / "events.py")],
    "rust": [str(Path(*EXAMPLE_SERVICES["rust"]).with_name("events"))],
}
EXAMPLE_EVENT_SERVICE = [sys.executable, str(EXAMPLES / "python" / "event_service.py")]
READY = {
    "go": (GO / "service").exists(),
    "node": (NODE / "node_modules").exists(),
    "python": True,
    "rust": "ADIT_EXAMPLE_SERVICE" in os.environ or Path(*EXAMPLE_SERVICES["rust"]).exists(),
}
LANGUAGES = os.environ.get("ADIT_EXAMPLE_LANGUAGES", "").split() or [
    language for language in READY if READY[language]]

# Longer than any wait that ends well, on a busy machine too.
PATIENCE_SECONDS = 15

# The gateway takes keys of 32 bytes and more.
KEY = "a-key-for-tests-of-32-bytes-or-more"

STREAMING = ("stream", "cancel")
STREAM_END = registry.StreamingInfo(is_stream_end=True)
STREAM_MORE = registry.StreamingInfo()
UNARY = registry.StreamingInfo.UNARY
BIDIRECTIONAL = registry.StreamingInfo.BIDIRECTIONAL_STREAMING

# No test may see the connections, or the back-off, of another.
CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]


def dial(address, credentials=None, **options):
    """A channel, with TLS if there are credentials."""
    if credentials is None:
        return grpc.insecure_channel(address, CHANNEL_OPTIONS, **options)
    return grpc.secure_channel(address, credentials, CHANNEL_OPTIONS, **options)


class Process:
    """A program whose lines of output can be waited for."""

    def __init__(self, command, environment, **options):
        self.lines = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def line(self, part, count=1):
        """Waits until `count` lines contain `part`, and returns the last of them."""
        def found():
            return [line for line in self.lines if part in line]
        with self.changed:
            come = self.changed.wait_for(lambda: len(found()) >= count, PATIENCE_SECONDS)
            assert come, f"no line with {part!r} in:\n" + "\n".join(self.lines)
            return found()[count - 1]

    def signal(self, number):
        self.process.send_signal(number)

    def exit_code(self):
        code = self.process.wait(PATIENCE_SECONDS)
        self.reader.join(PATIENCE_SECONDS)
        return code

    def kill(self):
        self.process.kill()
        self.exit_code()


class Gateway(Process):
    """The real binary, on a free port of loopback."""

    def __init__(self, directory, config=None, key=KEY, port=0):
        # Without the grace after a start, a name that never registered is unknown at once.
        settings = {"listeners": [{"address": f"127.0.0.1:{port}"}], "routing": {"startup_grace": "0s"},
                    "metrics": {"address": "127.0.0.1:0"}}
        settings.update(config or {})
        self.config_path = path = directory / "config.json"
        path.write_text(json.dumps(settings))
        environment = {name: value for name, value in os.environ.items() if name != "ADIT_API_KEY"}
        if key:
            environment["ADIT_API_KEY"] = key
        super().__init__([str(BINARY), "--config", str(path)], environment)
        self.channels = []

    @property
    def address(self):
        return self.line("listening: address=").rsplit("=", 1)[1]

    def channel(self, **options):
        channel = dial(self.address, **options)
        self.channels.append(channel)
        return channel

    def caller(self, **options):
        """A caller on a connection of its own."""
        return greeter_services.GreeterStub(self.channel(**options))

    def stop(self):
        """Asks the gateway to stop; how it ended."""
        self.signal(signal.SIGTERM)
        return self.exit_code()

    def hang_up(self):
        for channel in self.channels:
            channel.close()


class Metrics:
    """The series of /metrics at one moment."""

    def __init__(self, text):
        self.samples = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.samples.setdefault(sample.name, []).append(sample)

    def one(self, name, **labels):
        """The value of the series with exactly these labels; 0 as long as there is none."""
        return next((s.value for s in self.samples.get(name, []) if s.labels == labels), 0)

    def sum(self, name):
        return sum(sample.value for sample in self.samples.get(name, []))

    def series(self, name, *labels):
        """Each value by its labels in this order."""
        return {tuple(s.labels[label] for label in labels): s.value for s in self.samples.get(name, [])}

    def of(self, name, label):
        """Each value by its only label."""
        return {value: number for (value,), number in self.series(name, label).items()}


class Window:
    """What the metrics listener of a gateway shows."""

    def __init__(self, gateway):
        self.url = gateway.line("metrics: address=").rsplit("=", 1)[1]

    def text(self, page):
        with urllib.request.urlopen(self.url + page, timeout=PATIENCE_SECONDS) as answer:
            return answer.read().decode()

    def json(self, page):
        return json.loads(self.text(page))

    def metrics(self):
        return Metrics(self.text("metrics"))


class ExampleService(Process):
    """A program that serves demo.Greeter, once it has registered, if it is let in."""

    def __init__(self, command, address, key=KEY, let_in=True, environment=None, **options):
        environment = dict(
            os.environ, ADIT_ADDRESS=address, ADIT_API_KEY=key, PYTHONUNBUFFERED="1", **environment or {})
        super().__init__(command, environment, **options)
        if let_in:
            self.line("registered:")

    def leaves(self):
        """Asks it to stop. It does when its last call is over."""
        self.signal(signal.SIGTERM)
        assert self.exit_code() == 0, "\n".join(self.lines)


class Outbox:
    """What one side of a stream says, as the transcript says it."""

    def __init__(self):
        self.queue = queue.Queue()

    def __iter__(self):
        return iter(self.queue.get, None)

    def says(self, message):
        self.queue.put(message)

    def half_closes(self):
        self.queue.put(None)


class Peer:
    """A service that has dialled in, frame by frame."""

    def __init__(self, gateway, services=("demo.Greeter",), features=(), key=KEY, register=True, credentials=None):
        self.channel = dial(gateway.address, credentials)
        self.outbox = Outbox()
        self.frames = queue.Queue()
        stub = registry_services.RegistryServiceStub(self.channel)
        self.stream = stub.EstablishConnection(iter(self.outbox))
        threading.Thread(target=self._read, daemon=True).start()
        if register:
            self.sends(register=registry.ConnectionRegister(
                api_key=key, services=services, features=features))

    def _read(self):
        try:
            for frame in self.stream:
                if not frame.HasField("heartbeat"):
                    self.frames.put(frame)
        except grpc.RpcError:
            pass  # how the stream ended is asked by `ended`
        self.frames.put(None)

    def sends(self, **frame):
        self.outbox.says(registry.ConnectionMessage(**frame))

    def receives(self, kind):
        """The next frame, which must be of this kind."""
        frame = self.frames.get(timeout=PATIENCE_SECONDS)
        assert frame is not None, f"the tunnel ended: {self.stream.code()} {self.stream.details()}"
        assert frame.WhichOneof("message_type") == kind, frame
        return getattr(frame, kind)

    def registered(self):
        status = self.receives("status")
        assert status.status == registry.ConnectionStatus.CONNECTED
        return status

    def answers(self, request, message=None, **fields):
        """Sends a `response` to this request; without more fields it is the whole answer."""
        payload = message.SerializeToString() if message is not None else b""
        self.sends(response=registry.ForwardResponse(
            request_id=request.request_id, payload=payload, **fields))

    def ended(self):
        """How the gateway ended the stream."""
        while self.frames.get(timeout=PATIENCE_SECONDS) is not None:
            pass
        return self.stream

    def leaves(self):
        self.outbox.half_closes()
        self.ended()

    def breaks(self):
        """Goes away without a word, as a crash does."""
        self.channel.close()


def failure(call):
    """The error with which a call of one reply ended."""
    error = call.exception(PATIENCE_SECONDS)
    assert error is not None, "the call succeeded"
    return error


def stream_failure(call):
    """The replies that came, and the error with which the stream ended after them."""
    replies = []
    with pytest.raises(grpc.RpcError) as raised:
        for reply in call:
            replies.append(reply)
    return replies, raised.value


def values(metadata, name):
    """All values of a name, in order."""
    return [value for key, value in metadata if key == name]


def reason(call):
    """Why the gateway itself ended a call; None if a service did."""
    return next(iter(values(call.trailing_metadata(), "x-gateway-error")), None)


def greet(name="Ada"):
    return greeter.GreetRequest(name=name)


def hello(text="Hello, Ada!"):
    return greeter.GreetReply(text=text)


def say(text):
    return greeter.ChatMessage(text=text)


def eventually(condition, what):
    """Waits for something that nobody announces."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"never: {what}"


@contextmanager
def gateways(path):
    """Starts gateways, and sees to it that each ends well."""
    started = []

    def start(config=None, **options):
        directory = path / str(len(started))
        directory.mkdir()
        started.append(Gateway(directory, config, **options))
        return started[-1]

    yield start
    for gateway in started:
        gateway.hang_up()
        code = gateway.stop() if gateway.process.poll() is None else gateway.exit_code()
        assert code == 0, "\n".join(gateway.lines)
        assert not [line for line in gateway.lines if "panicked" in line]


@pytest.fixture
def start_gateway(tmp_path):
    with gateways(tmp_path) as start:
        yield start


@pytest.fixture
def gateway(start_gateway):
    return start_gateway()


@pytest.fixture
def start_peer():
    """Starts peers that have registered."""
    started = []

    def start(gateway, **options):
        peer = Peer(gateway, **options)
        started.append(peer)
        peer.connected = peer.registered()
        return peer

    yield start
    for peer in started:
        peer.breaks()


@pytest.fixture
def peer(gateway, start_peer):
    """A service that streams and takes cancels; its metadata travels in maps."""
    return start_peer(gateway, features=STREAMING)


@pytest.fixture
def plain_peer(gateway, start_peer):
    """A service that asked for no feature."""
    return start_peer(gateway)


@contextmanager
def programs():
    """Starts programs that serve demo.Greeter."""
    started = []

    def start(command, address, **options):
        started.append(ExampleService(command, address, **options))
        return started[-1]

    yield start
    for service in started:
        service.kill()


@pytest.fixture
def start_program():
    with programs() as start:
        yield start


@pytest.fixture(params=LANGUAGES)
def start_service(request, start_program):
    """Starts an example service. A test that takes this runs once with each of them."""
    return partial(start_program, EXAMPLE_SERVICES[request.param])


@pytest.fixture(params=[language for language in LANGUAGES if language != "rust"])
def start_finishing_service(request, start_program):
    """Starts an example service that finishes its calls before it stops; once with each of these."""
    return partial(start_program, EXAMPLE_SERVICES[request.param])
