"""The commands that watch a running gateway, run as people run them."""
import fcntl
import hashlib
import json
import os
import pty
import re
import socket
import struct
import subprocess
import termios
import threading
from contextlib import contextmanager

import pytest
from conftest import BINARY, KEY, PATIENCE_SECONDS, Process, eventually, failure, greet, hello

TOKEN = "a-token-for-tests-of-32-bytes-or-more"
GUARDED = {"metrics": {"address": "127.0.0.1:0", "token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest()}}
COMMANDS = ["status", "actors", "connections", "services"]


def address_of(gateway):
    return gateway.line("metrics: address=").split("//")[1].rstrip("/")


def environment(**variables):
    kept = {name: value for name, value in os.environ.items() if name not in ("ADIT_METRICS_TOKEN", "NO_COLOR")}
    return {**kept, **variables}


def adit(*arguments, **variables):
    """Runs a command to its end, without a terminal."""
    return subprocess.run(
        [str(BINARY), *arguments], text=True, capture_output=True, timeout=PATIENCE_SECONDS,
        env=environment(**variables))


def greets(gateway, peer):
    call = gateway.caller().Greet.future(greet(), timeout=PATIENCE_SECONDS)
    peer.answers(peer.receives("request"), hello())
    assert call.result(PATIENCE_SECONDS) == hello()


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments, columns=120, lines=50, **variables):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.terminal, self.text = ours, ""
        self.process = subprocess.Popen(
            [str(BINARY), *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
            env=environment(TERM="xterm-256color", **variables))
        os.close(theirs)
        os.set_blocking(ours, False)

    def read(self):
        try:
            self.text += os.read(self.terminal, 1 << 20).decode(errors="replace").replace("\r\n", "\n")
        except (BlockingIOError, OSError):
            pass
        return self.text

    def shows(self, part, count=1):
        eventually(lambda: self.read().count(part) >= count, f"{count} times {part!r}")

    def to_the_end(self):
        def ended():
            self.read()
            return self.process.poll() is not None
        eventually(ended, "the command ends")
        return self.read()

    def close(self):
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        os.close(self.terminal)


@contextmanager
def terminal(*arguments, **options):
    opened = Terminal(*arguments, **options)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def program(*arguments):
    started = Process([str(BINARY), *arguments], environment())
    try:
        yield started
    finally:
        started.kill()


def fields(text, title):
    """What stands under the titles of the table whose first title this is; a column each two spaces."""
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(title))
    titles = re.split(r"\s{2,}", lines[at].strip())
    return dict(zip(titles[1:], lines[at + 1].split()))


def test_the_status_has_the_numbers_of_the_gateway(gateway, start_peer):
    peer = start_peer(gateway)
    for _ in range(3):
        greets(gateway, peer)
    shown = adit("status", "--address", address_of(gateway))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert re.search(r"^Adit \S+  serving for ", shown.stdout, re.MULTILINE)
    assert re.search(r"^calls_started +3$", shown.stdout, re.MULTILINE), shown.stdout
    calls, tunnels = fields(shown.stdout, "CALLS"), fields(shown.stdout, "TUNNELS")
    assert (calls["STARTED"], calls["ENDED"], calls["IN FLIGHT"]) == ("3", "3", "0"), shown.stdout
    assert (tunnels["OPEN"], tunnels["READY"], tunnels["SERVICES"]) == ("1", "1", "1"), shown.stdout


def test_a_tunnel_is_listed_and_shown_with_its_frames(gateway, start_peer):
    peer, address = start_peer(gateway), address_of(gateway)
    greets(gateway, peer)
    identity = peer.connected.connection_id
    listed = adit("connections", "--address", address).stdout
    assert "1 open, 0 closed lately" in listed
    assert re.search(rf"^{identity}  ready +demo\.Greeter ", listed, re.MULTILINE), listed
    assert identity not in adit("connections", "--service", "demo.Nobody", "--address", address).stdout
    for beginning in (identity, identity[:8], identity[:8] + "…"):
        one = adit("connections", beginning, "--address", address).stdout
        assert re.search(rf"^id +{identity}$", one, re.MULTILINE), one
        assert re.search(r"^FRAME AT +WAY +KIND +BYTES +REQUEST$", one, re.MULTILINE), one
        assert re.search(r"  out +request +", one) and re.search(r"  in +response +", one), one
    peer.breaks()
    eventually(lambda: identity in adit("connections", "--state", "closed", "--address", address).stdout, "closed")


def test_actors_and_services_are_listed(gateway, start_peer):
    peer, address = start_peer(gateway), address_of(gateway)
    greets(gateway, peer)
    actors = adit("actors", "--address", address).stdout
    for kind in ("registry", "entry", "heartbeat", "connection"):
        assert re.search(rf"^{kind} ", actors, re.MULTILINE), actors
    only = adit("actors", "--kind", "connection", "--limit", "1", "--address", address).stdout
    listed = only.split("KIND")[1]
    assert "connection" in listed and "registry" not in listed, only
    assert re.search(r"^demo\.Greeter +1 +0 +0 ", adit("services", "--address", address).stdout, re.MULTILINE)


@pytest.mark.parametrize("command, option, words", [
    ("actors", "--sort", ["depth", "handled", "age", "handling", "kind"]),
    ("actors", "--arbiter", ["0"]),
    ("connections", "--sort", ["age", "calls", "bytes", "silence"]),
    ("connections", "--state", ["open", "closed", "all"]),
    ("connections", "--key", ["env", "a b&c"])])
def test_the_gateway_understands_every_option(gateway, command, option, words):
    for word in words:
        shown = adit(command, option, word, "--address", address_of(gateway))
        assert (shown.returncode, shown.stderr) == (0, ""), word


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_the_answer_as_it_came(gateway, command):
    shown = adit(command, "--json", "--address", address_of(gateway))
    answer = json.loads(shown.stdout)
    assert answer["sequence"] >= 1 and "T" in answer["captured_at"]


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_gateway_it_says_so(command):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % free.getsockname()[1]
        shown = adit(command, "--address", address)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr.startswith(f"no gateway at {address}: Connection refused"), shown.stderr


def test_what_is_no_metrics_listener_is_told_from_one(gateway):
    # The port of the callers.
    shown = adit("status", "--address", gateway.address)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "is not the metrics listener of an Adit" in shown.stderr, shown.stderr


def test_one_that_says_nothing_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        shown = adit("status", "--address", "127.0.0.1:%d" % silent.getsockname()[1])
    assert shown.returncode == 1 and "no answer within 5 seconds" in shown.stderr


def test_an_answer_without_end_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        def answers():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
                try:
                    while True:
                        connection.sendall(b" " * (1 << 20))
                except OSError:
                    pass  # it hung up
        threading.Thread(target=answers, daemon=True).start()
        shown = adit("status", "--address", "127.0.0.1:%d" % server.getsockname()[1])
    assert shown.returncode == 1 and "has more than 64 MiB" in shown.stderr, shown.stderr


def test_the_token_is_taken_from_the_environment(start_gateway):
    address = address_of(start_gateway(GUARDED))
    assert adit("status", "--address", address, ADIT_METRICS_TOKEN=TOKEN).returncode == 0
    without = adit("status", "--address", address)
    assert without.returncode == 1 and "asks for its token: set ADIT_METRICS_TOKEN" in without.stderr
    wrong = adit("status", "--address", address, ADIT_METRICS_TOKEN="another")
    assert wrong.returncode == 1 and "knows another token than ADIT_METRICS_TOKEN has" in wrong.stderr


def test_the_address_is_taken_from_a_configuration(gateway, tmp_path):
    config = tmp_path / "config.json"
    listeners = [{"address": "127.0.0.1:0"}]
    config.write_text(json.dumps({"listeners": listeners, "metrics": {"address": address_of(gateway)}}))
    shown = adit("status", "--config", str(config))
    assert shown.returncode == 0 and "serving" in shown.stdout
    config.write_text(json.dumps({"listeners": listeners, "metrics": {"enabled": False}}))
    shown = adit("status", "--config", str(config))
    assert shown.returncode == 2 and "switched off" in shown.stderr


def test_watching_goes_on_when_the_gateway_comes_back(start_gateway):
    first = start_gateway()
    address = address_of(first)
    with program("status", "--watch", "--interval", "100ms", "--address", address) as watching:
        watching.line("serving for", count=2)
        assert first.stop() == 0
        watching.line(f"no gateway at {address}: ")
        seen = len([line for line in watching.lines if "serving for" in line])
        start_gateway({"metrics": {"address": address}})
        watching.line("serving for", count=seen + 1)
    assert "\x1b" not in "".join(watching.lines)


def test_watched_json_is_one_answer_after_the_other(gateway):
    with program("status", "--watch", "--interval", "100ms", "--json", "--address", address_of(gateway)) as watching:
        watching.line('"captured_at"', count=3)
    whole = "\n".join(watching.lines)
    first, end = json.JSONDecoder().raw_decode(whole)
    second, _ = json.JSONDecoder().raw_decode(whole[end:].lstrip())
    assert second["sequence"] == first["sequence"] + 1


def test_a_reader_that_leaves_ends_the_watching(gateway):
    command = f"'{BINARY}' status --watch --interval 100ms --address {address_of(gateway)} | head -1"
    shown = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], text=True, capture_output=True, timeout=PATIENCE_SECONDS,
        env=environment())
    assert (shown.returncode, shown.stderr) == (0, "")


def test_colours_are_for_terminals_alone(gateway, start_peer):
    start_peer(gateway)
    arguments = ("connections", "--address", address_of(gateway))
    assert "\x1b" not in adit(*arguments).stdout
    with terminal(*arguments) as colourful:
        assert "\x1b[1mID" in colourful.to_the_end()
    with terminal(*arguments, NO_COLOR="1") as plain:
        assert "\x1b" not in plain.to_the_end()


def test_a_narrow_terminal_has_shorter_ids(gateway, start_peer):
    identity = start_peer(gateway).connected.connection_id
    with terminal("connections", "--address", address_of(gateway), columns=90) as narrow:
        text = re.sub(r"\x1b\[[0-9;]*m", "", narrow.to_the_end())
    assert identity not in text and re.search(rf"^{identity[:8]}\S*…  ready", text, re.MULTILINE), text
    assert max(len(line) for line in text.splitlines()) <= 90, text


def test_watching_on_a_terminal_draws_in_place(start_gateway):
    first = start_gateway()
    address = address_of(first)
    with terminal("status", "--watch", "--interval", "100ms", "--address", address, lines=10) as watching:
        watching.shows("\x1b[H", count=3)
        watching.shows(" more lines")
        assert first.stop() == 0
        watching.shows(f"no gateway at {address}: ")
        start_gateway({"metrics": {"address": address}})
        last = len(watching.read())
        eventually(lambda: "\x1b[J" in watching.read()[last:].rpartition("no gateway at")[2], "drawn again")
    # Each picture has at most as many lines as the terminal, and leaves the cursor room.
    pictures = watching.text.split("\x1b[H")[1:-1]
    assert pictures and max(picture.count("\n") for picture in pictures) < 10
