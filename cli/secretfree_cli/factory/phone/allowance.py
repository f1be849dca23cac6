"""How many requests an address may make: a bucket each, in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

BURST: Final = 40.0
"""Requests at once. A page with its parts is five."""
RATE: Final = 5.0
"""Requests a second after that."""
_MOST_ADDRESSES: Final = 256


class Allowance:
    """Token buckets by address. The address that asked longest ago is forgotten first. Threads may share it."""

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
