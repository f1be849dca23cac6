"""Tickets: while a fleet comes faster than the quotas allow, each device gets a number, and the number gives its time.

One counter for an issuer gives the numbers. They are served in order at a rate, so a number and the rate give a time,
which `Retry-After` names. A device whose turn has come and that AWS throttles all the same takes one more turn, which
delays the later numbers by one place. The rate follows what AWS really throttles: at each step it rises by a constant
and falls by a share of the turns that were throttled. If devices stay away, their numbers pass, and nothing waits for
them.

Pure: time comes in, in seconds since the epoch.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from typing import Final

LONGEST_RETRY_AFTER: Final = 86_400
"""Seconds. A device asks at least once a day, so that it profits from a quota that was raised meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A device's place in the queue. Before `at` the device gets the same answer, however often it asks.

    `number` never changes. `missed`: AWS throttled the device in its turn. It counts once for each ticket.
    """

    number: int
    at: datetime
    missed: bool = False

    def postponed(self, now: datetime, seconds: int) -> "Ticket":
        """The same place, for a device that was throttled in its turn. It gains nothing by trying sooner."""
        return replace(self, at=now + timedelta(seconds=seconds))


@dataclass(frozen=True, kw_only=True)
class TicketPolicy:
    """How numbers become times. Times in seconds.

    `rate`: devices a second that the account's quotas allow. `step`: the least time between two changes of the rate.
    `faster`: by which share of `rate` it rises at each step. `slower`: by which share of the turns that were throttled
    it falls. So it settles where `faster` / `slower` of the turns are throttled, which is what uses the quotas up. It
    stays between `least_share` and `most_share` of `rate`. The most is a little above `rate`, to make up for the turns
    that are throttled by chance. `calm_after`: how long after a throttle each device still takes a number.
    `forgotten_after`: after how long without a throttled turn the queue ends, whatever numbers are left, because their
    devices stay away.
    """

    rate: float = 10.0
    step: float = 10.0
    faster: float = 0.004
    slower: float = 0.05
    least_share: float = 0.3
    most_share: float = 1.05
    calm_after: float = 60.0
    forgotten_after: float = 600.0

    def named(self, wait: float) -> int:
        """The seconds to name to a device whose number is served in `wait` seconds."""
        return max(1, min(LONGEST_RETRY_AFTER, ceil(wait)))


@dataclass(frozen=True, kw_only=True)
class TicketQueue:
    """An issuer's numbers: `given` of them so far.

    `first` was served at the time `since`, when the last step was; from then on `rate` numbers a second are served,
    but for `missed` turns that AWS throttled. `throttled_at`: the last step with a throttled turn, or the queue's
    beginning.
    """

    given: int
    first: float
    since: float
    rate: float
    missed: int
    throttled_at: float

    @classmethod
    def opened(cls, before: "TicketQueue | None", policy: TicketPolicy, now: float) -> "TicketQueue":
        """A queue that begins at `now`, after the numbers that were given `before`."""
        given = 0 if before is None else before.given
        return cls(given=given, first=float(given), since=now, rate=policy.rate, missed=0, throttled_at=now)

    def served(self, now: float) -> float:
        """The last number whose turn has come at `now`."""
        return self.first + self.rate * (now - self.since) - self.missed

    def is_open(self, policy: TicketPolicy, now: float) -> bool:
        """Whether devices take numbers and wait for their turns."""
        quiet = now - self.throttled_at
        return quiet < policy.calm_after or (quiet < policy.forgotten_after and self.given > self.served(now))

    def wait(self, number: int, policy: TicketPolicy, now: float) -> float:
        """Seconds until the turn of `number`; 0: it has come, or the number is of a queue that is gone.

        Turns that will be throttled are left out. So a device rather comes too early, which costs one more request,
        than too late, which leaves the quota unused.
        """
        if number > self.given or not self.is_open(policy, now):
            return 0.0
        return max(0.0, (number - self.served(now)) / min(self.rate, policy.rate))

    def next_step(self, policy: TicketPolicy, now: float) -> "TicketQueue | None":
        """The queue with the rate that follows from what was throttled since the last step; None: it is too early.

        Turns for which no number was given are lost: the quota was free. The queue does not move back, whatever was
        throttled.
        """
        passed = now - self.since
        if passed < policy.step or not self.is_open(policy, now):
            return None
        first = min(max(self.first, self.served(now)), float(self.given))
        rate = self.rate + policy.faster * policy.rate - policy.slower * self.missed / passed
        # Devices come at the times that they were given. A queue that moves much faster lets too many through.
        rate = max(policy.least_share, min(rate / policy.rate, policy.most_share)) * policy.rate
        throttled_at = now if self.missed else self.throttled_at
        return replace(self, first=first, since=now, rate=rate, missed=0, throttled_at=throttled_at)
