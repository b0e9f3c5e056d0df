"""Headless Chromium by its own DevTools protocol: open a page, wait for what it shows, take a picture.

Needs Debian's ``chromium`` (or any Chrome; set ``CHROMIUM``) and nothing else.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

#: Without the background-networking flags the browser keeps asking hosts of its maker.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def find_chromium() -> str | None:
    """Return the browser's executable, None when there is none."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


#: What the browser answers when the page that was asked went away meanwhile.
_LEFT = (
    "navigated or closed",
    "context was destroyed",
    "Cannot find context",
    "Cannot find default execution",
)


class PageLeft(RuntimeError):
    """The page went away before it answered: another is on its way."""


class Browser:
    """A headless browser with one page, open from construction to ``close``."""

    def __init__(self, *, width: int = 1440, height: int = 900, scale: float = 1.0) -> None:
        executable = find_chromium()
        if executable is None:
            raise RuntimeError("there is no Chromium; install it: apt-get install chromium")
        self._profile = Path(tempfile.mkdtemp(prefix="cdc-browser-"))
        size = f"--window-size={width},{height}"
        self._process = subprocess.Popen(
            [executable, *FLAGS, size, f"--user-data-dir={self._profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._last_id = 0
        self._connection = ExitStack()
        self._events: list[dict[str, Any]] | None = None
        try:
            self._socket = self._connect()
            self._call("Page.enable")
            self._call(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=height,
                deviceScaleFactor=scale,
                mobile=False,
            )
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and remove its profile."""
        with suppress(Exception):
            self._connection.close()
        self._end()

    def watch(self) -> None:
        """Take down from now on what the page asks for and what goes wrong in it."""
        self._events = []
        for domain in ("Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def requests(self) -> list[str]:
        """Return the addresses the page asked for since ``watch``, its own among them."""
        return [event["params"]["request"]["url"] for event in self._seen("Network.requestWillBeSent")]

    def problems(self) -> list[str]:
        """Return what the console and the browser complained of since ``watch``."""
        raised = [str(event["params"]["exceptionDetails"]) for event in self._seen("Runtime.exceptionThrown")]
        said = [str(event["params"]["args"]) for event in self._seen("Runtime.consoleAPICalled")]
        return [*raised, *said, *(str(event["params"]["entry"]) for event in self._seen("Log.entryAdded"))]

    def prefer(self, scheme: str) -> None:
        """Let the page find that the user prefers the ``light`` or the ``dark`` theme."""
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def resize(self, width: int, height: int) -> None:
        """Give the window another size."""
        size = {"width": width, "height": height}
        self._call("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1.0, mobile=False)

    def _seen(self, method: str) -> list[dict[str, Any]]:
        self.evaluate("0")  # what happened before its answer has been told by then
        return [event for event in self._events or () if event["method"] == method]

    def open(self, url: str) -> None:
        """Go to ``url``; what the page fetches afterwards is waited for by ``wait_for``."""
        self._call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page. Raises PageLeft when it goes away."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def text(self) -> str:
        """Return the text the page shows: none while another page is on its way."""
        try:
            return str(self.evaluate("document.body ? document.body.innerText : ''"))
        except PageLeft:
            return ""

    def wait_for(self, *texts: str, seconds: float = 60) -> str:
        """Wait until the page shows all ``texts``, and return what it shows. Raises TimeoutError."""
        return self.wait_until(lambda shown: all(text in shown for text in texts), texts, seconds=seconds)

    def wait_until(
        self, is_reached: Callable[[str], bool], what: object = "it", *, seconds: float = 60
    ) -> str:
        """Wait until ``is_reached`` says yes to the page's text. Raises TimeoutError with the text."""
        deadline = time.monotonic() + seconds
        while True:
            shown = self.text()
            if is_reached(shown):
                return shown
            if time.monotonic() > deadline:
                raise TimeoutError(f"the page does not show {what} after {seconds:.0f} s; it shows:\n{shown}")
            time.sleep(0.2)

    def click(self, text: str) -> None:
        """Click the innermost element whose text is ``text``."""
        wanted = json.dumps(text)
        found = self.leave(
            "(() => { const all = [...document.querySelectorAll('a,button,div,span,li')]"
            f".filter(one => one.innerText && one.innerText.trim() === {wanted});"
            " const last = all[all.length - 1]; if (last) last.click(); return !!last; })()"
        )
        if not found:
            raise RuntimeError(
                f"there is nothing to click that says {text!r}; the page shows:\n{self.text()}"
            )

    def leave(self, expression: str) -> Any:
        """Evaluate what may lead to another page, which can take the answer with it: True then."""
        try:
            return self.evaluate(expression)
        except PageLeft:
            return True

    def settle(self, *, seconds: float = 1.5) -> None:
        """Give animations and layout the time to end: wait until the text has not changed for a while."""
        last, since = self.text(), time.monotonic()
        deadline = since + 20
        while time.monotonic() - since < seconds and time.monotonic() < deadline:
            time.sleep(0.2)
            if (shown := self.text()) != last:
                last, since = shown, time.monotonic()

    def screenshot(self, path: Path) -> None:
        """Write what the window shows as a PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def _connect(self) -> ClientConnection:
        marker = self._profile / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not marker.exists() or not marker.read_text().strip():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Chromium does not start (exit code {self._process.poll()})")
            time.sleep(0.05)
        port = marker.read_text().splitlines()[0]
        with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
            pages = [one for one in json.load(answer) if one["type"] == "page"]
        url = pages[0]["webSocketDebuggerUrl"]
        return self._connection.enter_context(connect(url, max_size=None, open_timeout=10))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last_id += 1
        self._socket.send(json.dumps({"id": self._last_id, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._last_id:
                if "error" in message:
                    said = f"{method}: {message['error']['message']}"
                    raise (PageLeft if any(words in said for words in _LEFT) else RuntimeError)(said)
                return dict(message["result"])
            if self._events is not None and "method" in message:
                self._events.append(message)

    def _end(self) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)
        shutil.rmtree(self._profile, ignore_errors=True)
