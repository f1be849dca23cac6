"""Back-pressure: when the service retries, when the device retries, and which device sends too many requests."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, exp
from threading import Lock
from typing import Final, TypeAlias

Chance: TypeAlias = Callable[[], float]
"""Uniform in [0, 1), as `random.random`."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with full jitter within one invocation. All times in seconds.

    Under pressure it makes fewer tries: each try uses quota that others need, and the device can retry later.
    """

    base: float = 0.1
    cap: float = 2.0
    attempts: int = 6

    def delay(self, attempt: int, chance: Chance) -> float:
        """Wait before try number `attempt` + 1; the first try is number 0."""
        return chance() * min(self.cap, self.base * 2.0**attempt)

    def limit(self, pressure: float) -> int:
        """Tries in all, at a `pressure` from 0 to 1."""
        return max(1, round(self.attempts * (1 - pressure)))


@dataclass(frozen=True, kw_only=True)
class PollPolicy:
    """The waits between polls for a certificate that is being issued. Seconds.

    Private CA usually takes tens of milliseconds; the SDK's waiter would poll once a second. The waits grow to `cap`.
    For a slow certificate, the wait is `share` of the total wait so far, up to `longest`.
    """

    first: float = 0.03
    factor: float = 2.0
    cap: float = 0.25
    share: float = 0.2
    longest: float = 1.0

    def delay(self, attempt: int, *, waited: float, spread: float = 0.0, chance: Chance) -> float:
        """Wait after poll number `attempt`, from 0; between the full delay and half of it.

        `waited`: since the certificate was requested. `spread`: the known variation of the CA's signing time. More
        frequent polls would waste quota.
        """
        cap = min(self.longest, max(self.cap, self.share * waited))
        # The exponent is bounded: 2.0**2000 overflows.
        return (0.5 + chance() / 2) * min(cap, max(self.first, spread) * self.factor ** min(attempt, 32))


@dataclass(frozen=True, kw_only=True)
class RetryAfterPolicy:
    """The `Retry-After` of an answer, in whole seconds, so that a fleet spreads over what the quotas can take.

    The wait grows first with the tries, then in proportion to the request's age. This limits the overshoot (a device
    waits although the quota is free) to a fixed share of the total time, for fleets of every size. Exponential growth
    would double the time. The share grows with the observed throttling.
    """

    base: float = 2.0
    cap: float = 1800.0
    early_doublings: int = 3
    calm_share: float = 0.02
    pressed_share: float = 0.10

    def seconds(self, *, age: timedelta, attempts: int, pressure: float, chance: Chance) -> int:
        """`age`: since the device's first request; `attempts`: its tries so far; `pressure` from 0 to 1."""
        share = self.calm_share + (self.pressed_share - self.calm_share) * pressure
        early = self.base * 2.0 ** min(max(attempts - 1, 0), self.early_doublings) * (1 + pressure)
        ceiling = min(self.cap, max(early, share * age.total_seconds()))
        return max(1, ceil(ceiling * (0.5 + chance() / 2)))


class Congestion:
    """The share of recent calls that were throttled, 0 to 1. It decays over `memory` seconds.

    Each kind of call is measured alone, because each has its own quota. One per process; safe to use from several
    threads.
    """

    def __init__(self, *, memory: float = 30.0) -> None:
        self._memory = memory
        self._lock = Lock()
        self._tallies: dict[str, _Tally] = {}

    def observe(self, *, throttled: bool, now: float, call: str = "") -> None:
        """Take the outcome of one call of the kind `call` into account; `now` in seconds of a monotonic clock."""
        with self._lock:
            self._tallies.setdefault(call, _Tally(at=now)).add(throttled=throttled, now=now, memory=self._memory)

    def pressure(self, now: float, *, call: str | None = None) -> float:
        """Share of throttled calls of the kind `call`, or of the kind throttled most; from 0 to 1."""
        with self._lock:
            tallies = self._tallies.values() if call is None else filter(None, [self._tallies.get(call)])
            return max((tally.pressure(now, memory=self._memory) for tally in tallies), default=0.0)


@dataclass
class _Tally:
    """Calls of one kind, older ones with less weight."""

    at: float
    calls: float = 0.0
    throttled: float = 0.0

    def add(self, *, throttled: bool, now: float, memory: float) -> None:
        kept = self._kept(now, memory)
        self.calls = self.calls * kept + 1.0
        self.throttled = self.throttled * kept + (1.0 if throttled else 0.0)
        self.at = max(self.at, now)

    def pressure(self, now: float, *, memory: float) -> float:
        kept = self._kept(now, memory)
        # One more successful call is assumed, so that a single throttled call in a quiet hour does not count as a
        # storm.
        return self.throttled * kept / (self.calls * kept + 1.0)

    def _kept(self, now: float, memory: float) -> float:
        return exp(-max(0.0, now - self.at) / memory)


@dataclass(frozen=True, kw_only=True)
class AdmissionRate:
    """A token bucket in the form that needs one stored date: the generic cell rate algorithm (ITU-T I.371).

    `interval`: time in which one token returns; `burst`: tokens of a full bucket.
    """

    interval: timedelta
    burst: int

    def charge(self, arrival: datetime | None, now: datetime) -> datetime | None:
        """The date to store if one more is admitted at `now`; None if it is refused."""
        if self.wait(arrival, now):
            return None
        return (now if arrival is None else max(arrival, now)) + self.interval

    def wait(self, arrival: datetime | None, now: datetime) -> timedelta:
        """Time until the next is admitted; zero: now."""
        if arrival is None:
            return timedelta()
        return max(timedelta(), arrival - now - self.interval * (self.burst - 1))


# Issuing is expensive: a device may hold a lease ten times in a row, then once in ten seconds.
ISSUANCE_RATE: Final = AdmissionRate(interval=timedelta(seconds=10), burst=10)
# An answer from the ledger is cheap: a worker answers a device 240 times in a row, then once a second.
ANSWER_RATE: Final = AdmissionRate(interval=timedelta(seconds=1), burst=240)
