"""Chromium that is driven: pages of a real server, with logins, clicks and server-sent events.

It speaks the DevTools protocol over a pair of pipes, so that no port and no library is needed.
"""

import base64
import json
import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autocompress.tests.browser import CHROMIUM, FLAGS
from autocompress.tests.present import present

_FLAGS = [flag for flag in FLAGS if not flag.startswith("--virtual-time-budget")]


class Page:
    """A page. `errors` are what its console and its policy complained of."""

    def __init__(self, write: Any, read: Any):
        self._write, self._read, self._number, self._rest = write, read, 0, b""
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    _session: str | None = None

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> Any:
        while b"\0" not in self._rest:
            self._rest += os.read(self._read.fileno(), 1 << 20)
        text, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(text)
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(
                message["params"]["exceptionDetails"].get("exception", {}).get("description", "?")
            )
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.errors.append(message["params"]["entry"]["text"])
        return message

    def go(self, url: str, *, width: int = 1280, height: int = 1000) -> None:
        """Opens an address and waits until it is there."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of a script."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, condition: str, *, timeout_s: float = 60) -> None:
        """Waits until a script's value is true."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if self.run(condition):
                    return
            except AssertionError:  # the page is being left
                pass
            assert time.monotonic() < deadline, f"{condition}: {self.run('document.body.innerText')}"
            time.sleep(0.05)

    def submit(self, script: str) -> None:
        """Runs a script that leads to another page, and waits for that."""
        self.run("window.before = true")
        self.run(script)
        self.until("!window.before && document.readyState === 'complete'")

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def chromium_page(folder: Path):
    """A page of a Chromium of its own."""
    to_read, to_write = os.pipe(), os.pipe()

    def connect() -> None:
        os.dup2(to_read[0], 3)
        os.dup2(to_write[1], 4)
        os.set_inheritable(3, True)
        os.set_inheritable(4, True)

    command = [present(CHROMIUM), *_FLAGS, "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"]
    process = subprocess.Popen(
        [*command, "about:blank"],
        preexec_fn=connect,  # noqa: PLW1509 - it duplicates two descriptors
        close_fds=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": "/tmp"},
    )
    os.close(to_read[0])
    os.close(to_write[1])
    with os.fdopen(to_read[1], "wb") as write, os.fdopen(to_write[0], "rb", buffering=0) as read:
        try:
            yield Page(write, read)
        finally:
            process.kill()
            process.wait()
