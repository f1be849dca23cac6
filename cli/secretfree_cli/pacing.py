"""Limits calls per second, so that a long command leaves the account's quota to the devices."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Spaces calls at even intervals. `rate`: calls per second."""

    def __init__(
        self,
        rate: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval = 1 / rate
        self._monotonic = monotonic
        self._sleep = sleep
        self._next = monotonic()

    def wait(self) -> None:
        """Return when the next call may begin."""
        now = self._monotonic()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._interval
