"""The one-time link. It pairs only the first phone that opens it with the session."""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable
from enum import Enum
from typing import Final

from secretfree.clock import Clock

LINK_SECONDS: Final = 600.0
"""How long the link is valid."""
_BYTES: Final = 32


class LinkRefusal(Enum):
    """Why a link does not pair a phone; the value is the answer to the phone."""

    UNKNOWN = "This link is not valid. Scan the code in the terminal."
    USED = "Another phone or browser has used this link. Start the command again."
    EXPIRED = "This link has expired. Start the command again."


class Pairing:
    """The link's secret, which is valid once, and the paired phone's secret.

    Threads may share it.
    """

    def __init__(self, clock: Clock, *, token: Callable[[int], str] = secrets.token_urlsafe) -> None:
        self.link_token: Final = token(_BYTES)
        self._pass = token(_BYTES)
        self._clock = clock
        self._ends = clock.monotonic() + LINK_SECONDS
        self._lock = threading.Lock()
        self._paired = False

    @property
    def paired(self) -> bool:
        """Whether a phone has opened the link."""
        return self._paired

    @property
    def expired(self) -> bool:
        """Whether the link has expired without pairing a phone."""
        return not self._paired and self._clock.monotonic() >= self._ends

    def claim(self, token: str) -> str | LinkRefusal:
        """Return the phone's pass for the link's token. Of two phones at once, one gets it."""
        if not _equal(token, self.link_token):
            return LinkRefusal.UNKNOWN
        with self._lock:
            if self._paired:
                return LinkRefusal.USED
            if self.expired:
                return LinkRefusal.EXPIRED
            self._paired = True
        return self._pass

    def admits(self, presented: str) -> bool:
        """Whether this is the pass of the paired phone."""
        return self._paired and _equal(presented, self._pass)


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
