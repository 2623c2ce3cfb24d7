"""Watchers that hold what they got: others are served."""
import socket

import pytest

from conftest import PATIENCE_SECONDS, Window

CONNECTIONS_MAX = 64


@pytest.fixture
def window(gateway):
    return Window(gateway)


def connected(window):
    host, port = window.url.split("//")[1].rstrip("/").split(":")
    return socket.create_connection((host, int(port)), PATIENCE_SECONDS)


def test_whoever_comes_is_heard_however_many_say_nothing(window):
    silent = [connected(window) for _ in range(3 * CONNECTIONS_MAX)]
    assert window.json("healthz")["status"] == "ok"
    assert window.json("status")["counts"]["watchers_replaced"] >= 2 * CONNECTIONS_MAX
    # The oldest were closed.
    assert silent[0].recv(1) == b""
    for one in silent:
        one.close()
