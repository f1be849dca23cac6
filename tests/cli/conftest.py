"""Fixtures of the command line's tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Call a function until it returns something true, for five seconds at most."""

    def wait(probe: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 5
        while True:
            found = probe()
            if found or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    return wait
