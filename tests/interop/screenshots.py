"""Takes the pictures of docs/images: the page of the metrics listener, on a desk and on a phone, while the
example service and another one answer calls. `python tests/interop/screenshots.py [SECONDS]`

Needs what the tests need: the gateway and the example service built, chromium and its driver.
"""
import base64
import itertools
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc
from conftest import (
    EXAMPLE_SERVICES, PATIENCE_SECONDS, REPOSITORY, STREAMING, Peer, gateways, greet, greeter, programs)
from selenium import webdriver

IMAGES = REPOSITORY / "docs" / "images"
# Name of the picture, width, height, twice as fine or not, dark or not.
PICTURES = [("page", 1180, 1000, 1, "light"), ("page-phone", 360, 960, 2, "dark")]
CALLERS = 4
# Between two calls of a caller.
PAUSE_SECONDS = 0.02


class Invoices(Peer):
    """A second service: it answers most of its calls."""

    def __init__(self, gateway):
        super().__init__(gateway, services=("acme.billing.v1.Invoices",), features=STREAMING)
        self.registered()
        threading.Thread(target=self.serves, daemon=True).start()

    def serves(self):
        for count in itertools.count():
            frame = self.frames.get()
            if frame is None:
                return
            if frame.WhichOneof("message_type") == "request":
                failed = {"status_code": 5, "error_message": "no such invoice"} if count % 40 == 0 else {}
                self.answers(frame.request, **failed)


def calls(gateway, over):
    """What one caller does until it is told to stop."""
    channel = gateway.channel()
    caller = gateway.caller()
    invoice = channel.unary_unary("/acme.billing.v1.Invoices/Find")
    nobody = channel.unary_unary("/acme.shipping.v1.Parcels/Track")
    held = caller.Count(greeter.CountRequest(limit=1_000_000, pause_ms=200))
    for count in itertools.count():
        if over.wait(PAUSE_SECONDS):
            held.cancel()
            return
        for call in (caller.Greet.future(greet("" if count % 25 == 0 else "Ada"), timeout=PATIENCE_SECONDS),
                     invoice.future(b"", timeout=PATIENCE_SECONDS),
                     nobody.future(b"", timeout=PATIENCE_SECONDS) if count % 50 == 0 else None):
            try:
                call and call.result()
            except grpc.RpcError:
                pass  # some are to fail


def take(url, seconds):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(option)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(url)
        time.sleep(seconds)  # a line of so many seconds
        for name, width, height, scale, scheme in PICTURES:
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                "width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500})
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
                "features": [{"name": "prefers-color-scheme", "value": scheme}]})
            picture = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
            (IMAGES / f"{name}.png").write_bytes(base64.b64decode(picture))
    finally:
        driver.quit()


def main(seconds):
    IMAGES.mkdir(parents=True, exist_ok=True)
    over = threading.Event()
    with tempfile.TemporaryDirectory() as folder, gateways(Path(folder)) as start_gateway, programs() as start:
        gateway = start_gateway()
        for _ in range(3):
            start(EXAMPLE_SERVICES["rust"], gateway.address)
        peer = Invoices(gateway)
        callers = [threading.Thread(target=calls, args=(gateway, over)) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        try:
            take(gateway.line("metrics: address=").rsplit("=", 1)[1], seconds)
        finally:
            over.set()
            for caller in callers:
                caller.join(PATIENCE_SECONDS)
            peer.breaks()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 120)
