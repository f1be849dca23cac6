"""Tickets: while a fleet comes faster than the quotas allow, each device gets a number, and the number gives its time.

One counter for an issuer gives the numbers. They are served in order at a rate, so a number and the rate give a time,
which `Retry-After` names. A device whose turn has come and that AWS throttles all the same takes another turn, which
delays the later numbers by one place. The rate follows what AWS really throttles: at each step it rises by a constant
and falls by a share of the turns that were throttled. If devices stay away, their numbers pass, and nothing waits for
them.

Pure: time comes in, in seconds since the epoch.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from typing import Final

LONGEST_RETRY_AFTER: Final = 86_400
"""Seconds. A device asks at least once a day, so that it profits from a quota that was raised meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A device's place. `number` never changes. Before `at` the device gets the same answer, however often it asks."""

    number: int
    at: datetime


@dataclass(frozen=True, kw_only=True)
class TicketPolicy:
    """How numbers become times. Times in seconds.

    `rate`: devices a second that the account's quotas allow. `step`: the least time between two changes of the rate.
    `faster`: by which share of `rate` it rises at each step. `slower`: by which share of the turns that were throttled
    it falls, and `most_slower` by which share of itself at most. So it settles where `faster` / `slower` of the turns
    are throttled, which is what uses the quotas up. It stays between `least_share` of `rate` and `rate` itself.
    `smoothing`: the weight of the last step in the pace, from which times follow. `least_pace`: the least pace, as a
    share of the line's rate. `calm_after`: how long after a throttle each device still takes a number.
    `forgotten_after`: after how long without a throttled turn the line is over, whatever numbers are left, because
    their devices stay away.
    """

    rate: float = 10.0
    step: float = 10.0
    faster: float = 0.004
    slower: float = 0.05
    most_slower: float = 0.05
    least_share: float = 0.3
    least_pace: float = 0.9
    smoothing: float = 0.05
    calm_after: float = 60.0
    forgotten_after: float = 600.0

    def named(self, wait: float) -> int:
        """The seconds to name to a device whose number is served in `wait` seconds."""
        return max(1, min(LONGEST_RETRY_AFTER, ceil(wait)))


@dataclass(frozen=True, kw_only=True)
class Line:
    """An issuer's numbers: `given` of them so far.

    `first` was served at the time `since`, when the last step was; from then on `rate` numbers a second are served,
    but for `missed` turns that AWS throttled. `pace`: how many were served a second lately. `throttled_at`: the last
    step with a throttled turn, or the line's beginning.
    """

    given: int
    first: float
    since: float
    rate: float
    pace: float
    missed: int
    throttled_at: float

    @classmethod
    def opened(cls, before: "Line | None", policy: TicketPolicy, now: float) -> "Line":
        """A line that begins at `now`, after the numbers that were given `before`."""
        given = 0 if before is None else before.given
        return cls(
            given=given,
            first=float(given),
            since=now,
            rate=policy.rate,
            pace=policy.rate,
            missed=0,
            throttled_at=now,
        )

    def served(self, now: float) -> float:
        """The last number whose turn has come at `now`."""
        return self.first + self.rate * (now - self.since) - self.missed

    def is_open(self, policy: TicketPolicy, now: float) -> bool:
        """Whether devices take numbers and wait for their turns."""
        quiet = now - self.throttled_at
        return quiet < policy.calm_after or (quiet < policy.forgotten_after and self.given > self.served(now))

    def wait(self, number: int, policy: TicketPolicy, now: float) -> float:
        """Seconds until the turn of `number`; 0: it has come, or the number is of a line that is gone."""
        if number > self.given or not self.is_open(policy, now):
            return 0.0
        return max(0.0, (number - self.served(now)) / self.pace)

    def next_step(self, policy: TicketPolicy, now: float) -> "Line | None":
        """The line with the rate that follows from what was throttled since the last step; None: it is too early.

        Turns for which no number was given are lost: the quota was free. The line does not move back: a device that is
        throttled several times in its turn counts each time.
        """
        passed = now - self.since
        if passed < policy.step or not self.is_open(policy, now):
            return None
        first = min(max(self.first, self.served(now)), float(self.given))
        fall = min(policy.most_slower * self.rate, policy.slower * self.missed / passed)
        rate = self.rate + policy.faster * policy.rate - fall
        # Devices come at the times that they were given. A line that moves faster than that lets too many through.
        rate = max(policy.least_share, min(rate / policy.rate, 1.0)) * policy.rate
        throttled_at = now if self.missed else self.throttled_at
        pace = self.pace + policy.smoothing * (self.rate - self.missed / passed - self.pace)
        pace = max(pace, policy.least_pace * rate)
        return replace(self, first=first, since=now, rate=rate, pace=pace, missed=0, throttled_at=throttled_at)
