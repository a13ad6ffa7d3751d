"""A headless Chromium, led through a pipe: what it shows, what it complains about, what it loads.

Nothing but the browser itself is needed: it speaks JSON through two pipes
(``--remote-debugging-pipe``), each message ended by a zero byte.
"""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE = 60.0  # seconds for any answer


def find_browser() -> str | None:
    """Return the path of a Chromium, if there is one."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page of a headless Chromium; use it in a ``with`` statement."""

    def __init__(self, program: str) -> None:
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []
        self.received = b""
        to_read, self.to_write = os.pipe()
        self.to_hear, to_answer = os.pipe()
        keep = (to_read, to_answer)
        script = f'exec 3<&{to_read} 4>&{to_answer}; exec "$@"'
        options = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
            "--no-first-run", "--disable-background-networking", "--disable-extensions",
            "--disable-dev-shm-usage", f"--user-data-dir={self.profile.name}", "about:blank",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", program, *options],
            pass_fds=keep, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in keep:
            os.close(end)
        self.session = None
        page = next(
            one for one in self.ask("Target.getTargets")["targetInfos"] if one["type"] == "page"
        )
        attached = self.ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.session = None
        try:
            self.ask("Browser.close")
        except (OSError, TimeoutError):
            self.process.kill()
        self.process.wait(timeout=PATIENCE)
        os.close(self.to_write)
        os.close(self.to_hear)
        self.profile.cleanup()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come first are kept."""
        number = next(self.numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_write, json.dumps(message).encode() + b"\0")
        while (heard := self._hear()).get("id") != number:
            self.events.append(heard)
        if "error" in heard:
            raise RuntimeError(f"{method}: {heard['error']['message']}")
        return heard["result"]

    def open(self, path: Path, width: int = 1280, height: int = 900, **media: str) -> None:
        """Open a file and wait until it is there; media: ``prefers_color_scheme="dark"``."""
        self.view(width, height)
        features = [{"name": k.replace("_", "-"), "value": v} for k, v in media.items()]
        self.ask("Emulation.setEmulatedMedia", features=features)
        self.events.clear()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while not any(one.get("method") == "Page.loadEventFired" for one in self.events):
            self.events.append(self._hear())

    def view(self, width: int, height: int) -> None:
        """Set the size of the window."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def run(self, script: str) -> Any:
        """Return what a JavaScript expression gives."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def point(self, x: float, y: float) -> None:
        """Move the pointer."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def picture(self, file: Path, whole: bool = False, **clip: float) -> None:
        """Save what is seen, or the whole page, as PNG."""
        more: dict[str, Any] = {"captureBeyondViewport": whole}
        if whole:
            size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
            box = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            more["clip"] = box | clip
        found = self.ask("Page.captureScreenshot", format="png", **more)
        file.write_bytes(base64.b64decode(found["data"]))

    def paper(self) -> bytes:
        """Return the page as PDF."""
        found = self.ask("Page.printToPDF", printBackground=True)
        return base64.b64decode(found["data"])

    def complaints(self) -> list[str]:
        """Return errors and warnings of the page since it was opened."""
        said = []
        for one in self.events:
            inner = one.get("params", {})
            if one.get("method") == "Runtime.exceptionThrown":
                said.append(str(inner["exceptionDetails"]))
            if one.get("method") == "Log.entryAdded":
                said.append(inner["entry"]["text"])
            if one.get("method") == "Runtime.consoleAPICalled":
                said.append(str(inner["args"]))
        return said

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the page was opened."""
        return [
            one["params"]["request"]["url"]
            for one in self.events
            if one.get("method") == "Network.requestWillBeSent"
        ]

    def _hear(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self.received:
            ready, _, _ = select.select([self.to_hear], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser does not answer")
            part = os.read(self.to_hear, 1 << 20)
            if not part:
                raise TimeoutError("the browser has ended")
            self.received += part
        message, _, self.received = self.received.partition(b"\0")
        return json.loads(message)
