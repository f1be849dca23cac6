"""Limits the requests of each address by a token bucket, in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

BURST: Final = 40.0
"""Burst of requests. A page with its parts has five."""
RATE: Final = 5.0
"""Requests per second after that."""
_MOST_ADDRESSES: Final = 256


class Allowance:
    """Token buckets by address. The address of the oldest request is dropped first. Threads may share it."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> bool:
        """Whether the address may make one more request now."""
        with self._lock:
            now = self._monotonic()
            left, since = self._buckets.pop(address, (BURST, now))
            left = min(BURST, left + (now - since) * RATE)
            allowed = left >= 1
            self._buckets[address] = (left - allowed, now)
            if len(self._buckets) > _MOST_ADDRESSES:
                self._buckets.popitem(last=False)
            return allowed
