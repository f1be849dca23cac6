"""A CA's signing time, as one warm worker measured it: when to poll for a certificate first.

No I/O: the caller passes the time, in seconds of a monotonic clock.
"""

from dataclasses import dataclass
from threading import Lock
from typing import Final

# Seconds without a new measurement after which the measurements are dropped.
_MEMORY: Final = 600.0
_WEIGHT: Final = 0.3
# A certificate that is ready at the first poll may have been ready for long. So the next first poll is this much
# earlier.
_EARLIER: Final = 0.9


@dataclass(frozen=True, kw_only=True)
class Expected:
    """`first_look`: seconds after a request. `spread`: average deviation of the CA's signing time, in seconds."""

    first_look: float
    spread: float


AT_ONCE: Final = Expected(first_look=0.0, spread=0.0)
"""Without any measurement."""


@dataclass(frozen=True, kw_only=True)
class _Learned:
    """`ready`: seconds until a certificate is ready. `spread`: average deviation from that."""

    ready: float
    spread: float
    at: float


class SigningTime:
    """The signing time of one issuer's CA. One per process; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._learned: _Learned | None = None

    def expected(self, now: float) -> Expected:
        """When the certificate of a request is probably ready."""
        learned = self._learned
        if learned is None or now - learned.at > _MEMORY:
            return AT_ONCE
        return Expected(first_look=max(0.0, learned.ready - learned.spread), spread=learned.spread)

    def learn(self, *, missed_at: float | None, found_at: float, now: float) -> None:
        """Record that a certificate was ready `found_at` seconds after its request.

        `missed_at`: when the last poll before that found none; None: it was the first poll.
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
