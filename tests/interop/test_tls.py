"""TLS between grpcio and the gateway, with certificates of OpenSSL's, and the TLS section of README.md."""
import hashlib
import json
import os
import re
import socket
import ssl
import subprocess

import grpc
import pytest

from conftest import (
    EXAMPLE_CALLERS, LANGUAGES, PATIENCE_SECONDS, Gateway, Peer, failure, greet, hello, reason)
from test_readme import README, fenced


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which a reader has run the commands of README.md that make certificates."""
    path = tmp_path_factory.mktemp("certificates")
    subprocess.run(["sh", "-euc", fenced("sh", "# certificates")], cwd=path, check=True, capture_output=True)
    return path


def sign(folder, name, alternative):
    """One more certificate, made as README.md makes them."""
    define = re.search(r"^sign\(\) \{.*?\}$", README, re.DOTALL | re.MULTILINE)[0]
    subprocess.run(["sh", "-euc", f'{define}\nsign "$1" "$2"', "sh", name, alternative],
                   cwd=folder, check=True, capture_output=True)


def listener(folder, client_ca=False, **more):
    """A listener; what `more` says of its TLS."""
    tls = {"certificate": str(folder / "gateway.crt"), "key": str(folder / "gateway.key"), **more}
    if client_ca:
        tls["client_ca"] = str(folder / "ca.crt")
    return {"address": "127.0.0.1:0", "tls": tls}


def credentials(folder, name=None, ca="ca.crt"):
    """What a client trusts, and shows if there is a name."""
    shown = [(folder / f"{name}.{end}").read_bytes() for end in ("key", "crt")] if name else []
    return grpc.ssl_channel_credentials((folder / ca).read_bytes(), *shown)


def greets(gateway, peer, trusted):
    call = gateway.caller(credentials=trusted).Greet.future(greet(), timeout=PATIENCE_SECONDS)
    peer.answers(peer.receives("request"), hello())
    return call.result(PATIENCE_SECONDS) == hello()


def test_calls_and_tunnels_over_tls(start_gateway, start_peer, folder):
    gateway = start_gateway({"listeners": [listener(folder)]})
    peer = start_peer(gateway, credentials=credentials(folder))
    assert greets(gateway, peer, credentials(folder))


def test_a_gateway_of_another_authority_is_not_trusted(start_gateway, folder):
    gateway = start_gateway({"listeners": [listener(folder)]})
    stranger = credentials(folder, ca="agent-1.crt")
    error = failure(gateway.caller(credentials=stranger).Greet.future(greet(), timeout=PATIENCE_SECONDS))
    assert error.code() == grpc.StatusCode.UNAVAILABLE


def test_clients_show_certificates_where_they_are_asked_for(start_gateway, start_peer, folder):
    gateway = start_gateway({"listeners": [listener(folder, client_ca=True)], "log": {"level": "debug"}})
    for unwelcome in (credentials(folder), None):
        caller = gateway.caller(credentials=unwelcome)
        error = failure(caller.Greet.future(greet(), timeout=PATIENCE_SECONDS))
        assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, None)
    gateway.line("handshake failed: ")
    shown = credentials(folder, "agent-1")
    assert greets(gateway, start_peer(gateway, credentials=shown), shown)
    gateway.hang_up()
    assert gateway.stop() == 0
    assert re.search(r" tls_handshakes_failed=[1-9]", gateway.line("run ended: "))


def test_a_key_that_is_bound_to_a_certificate(start_gateway, start_peer, folder):
    sign(folder, "agent-2", "DNS:agent-2.example.org,URI:spiffe://example.org/billing")
    key = "the-key-of-a-program-with-a-certificate"
    bound = {"id": "bound", "sha256": hashlib.sha256(key.encode()).hexdigest()}
    for names, good, bad in [
        (["*.example.com"], "agent-1", "agent-2"), (["spiffe://example.org/*"], "agent-2", "agent-1"),
    ]:
        gateway = start_gateway({
            "listeners": [listener(folder, client_ca=True)], "keys": [{**bound, "certificate_names": names}]})
        start_peer(gateway, key=key, credentials=credentials(folder, good))
        peer = Peer(gateway, key=key, credentials=credentials(folder, bad))
        ended = peer.ended()
        assert (ended.code(), reason(ended)) == (grpc.StatusCode.PERMISSION_DENIED, "scope")
        assert "certificate" in ended.details() and "tunnel refused: " in gateway.line("client certificate")
        peer.breaks()


def shakes_hands(gateway, context):
    host, port = gateway.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), PATIENCE_SECONDS) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as stream:
            return ssl.DER_cert_to_PEM_cert(stream.getpeercert(binary_form=True))


@pytest.mark.parametrize("offered", [["http/1.1"], []])
def test_a_client_that_does_not_offer_h2(start_gateway, folder, offered):
    gateway = start_gateway({"listeners": [listener(folder)]})
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.set_alpn_protocols(offered)
    with pytest.raises(ssl.SSLError, match="(?i)alert no application protocol"):
        shakes_hands(gateway, context)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_1(start_gateway, folder):
    gateway = start_gateway({"listeners": [listener(folder)]})
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.set_alpn_protocols(["h2"])
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="(?i)alert"):
        shakes_hands(gateway, context)


def served_certificate(gateway, folder):
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.set_alpn_protocols(["h2"])
    return shakes_hands(gateway, context)


def test_renewed_files_are_used_and_half_a_renewal_is_told_once(start_gateway, start_peer, folder, tmp_path):
    for name in ("gateway.crt", "gateway.key", "ca.crt", "ca.key"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "gateway.key").chmod(0o600)
    before = (tmp_path / "gateway.crt").read_text()
    gateway = start_gateway({"listeners": [listener(tmp_path, reload_interval="20ms")]})
    peer = start_peer(gateway, credentials=credentials(folder))

    sign(tmp_path, "next", "DNS:localhost,IP:127.0.0.1")
    after = (tmp_path / "next.crt").read_text()
    (tmp_path / "next.crt").rename(tmp_path / "gateway.crt")
    gateway.line("certificate not renewed")
    for _ in range(20):
        assert served_certificate(gateway, folder) == before
    (tmp_path / "next.key").rename(tmp_path / "gateway.key")
    gateway.line("certificate renewed")
    assert served_certificate(gateway, folder) == after
    assert len([line for line in gateway.lines if "certificate not renewed" in line]) == 1
    assert greets(gateway, peer, credentials(folder)), "the tunnel from before goes on"


def test_a_certificate_that_is_being_renewed_keeps_nothing_else_from_changing(start_gateway, folder, tmp_path):
    key = tmp_path / "gateway.key"
    key.write_bytes((folder / "gateway.key").read_bytes())
    gateway = start_gateway({"listeners": [listener(folder, key=str(key), reload_interval="20ms")]})
    assert gateway.address
    key.write_bytes((folder / "agent-1.key").read_bytes())
    gateway.line("certificate not renewed")
    written = json.loads(gateway.config_path.read_text())
    gateway.config_path.write_text(json.dumps({**written, "limits": {"calls_max": 5}}))
    gateway.line("configuration applied:")


def test_a_configuration_waits_for_a_file_that_it_names(start_gateway, start_peer, folder, tmp_path):
    gateway = start_gateway({"listeners": [listener(folder)]})
    assert gateway.address
    late = tmp_path / "late.crt"
    written = json.loads(gateway.config_path.read_text())
    written["listeners"].append(listener(folder, certificate=str(late)))
    gateway.config_path.write_text(json.dumps({**written, "limits": {"calls_max": 5}}))
    gateway.line("configuration refused, the old one stays:")
    late.write_bytes((folder / "gateway.crt").read_bytes())
    gateway.line("configuration applied in part: needs_restart=listeners")
    assert len([line for line in gateway.lines if "configuration refused" in line]) == 1


def test_keys_that_ask_for_certificates_wait_for_a_listener_that_does(start_gateway, start_peer, folder):
    key = "the-key-of-a-program-with-a-certificate"
    entry = {"id": "bound", "sha256": hashlib.sha256(key.encode()).hexdigest()}
    gateway = start_gateway({"listeners": [listener(folder)], "keys": [entry]}, key=None)
    peer = start_peer(gateway, key=key, credentials=credentials(folder))
    written = json.loads(gateway.config_path.read_text())
    written["listeners"] = [listener(folder, client_ca=True)]
    written["keys"] = [{**entry, "certificate_names": ["*.example.com"]}]
    gateway.config_path.write_text(json.dumps(written))
    assert "certificate_names" in gateway.line("configuration refused, the old one stays:")
    assert greets(gateway, peer, credentials(folder))


def test_what_is_wrong_with_the_files_is_told_at_the_start(start_gateway, folder, tmp_path):
    refused = Gateway(tmp_path, {"listeners": [listener(folder, key=str(folder / "agent-1.key"))]})
    assert refused.exit_code() == 2
    refused.line("listeners[0].tls.key: the key in ")

    (tmp_path / "open.key").write_bytes((folder / "gateway.key").read_bytes())
    (tmp_path / "open.key").chmod(0o644)
    gateway = start_gateway({"listeners": [listener(folder, key=str(tmp_path / "open.key"))]})
    assert "mode=644" in gateway.line("key open to others: ")
    assert gateway.address


@pytest.mark.parametrize("ask", [False, True])
def test_the_tls_section_of_the_readme(start_gateway, start_service, folder, ask):
    written = json.loads(re.search(r'^\{ "listeners": .*?"tls".*?\}$', README, re.DOTALL | re.MULTILINE)[0])
    [written] = written["listeners"]
    tls = {field: str(folder / path) for field, path in written["tls"].items() if ask or field != "client_ca"}
    gateway = start_gateway({"listeners": [{"address": "127.0.0.1:0", "tls": tls}]})
    port = gateway.address.rsplit(":", 1)[1]

    exported = fenced("sh", "# a service and a caller with TLS").splitlines()[1]
    environment = dict(pair.split("=", 1) for pair in exported.split()[1:])
    address = environment.pop("ADIT_ADDRESS").replace(written["address"].rsplit(":", 1)[1], port)
    start_service(address, environment=environment, cwd=folder)
    for language in sorted(EXAMPLE_CALLERS.keys() & set(LANGUAGES)):
        called = subprocess.run(
            EXAMPLE_CALLERS[language], cwd=folder, capture_output=True, text=True,
            env=dict(os.environ, ADIT_ADDRESS=address, **environment), timeout=PATIENCE_SECONDS)
        assert called.returncode == 0, called.stderr
        assert "Greet: Hello, Ada!" in called.stdout, language
