"""docs/observability.md names every metric and every field that the listener shows."""
import pytest

from conftest import REPOSITORY, Peer, Window, failure, greet

PAGE = (REPOSITORY / "docs" / "observability.md").read_text()

# Fields whose names are data: reasons, statuses, messages, words of the log.
OPEN_ENDED = {"counts", "messages", "by_status", "by_reason", "dead_letters_by_reason", "configuration", "kinds"}


def fields(value):
    """The names of all fields in an answer."""
    if isinstance(value, list):
        return {name for item in value for name in fields(item)}
    if not isinstance(value, dict):
        return set()
    named = {name for name, part in value.items() if name not in OPEN_ENDED for name in fields(part)}
    return named | value.keys()


@pytest.fixture
def window(gateway, peer):
    call = gateway.caller().Greet.future(greet(), timeout=5)
    peer.answers(peer.receives("request"), status_code=5)
    assert failure(call)
    other = Peer(gateway, services=["demo.Other"])
    other.registered()
    other.leaves()
    return Window(gateway)


@pytest.mark.parametrize("page", ["status", "actors", "connections?state=all", "services", "healthz", "version", "config"])
def test_every_field_is_documented(window, page):
    assert not {name for name in fields(window.json(page)) if not is_documented(name)}


def is_documented(name):
    """By itself, in an example, or with others that begin alike."""
    return any(word in PAGE for word in (f"`{name}`", f'"{name}"', f"`{name.split('_')[0]}_*`"))


def test_the_frames_of_a_tunnel_are_documented(window):
    tunnel = window.json("connections")["connections"][0]["id"]
    assert not {name for name in fields(window.json(f"connections/{tunnel}")["frames"]) if f'"{name}"' not in PAGE}


def test_every_metric_is_documented(window):
    names = {line.split()[2] for line in window.text("metrics").splitlines() if line.startswith("# TYPE")}
    assert names and not {name for name in names if f"`{name}`" not in PAGE}
