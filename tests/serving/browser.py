"""A headless Chromium, driven through its DevTools protocol: open a page, wait, run script, photograph."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """One tab."""

    def __init__(self, socket):
        self._socket = socket
        self._count = 0
        self.log = []

    def call(self, method, **params):
        """One command and its result."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if message.get("id") == self._count:
                assert "error" not in message, message
                return message["result"]
            if message["method"] in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.log.append(message["params"])

    def open(self, address, width=1440, height=860, *, phone=False, light=False):
        """Show an address in a window of this size."""
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "light" if light else "dark"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=address)

    def evaluate(self, script):
        """The value of a script."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, script):
        """Until a script's value is true."""
        end = time.monotonic() + PATIENCE_S
        while not self.evaluate(f"(() => {{ try {{ return {script} }} catch {{ return false }} }})()"):
            assert time.monotonic() < end, f"never: {script}; {self.log}"
            time.sleep(0.05)

    def photograph(self, path):
        """A PNG of the window."""
        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browse(folder: Path) -> Iterator[Browser]:
    """Start Chromium with a fresh profile in `folder`; skips the test where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("needs Chromium")
    client = pytest.importorskip("websockets.sync.client")
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--hide-scrollbars",
    ]
    command = [program, *flags, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _port_of(folder, process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=PATIENCE_S) as answer:
            tab = next(tab for tab in json.load(answer) if tab["type"] == "page")
        with client.connect(tab["webSocketDebuggerUrl"], max_size=1 << 26, proxy=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _port_of(folder: Path, process: subprocess.Popen[bytes]) -> int:
    note = folder / "DevToolsActivePort"
    end = time.monotonic() + PATIENCE_S
    while not note.exists() or not note.read_text().strip():
        if process.poll() is not None or time.monotonic() > end:
            pytest.skip("Chromium does not start here")
        time.sleep(0.05)
    return int(note.read_text().split()[0])
