"""The page of the metrics listener, in a browser: what it shows, whom it asks, and what it makes of text
that others have chosen."""
import hashlib
import json
import shutil
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import KEY, PATIENCE_SECONDS, eventually, greet, hello
from selenium import webdriver
from selenium.webdriver.common.by import By

TOKEN = "a-token-for-tests-of-32-bytes-or-more"
GUARDED = {"metrics": {"address": "127.0.0.1:0", "token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest()}}
HOSTILE = '<img src=x onerror="document.title=1"><script>document.body.remove()</script>'
LONG = "a.package.with.a.name.of.many.parts." + "x" * 200
DESKTOP, PHONE = (1280, 900), (360, 780)


def url_of(gateway):
    return gateway.line("metrics: address=").rsplit("=", 1)[1]


class Page:
    """A tab that shows the page."""

    def __init__(self, driver, url):
        self.driver, self.url = driver, url
        driver.get_log("browser"), driver.get_log("performance")  # of the test before
        driver.get(url)

    def text(self, part):
        return self.driver.find_element(By.ID, part).get_property("textContent")

    def rows(self, part):
        rows = self.driver.find_elements(By.CSS_SELECTOR, f"#{part} tr")
        return [[cell.get_property("textContent") for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]

    def is_shown(self, part):
        return self.driver.find_element(By.ID, part).is_displayed()

    def shows(self, part, expected):
        eventually(lambda: self.text(part) == expected, f"#{part} is {expected!r}, but {self.text(part)!r}")

    def is_live(self):
        """Its numbers come from a gateway, and from one second to the next they are others."""
        self.shows("state", "serving")
        before = self.text("uptime")
        eventually(lambda: self.text("uptime") != before, "another uptime")

    def types(self, token):
        self.driver.find_element(By.ID, "token").send_keys(token + "\n")

    def requests(self):
        """Everything that the browser has asked for since it was asked for this page."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def errors(self):
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def width(self):
        """Of what is on the page, and of the window."""
        return self.driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def look(browser):
    """Opens the page, as large as asked."""
    def look_at(url, size=DESKTOP):
        width, height = size
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE})
        return Page(browser, url)
    yield look_at
    browser.get("about:blank")


@contextmanager
def stage(gateway, **changes):
    """The listener of a gateway, with some of its answers changed."""
    behind = url_of(gateway)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            with urllib.request.urlopen(behind + self.path[1:], timeout=PATIENCE_SECONDS) as answer:
                text, headers = answer.read(), answer.headers
            change = changes.get(self.path.strip("/").split("?")[0])
            if change:
                shown = json.loads(text)
                change(shown)
                text = json.dumps(shown).encode()
            self.send_response(200)
            for name in ("content-type", "content-security-policy"):
                if headers[name]:
                    self.send_header(name, headers[name])
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield "http://127.0.0.1:%d/" % server.server_port
    server.shutdown()
    server.server_close()


def tunnel(name, state):
    return {
        "id": "0f8fad5b-d9cb-469f-a165-70867728950e", "key_id": name, "peer_address": "10.0.0.1:1", "dialect": "plain",
        "features": [], "services": [name, LONG], "topics": [], "worker": 0, "state": state, "opened_at": "",
        "age_seconds": 1, "calls_in_flight": 4, "calls_started": 5, "own_calls_in_flight": 0, "frames_in": 1,
        "frames_out": 1, "bytes_in": 1468006, "bytes_out": 10, "queued_bytes": 0, "stalled_seconds": 0,
        "last_heard_seconds_ago": 1.25, "round_trip_seconds": None}


def service(name):
    return {
        "name": name, "tunnels": {"opening": 0, "ready": 2, "late": 1, "draining": 0}, "calls_started": 9,
        "calls_in_flight": 1, "per_second": 1234.5, "p50_seconds": 0.0012, "p99_seconds": 0.25, "messages_in": 9,
        "messages_out": 8, "by_status": {"OK": 5, "UNAVAILABLE": 3, HOSTILE: 1}, "by_reason": {"no_tunnel": 3}}


def actor(stuck):
    handling = {"kind": "pending", "id": HOSTILE, "message": LONG, "for_seconds": 2.5}
    return {
        "kind": "pending", "id": HOSTILE, "arbiter": 1, "age_seconds": 9, "mailbox_depth": 7, "messages_handled": 8,
        "dead_letters": 0, "stuck": stuck, "handling": handling if stuck else None}


def crowded(gateway):
    """Names of all kinds, and everything that can be wrong."""
    def services(shown):
        shown["services"] = [service(HOSTILE), service(LONG), service("demo.Greeter")]

    def connections(shown):
        shown.update(connections=[tunnel(HOSTILE, "late"), tunnel(LONG, "draining"), tunnel("b", "ready")], open=1000)

    def actors(shown):
        shown.update(actors=[actor(stuck=True), actor(stuck=False)], matched=2)

    return stage(gateway, services=services, connections=connections, actors=actors)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_numbers_of_the_gateway_appear_and_change(gateway, start_peer, look, size):
    peer, caller, page = start_peer(gateway), gateway.caller(), look(url_of(gateway), size)
    page.is_live()
    for count in range(1, 4):
        call = caller.Greet.future(greet(), timeout=PATIENCE_SECONDS)
        peer.answers(peer.receives("request"), hello())
        assert call.result(PATIENCE_SECONDS) == hello()
        page.shows("calls-started", str(count))
    page.shows("tunnels-ready", "1")
    # Beside it there may be `other`, for calls to names that nobody has registered.
    eventually(lambda: page.rows("services-rows")[0][:2] == ["demo.Greeter", "1 ready"], "the service")
    identity = peer.connected.connection_id
    eventually(lambda: [row[2] for row in page.rows("tunnels-rows")] == [identity[:8]], "the tunnel")
    eventually(lambda: "registry" in [row[0] for row in page.rows("actors-rows")], "the actors")
    assert page.text("latency-p99") != "–" and page.text("overhead-p99") != "–"
    width, window = page.width()
    assert width <= window
    assert page.errors() == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_asks_nobody_else(gateway, look, size):
    page = look(url_of(gateway), size)
    page.is_live()
    asked = page.requests()
    assert {url.removeprefix(page.url).split("?")[0] for url in asked if not url.startswith("data:")} == {
        "", "status", "services", "connections", "actors"}
    assert page.errors() == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_names_are_text_and_what_is_wrong_has_a_word(gateway, look, size):
    with crowded(gateway) as url:
        page = look(url, size)
        eventually(lambda: page.rows("services-rows") and page.rows("tunnels-rows") and page.rows("actors-rows"), "rows")
        names = [row[0] for row in page.rows("services-rows")]
        assert names == [HOSTILE, LONG, "demo.Greeter"]
        assert page.rows("services-rows")[0][1:] == [
            "2 ready, 1 late", "1,235", "1", "1.2ms", "250ms", f"UNAVAILABLE 3, {HOSTILE} 1, no_tunnel 3"]
        assert page.rows("tunnels-rows")[0] == [
            f"{HOSTILE}, {LONG}", "late", "0f8fad5b", HOSTILE, "4", "1.4 MiB", "10 B", "1.3s ago", "–"]
        assert [row[1] for row in page.rows("tunnels-rows")] == ["late", "draining", "ready"]
        assert page.text("tunnels-note") == "3 of 1,000 tunnels"
        stuck, idle = page.rows("actors-rows")
        assert (stuck[2], stuck[6], idle[2], idle[6]) == ("stuck", f"{LONG} for 2.5s", "idle", "")
        width, window = page.width()
        assert width <= window, "it scrolls sideways"
        page.is_live()
        assert page.driver.find_elements(By.CSS_SELECTOR, "img, #numbers script") == []
        assert page.errors() == []


def test_the_token_is_asked_for_and_kept_for_the_tab_alone(start_gateway, look):
    page = look(url_of(start_gateway(GUARDED)))
    eventually(lambda: page.is_shown("asks"), "it asks for the token")
    assert not page.is_shown("numbers")
    page.types("another")
    page.shows("refusal", "That is not the token.")
    page.types(TOKEN)
    page.is_live()
    assert page.is_shown("numbers") and not page.is_shown("asks")
    kept = page.driver.execute_script(
        "return [Object.values(sessionStorage), localStorage.length, document.cookie, location.href]")
    assert kept == [[TOKEN], 0, "", page.url]
    page.driver.refresh()
    page.is_live()
    assert not any(TOKEN in url for url in page.requests())


def test_it_says_when_the_gateway_is_away_and_goes_on_when_it_is_back(start_gateway, look):
    first = start_gateway()
    page = look(url_of(first))
    page.is_live()
    assert page.text("notice") == ""
    assert first.stop() == 0
    eventually(lambda: page.text("notice").startswith("The gateway is away."), "it says so")
    page.shows("state", "away")
    start_gateway({"metrics": {"address": page.url.split("//")[1].rstrip("/")}})
    page.is_live()
    page.shows("notice", "")


def test_a_page_that_fails_alone_is_named(gateway, look):
    def broken(shown):
        shown["services"] = None
    with stage(gateway, services=broken) as url:
        page = look(url)
        eventually(lambda: page.text("notice").startswith("/services"), "it names the page")
        page.is_live()
