"""The metrics listener from outside: what it answers, to whom, and that the callers' port has none of it."""
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.request

import pytest
from conftest import (
    BINARY, KEY, PATIENCE_SECONDS, Window, eventually, failure, greet, hello)

TOKEN = "a-token-for-tests-of-32-bytes-or-more"
ON_ALL_ADDRESSES = {"metrics": {
    "address": "0.0.0.0:0", "token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest()}}
PAGES = ["", "metrics", "status", "actors", "connections", "services", "topics", "healthz", "readyz", "version", "config"]


def greets(caller, peer):
    call = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
    peer.answers(peer.receives("request"), hello())
    assert call.result(PATIENCE_SECONDS) == hello()


def address_of(gateway):
    """Where the metrics listener is reached from this machine."""
    return gateway.line("metrics: address=").split("//")[1].rstrip("/").replace("0.0.0.0", "127.0.0.1")


def ask(address, page, **headers):
    """Status, headers and text, whatever the status is."""
    request = urllib.request.Request(f"http://{address}/{page}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers, refusal.read().decode()


def test_promtool_accepts_the_metrics_of_a_gateway_under_load(gateway, start_peer):
    promtool = shutil.which("promtool")
    assert promtool, "Debian's package prometheus has it"
    peer, caller = start_peer(gateway), gateway.caller()
    for _ in range(20):
        greets(caller, peer)
    nobody = gateway.channel().unary_unary("/demo.Nobody/Calls")
    failure(nobody.future(b"", timeout=PATIENCE_SECONDS))
    text = Window(gateway).text("metrics")
    checked = subprocess.run([promtool, "check", "metrics"], input=text, text=True, capture_output=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, ""), text


def test_off_loopback_a_token_is_asked_for(start_gateway):
    address = address_of(start_gateway(ON_ALL_ADDRESSES))
    for page in PAGES:
        assert ask(address, page, authorization=f"Bearer {TOKEN}")[0] == 200, page
        for wrong in ({}, {"authorization": "Bearer another"}, {"authorization": f"Basic {TOKEN}"}):
            status, headers, text = ask(address, page, **wrong)
            assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="adit"'), page
            if page or wrong:
                assert list(json.loads(text)) == ["error"], page
    # Without any, the page comes all the same: it asks for the token.
    assert "<!doctype html>" in ask(address, "")[2]


def test_off_loopback_it_does_not_start_without_a_token(tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"listeners": [{"address": "127.0.0.1:0"}], "metrics": {"address": "0.0.0.0:0"}}))
    run = subprocess.run(
        [str(BINARY), "--config", str(config)], text=True, capture_output=True, timeout=PATIENCE_SECONDS)
    assert run.returncode == 2
    assert "metrics.address: is not loopback, so there must be token_sha256 or token_env" in run.stderr


def test_a_page_of_the_web_cannot_ask_by_another_name(gateway):
    address = address_of(gateway)
    port = address.rsplit(":", 1)[1]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        assert ask(address, "status", host=host)[0] == 200, host
    for host in (f"evil.example:{port}", f"127.0.0.1.evil.example:{port}"):
        status, _, text = ask(address, "status", host=host)
        assert status == 421 and list(json.loads(text)) == ["error"], host


def test_only_reading_is_possible(gateway):
    address = address_of(gateway)
    for method in ("POST", "PUT", "DELETE"):
        connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
        connection.request(method, "/config", body="{}")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
        connection.close()


def test_the_port_of_the_callers_has_none_of_it(gateway):
    # It speaks HTTP/2 alone: there is no page behind HTTP/1.
    for page in PAGES:
        with pytest.raises((http.client.BadStatusLine, http.client.RemoteDisconnected, ConnectionError)):
            connection = http.client.HTTPConnection(gateway.address, timeout=PATIENCE_SECONDS)
            connection.request("GET", f"/{page}")
            connection.getresponse()
    for page in PAGES:
        call = gateway.channel().unary_unary(f"/{page}").future(b"", timeout=PATIENCE_SECONDS)
        assert failure(call).code().name == "UNIMPLEMENTED", page


def test_it_lives_but_takes_nothing_new_while_it_drains(gateway, start_peer):
    address = address_of(gateway)
    assert [ask(address, page)[0] for page in ("healthz", "readyz")] == [200, 200]
    peer, caller = start_peer(gateway), gateway.caller()
    call = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
    request = peer.receives("request")
    stopping = threading.Thread(target=gateway.stop)
    stopping.start()
    eventually(lambda: ask(address, "readyz")[0] == 503, "not ready")
    status, _, text = ask(address, "readyz")
    assert (status, json.loads(text)["status"]) == (503, "draining")
    assert ask(address, "healthz")[0] == 200
    assert json.loads(ask(address, "status")[2])["state"] == "draining"
    peer.answers(request, hello())
    assert call.result(PATIENCE_SECONDS) == hello()
    peer.leaves()
    stopping.join(PATIENCE_SECONDS)


def test_the_configuration_shows_no_secret(start_gateway):
    digest = hashlib.sha256(b"another-key-of-32-bytes-and-more-0123").hexdigest()
    gateway = start_gateway({**ON_ALL_ADDRESSES, "keys": [{"id": "edge", "sha256": digest}]})
    status, _, text = ask(address_of(gateway), "config", authorization=f"Bearer {TOKEN}")
    assert status == 200
    shown = json.loads(text)["configuration"]
    assert (shown["keys"][0]["id"], shown["keys"][0]["sha256"]) == ("edge", "***")
    for secret in (KEY, TOKEN, digest, ON_ALL_ADDRESSES["metrics"]["token_sha256"]):
        assert secret not in text


@pytest.mark.parametrize("page", [
    "actors?sort=size", "actors?limit=-1", "actors?limit=10001", "actors?arbiter=x", "actors?kinds=pending",
    "connections?state=gone", "connections?sort=size", "connections?limit=many", "connections?limit=10001",
    "connections?keys=a", "connections/nonsense", "connections/%ff", "actors/%ff", "services?sort=size", "topics?limit=-1"])
def test_a_question_that_is_not_understood_is_refused(gateway, page):
    status, headers, text = ask(address_of(gateway), page)
    assert (status, headers["content-type"]) == (400, "application/json")
    assert list(json.loads(text)) == ["error"] and json.loads(text)["error"]


def test_what_there_is_not_is_not_found(gateway):
    for page in ("nothing", "connections/00000000-0000-4000-8000-000000000000", "favicon.ico"):
        status, _, text = ask(address_of(gateway), page)
        assert status == 404 and list(json.loads(text)) == ["error"], page


def test_a_port_that_is_taken_is_named(gateway, tmp_path):
    taken = address_of(gateway)
    config = tmp_path / "second.json"
    config.write_text(json.dumps({"listeners": [{"address": "127.0.0.1:0"}], "metrics": {"address": taken}}))
    run = subprocess.run(
        [str(BINARY), "--config", str(config)], text=True, capture_output=True, timeout=PATIENCE_SECONDS,
        env={**os.environ, "ADIT_API_KEY": KEY})
    assert run.returncode != 0
    assert taken in run.stderr, run.stderr
