"""How long a CA takes to sign, as one warm worker has seen it: when to look for a certificate first.

Pure: time comes in, in seconds of a monotonic clock.
"""

from dataclasses import dataclass
from threading import Lock
from typing import Final

# Seconds after which what was learned is forgotten, if nothing was learned since.
_MEMORY: Final = 600.0
_WEIGHT: Final = 0.3
# A certificate that is there at the first look may have been there for long. So the next look is this much earlier.
_EARLIER: Final = 0.9


@dataclass(frozen=True, kw_only=True)
class Expected:
    """`first_look`: seconds after a request. `spread`: by how many seconds the CA's time differs, on average."""

    first_look: float
    spread: float


AT_ONCE: Final = Expected(first_look=0.0, spread=0.0)
"""Where nothing is known."""


@dataclass(frozen=True, kw_only=True)
class _Learned:
    """`ready`: seconds until a certificate is there. `spread`: by how much that differs, on average."""

    ready: float
    spread: float
    at: float


class SigningTime:
    """The time that one issuer's CA takes. One per process; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._learned: _Learned | None = None

    def expected(self, now: float) -> Expected:
        """When the certificate of a request is likely there."""
        learned = self._learned
        if learned is None or now - learned.at > _MEMORY:
            return AT_ONCE
        return Expected(first_look=max(0.0, learned.ready - learned.spread), spread=learned.spread)

    def learn(self, *, missed_at: float | None, found_at: float, now: float) -> None:
        """Take a certificate into account that was there `found_at` seconds after its request.

        `missed_at`: when the last look before that found none; None: it was the first look.
        """
        ready = _EARLIER * found_at if missed_at is None else (missed_at + found_at) / 2
        with self._lock:
            before = self._learned
            if before is None or now - before.at > _MEMORY:
                self._learned = _Learned(ready=ready, spread=found_at - ready, at=now)
                return
            error = ready - before.ready
            self._learned = _Learned(
                ready=before.ready + _WEIGHT * error,
                spread=before.spread + _WEIGHT * (abs(error) - before.spread),
                at=now,
            )
