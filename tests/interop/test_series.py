"""However many names there are, a metric has no more series than it may, and nothing goes down."""
import hashlib

import pytest

from conftest import PATIENCE_SECONDS, Peer, Window, eventually, failure, hello

NAMES, NAMES_A_TUNNEL, TUNNELS_A_KEY = 10_000, 64, 64
SERIES_MAX = 2_000
KEYS = [f"key-{number}-of-a-test-with-ten-thousand-names" for number in range(3)]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """A gateway with ten thousand services, each of which has been called once and has answered."""
    from conftest import gateways
    keys = [{"id": f"k{n}", "sha256": hashlib.sha256(key.encode()).hexdigest()} for n, key in enumerate(KEYS)]
    with gateways(tmp_path_factory.mktemp("crowd")) as start:
        gateway = start({"keys": keys}, key=None)
        names = [f"crowd.Service{number}" for number in range(NAMES)]
        parts = [names[first:first + NAMES_A_TUNNEL] for first in range(0, NAMES, NAMES_A_TUNNEL)]
        peers = [Peer(gateway, part, key=KEYS[number // TUNNELS_A_KEY]) for number, part in enumerate(parts)]
        for peer in peers:
            peer.registered()
        yield gateway, peers, parts
        for peer in peers:
            peer.breaks()


def call_each(gateway, peers, parts):
    """Calls every tenth service, and as many methods that nobody has."""
    channel = gateway.channel()
    for peer, names in zip(peers, parts):
        for name in names[::10]:
            call = channel.unary_unary(f"/{name}/Do").future(b"", timeout=PATIENCE_SECONDS)
            peer.answers(peer.receives("request"), hello())
            call.result(PATIENCE_SECONDS)
            invented = channel.unary_unary(f"/not.{name}/Do").future(b"", timeout=PATIENCE_SECONDS)
            assert failure(invented) is not None


def lines_of(text):
    """How many lines each name has."""
    lines = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name = line.split("{")[0].split(" ")[0]
            lines[name] = lines.get(name, 0) + 1
    return lines


def families(text):
    """The same by metric: the lines of a histogram together."""
    lines = {}
    for name, number in lines_of(text).items():
        family = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        lines[family] = lines.get(family, 0) + number
    return lines


def test_no_metric_has_more_series_than_it_may(crowd):
    gateway, peers, parts = crowd
    window = Window(gateway)
    eventually(lambda: window.json("status")["tunnels"]["ready"] == len(peers), "all tunnels are ready")
    call_each(gateway, peers, parts)
    text = window.text("metrics")
    assert max(families(text).values()) <= SERIES_MAX, families(text)
    before = window.metrics()
    assert before.sum("grpc_server_call_started_total") == before.sum("grpc_server_call_duration_seconds_count")
    ready = before.series("gateway_tunnels", "service", "state")
    assert ready[("other", "ready")] <= len(peers) and sum(ready.values()) > len(peers)
    # Every call is somewhere.
    assert before.sum("grpc_server_call_started_total") == 2 * sum(len(part[::10]) for part in parts)
    services = window.json("services?limit=10000&sort=calls")
    assert services["matched"] >= NAMES

    for peer in peers[::2]:
        peer.leaves()
    eventually(lambda: window.json("status")["tunnels"]["open"] == len(peers) - len(peers[::2]), "half have left")
    after = window.metrics()
    fallen = [
        (name, sample.labels) for name, samples in before.samples.items()
        if name.endswith(("_total", "_count", "_bucket"))
        for sample in samples if after.one(name, **sample.labels) < sample.value]
    assert not fallen


def test_what_has_no_place_counts_as_other(crowd):
    gateway, _, _ = crowd
    started = Window(gateway).metrics().of("grpc_server_call_started_total", "grpc_method")
    assert started["other"] > 0 and any(name.startswith("crowd.") for name in started)
    assert not any(name.startswith("not.") for name in started)
