"""A headless browser that a test drives through the DevTools protocol, over a pair of pipes."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe")
_PATIENCE = 120.0


class Tab:
    """One page of the browser."""

    def __init__(self, to_browser: BinaryIO, from_browser: BinaryIO) -> None:
        self._to, self._from = to_browser, from_browser
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []

    def attach(self) -> None:
        """Open the page for later calls."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while True:
            received = self._receive()
            if received.get("id") == self._number:
                assert "error" not in received, received
                return dict(received["result"])
            self.events.append(received)

    def value_of(self, expression: str) -> Any:
        """The value of an expression on the page, as if the user had caused it."""
        result = self.call(
            "Runtime.evaluate", expression=expression, userGesture=True, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Wait until an expression is true, and return its value."""
        ends = time.monotonic() + _PATIENCE
        while not (value := self.value_of(expression)):
            assert time.monotonic() < ends, f"{expression}; the page says {self.value_of('document.body.innerText')!r}"
            time.sleep(0.1)
        return value

    def picture(self) -> bytes:
        """The window as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _receive(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            assert byte, "the browser has ended"
            message += byte
        return dict(json.loads(message))


@contextmanager
def driven(executable: str, options: Sequence[str]) -> Iterator[Tab]:
    """Run a browser with one page."""
    commands, to_browser = os.pipe()
    from_browser, answers = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The protocol has fixed descriptors: 3 for commands, 4 for answers.
        shell = f'exec "$@" 3<&{commands} 4>&{answers}'
        process = subprocess.Popen(
            ["bash", "-c", shell, "bash", executable, *_OPTIONS, f"--user-data-dir={profile}", *options],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(commands)
        os.close(answers)
        try:
            with open(to_browser, "wb") as writer, open(from_browser, "rb") as reader:  # noqa: PTH123 - descriptors
                tab = Tab(writer, reader)
                tab.attach()
                yield tab
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)
