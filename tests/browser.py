"""A headless Chromium for tests of pages, driven over a pipe with its DevTools protocol."""

import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ["--headless", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run"]
OPTIONS += ["--disable-dev-shm-usage", "--disable-background-networking", "--hide-scrollbars", "about:blank"]
READ, WRITE = 3, 4  # the file descriptors by which Chromium takes commands and answers
WAIT = 120.0  # seconds, on a busy machine
PHONE, DESK = (390, 844), (1280, 900)


class Browser:
    """One tab. `events` holds what it reported since the last `open`: requests, console and errors."""

    def __init__(self, folder: Path) -> None:
        """Start Chromium with a profile in `folder`; skip the test where there is none."""
        found = next(filter(None, map(shutil.which, NAMES)), None)
        if found is None:
            pytest.skip(f"CHROMIUM ABSENT: none of {', '.join(NAMES)}; pages are not opened in a browser")
        to_read, self._commands = os.pipe()
        self._answers, to_write = os.pipe()

        def connect() -> None:
            os.dup2(to_read, READ)
            os.dup2(to_write, WRITE)

        self._process = subprocess.Popen(
            [found, f"--user-data-dir={folder}", *OPTIONS],
            preexec_fn=connect,
            pass_fds=(READ, WRITE),
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HOME": str(folder)},
        )
        os.close(to_read)
        os.close(to_write)
        self._rest, self._numbers, self._session = b"", itertools.count(1), ""
        self.events: list[dict] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(WAIT)
        os.close(self._commands)
        os.close(self._answers)

    def call(self, method: str, **params) -> dict:
        """Send a command and return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        text = memoryview(json.dumps(message).encode() + b"\0")
        while text:
            text = text[os.write(self._commands, text) :]
        while (answer := self._next()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _next(self) -> dict:
        deadline = time.monotonic() + WAIT
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"Chromium is silent for {WAIT:g} s"
            read = os.read(self._answers, 1 << 20)
            assert read, "Chromium has ended"
            self._rest += read
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)

    def open(
        self, page: Path, size: tuple[int, int] = DESK, *, dark: bool = False, bypass_policy: bool = False
    ) -> None:
        """Load a file. `bypass_policy` lets `run` inject scripts that the page's own policy would stop."""
        width, height = size
        wishes = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.call("Emulation.setDeviceMetricsOverride", **screen)
        self.call("Emulation.setEmulatedMedia", features=[{"name": k, "value": v} for k, v in wishes.items()])
        self.call("Page.setBypassCSP", enabled=bypass_policy)
        for url in ("about:blank", page.absolute().as_uri()):
            self.events.clear()
            self.call("Page.navigate", url=url)
            while not self.found("Page.loadEventFired"):
                self.events.append(self._next())

    def run(self, script: str):
        """Return the value of a JavaScript expression, or of its promise."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press Tab or Enter."""
        code = {"Tab": 9, "Enter": 13}[key]
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": "\r" if key == "Enter" else ""}
        self.call("Input.dispatchKeyEvent", type="keyDown", **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def found(self, method: str) -> list[dict]:
        """Return what the events of one kind report."""
        return [event["params"] for event in self.events if event.get("method") == method]
