"""One worker's part in its issuer's tickets: it gives numbers, lets devices through in turn, and reports throttles.

The line only orders devices: it never decides which device may have a certificate. So a worker that cannot read the
counter lets the device through, and AWS's own throttle protects the quotas. Workers with different copies of the line
only let a few devices through too early or too late. While nothing is throttled, none of this needs a call.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from math import ceil
from threading import Lock
from typing import Final

from secretfree.clock import Clock
from secretfree.errors import SecretFreeError
from secretfree.issuance.ports import ThrottledError, TicketCounter, UnreachableError
from secretfree.issuance.tickets import Line, Ticket, TicketPolicy

# Seconds for which a worker uses its copy of the line.
_FRESH: Final = 2.0
_FAILURES: Final = (ThrottledError, UnreachableError, SecretFreeError)


class Turns:
    """The line, as far as one process knows it. Safe to use from several threads."""

    def __init__(self, counter: TicketCounter, policy: TicketPolicy, clock: Clock) -> None:
        self._counter = counter
        self._policy = policy
        self._clock = clock
        self._lock = Lock()
        self._line: Line | None = None
        self._read_at = float("-inf")
        self._alert = False

    def is_open(self) -> bool:
        """Whether devices take numbers. It costs a read of the counter now and then, and none in calm times."""
        return self._current() is not None

    def take(self) -> Ticket | None:
        """A number for a device; None where its turn has come already, or where the counter does not answer."""
        with suppress(*_FAILURES):
            return self._ticket(self._learned(self._counter.take()))
        return None

    def seconds_left(self, ticket: Ticket) -> int:
        """Seconds until the device asks again; 0: its turn has come."""
        now = self._clock.now()
        self._alert = True
        if now < ticket.at:
            return max(1, ceil((ticket.at - now).total_seconds()))
        line = self._current()
        wait = 0.0 if line is None else line.wait(ticket.number, self._policy, _seconds(now))
        return self._policy.named(wait) if wait else 0

    def throttled(self, ticket: Ticket | None) -> Ticket | None:
        """Report that AWS throttled a device that was let through; its ticket, a new one if it had none.

        The device that has one gets another turn soon: the numbers after it wait for one turn more.
        """
        self._alert = True
        with suppress(*_FAILURES):
            self._open()
            line = self._learned(self._counter.miss() if ticket is not None else self._counter.take())
            self._step(line)
            return ticket or self._ticket(line)
        return ticket

    def served(self) -> None:
        """Report that a device got its certificate."""
        if self._alert and self._line is not None:
            with suppress(*_FAILURES):
                self._step(self._line)

    def _current(self) -> Line | None:
        """The open line; None: there is none, as far as this worker knows."""
        if not self._alert:
            return None
        now = self._now()
        if now - self._read_at >= _FRESH:
            with suppress(*_FAILURES):
                self._read()
        if self._line is not None and self._line.is_open(self._policy, now):
            return self._line
        self._alert = False
        return None

    def _open(self) -> None:
        now = self._now()
        line = self._line
        if line is None or not line.is_open(self._policy, now):
            line = self._read()
        if line is None or not line.is_open(self._policy, now):
            self._change(line, Line.opened(line, self._policy, now))

    def _step(self, line: Line) -> None:
        later = line.next_step(self._policy, self._now())
        if later is not None:
            self._change(line, later)

    def _change(self, seen: Line | None, line: Line) -> None:
        """Store `line`. If another worker was faster, use that worker's line."""
        stored = line if self._counter.change(seen, line) else self._counter.read()
        if stored is not None:
            self._learned(stored)

    def _ticket(self, line: Line) -> Ticket | None:
        now = self._now()
        wait = line.wait(line.given, self._policy, now)
        if not wait:
            return None
        at = self._clock.now() + timedelta(seconds=self._policy.named(wait))
        return Ticket(number=line.given, at=at)

    def _read(self) -> Line | None:
        line = self._counter.read()
        self._remember(line)
        return line

    def _learned(self, line: Line) -> Line:
        self._remember(line)
        return line

    def _remember(self, line: Line | None) -> None:
        """None: the counter's item is gone, so the next throttle opens a line anew."""
        with self._lock:
            self._line = line
            self._read_at = self._now()

    def _now(self) -> float:
        return _seconds(self._clock.now())


def _seconds(moment: datetime) -> float:
    return moment.timestamp()
