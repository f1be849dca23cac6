"""One worker's part in its issuer's tickets: it gives numbers, lets devices through in turn, and reports throttles.

The queue only orders devices: it never decides which device may have a certificate. So a worker that cannot read the
counter lets the device through, and AWS's own throttle protects the quotas. Workers with different copies of the queue
only let a few devices through too early or too late. While nothing is throttled, none of this needs a call.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil
from threading import Lock
from typing import Final, TypeVar

from secretfree.clock import Clock
from secretfree.errors import SecretFreeError
from secretfree.issuance.ports import ThrottledError, TicketCounter, UnreachableError
from secretfree.issuance.tickets import Ticket, TicketPolicy, TicketQueue

# Seconds for which a worker uses its copy of the queue.
_FRESH: Final = 2.0
# Seconds. A counter that fails now and then is reported no more often than this.
_REPORTED_AGAIN_AFTER: Final = 60.0
_FAILURES: Final = (ThrottledError, UnreachableError, SecretFreeError)

T = TypeVar("T")


class Turns:
    """The queue, as far as one process knows it. Safe to use from several threads.

    `report` gets the error of a counter that fails: once, until the counter works again.
    """

    def __init__(
        self, counter: TicketCounter, policy: TicketPolicy, clock: Clock, *, report: Callable[[Exception], None]
    ) -> None:
        self._counter = counter
        self._policy = policy
        self._clock = clock
        self._report = report
        self._lock = Lock()
        self._queue: TicketQueue | None = None
        self._read_at = float("-inf")
        self._alert = False
        self._fails = False
        self._reported_at = float("-inf")

    def is_open(self) -> bool:
        """Whether devices take numbers. It costs a read of the counter now and then, and none in calm times."""
        return self._current() is not None

    def take(self) -> Ticket | None:
        """A number for a device; None where its turn has come already, or where the counter does not answer."""
        with suppress(*_FAILURES):
            return self._ticket(self._learned(self._ask(self._counter.take)))
        return None

    def seconds_left(self, ticket: Ticket) -> int:
        """Seconds until the device asks again; 0: its turn has come."""
        now = self._clock.now()
        self._alert = True
        if now < ticket.at:
            return max(1, ceil((ticket.at - now).total_seconds()))
        queue = self._current()
        wait = 0.0 if queue is None else queue.wait(ticket.number, self._policy, _seconds(now))
        return self._policy.named(wait) if wait else 0

    def throttled(self, ticket: Ticket | None) -> Ticket | None:
        """Report that AWS throttled a device that was let through; its ticket, a new one if it had none.

        The turn of a device that had one counts as missed, so the numbers after it wait for one turn more. If the
        device is throttled again, that is the same turn.
        """
        self._alert = True
        with suppress(*_FAILURES):
            self._open()
            if ticket is not None and ticket.missed:
                return ticket
            queue = self._learned(self._ask(self._counter.take if ticket is None else self._counter.miss))
            self._step(queue)
            return self._ticket(queue) if ticket is None else replace(ticket, missed=True)
        return ticket

    def served(self) -> None:
        """Report that a device got its certificate."""
        if self._alert and self._queue is not None:
            with suppress(*_FAILURES):
                self._step(self._queue)

    def _current(self) -> TicketQueue | None:
        """The open queue; None: there is none, as far as this worker knows."""
        if not self._alert:
            return None
        now = self._now()
        if now - self._read_at >= _FRESH:
            with suppress(*_FAILURES):
                self._read()
        if self._queue is not None and self._queue.is_open(self._policy, now):
            return self._queue
        self._alert = False
        return None

    def _open(self) -> None:
        now = self._now()
        queue = self._queue
        if queue is None or not queue.is_open(self._policy, now):
            queue = self._read()
        if queue is None or not queue.is_open(self._policy, now):
            self._change(queue, TicketQueue.opened(queue, self._policy, now))

    def _step(self, queue: TicketQueue) -> None:
        later = queue.next_step(self._policy, self._now())
        if later is not None:
            self._change(queue, later)

    def _change(self, seen: TicketQueue | None, queue: TicketQueue) -> None:
        """Store `queue`. If another worker was faster, use that worker's queue."""
        if self._ask(lambda: self._counter.change(seen, queue)):
            self._learned(queue)
        else:
            self._read()

    def _ticket(self, queue: TicketQueue) -> Ticket | None:
        now = self._now()
        wait = queue.wait(queue.given, self._policy, now)
        if not wait:
            return None
        at = self._clock.now() + timedelta(seconds=self._policy.named(wait))
        return Ticket(number=queue.given, at=at)

    def _read(self) -> TicketQueue | None:
        queue = self._ask(self._counter.read)
        self._remember(queue)
        return queue

    def _learned(self, queue: TicketQueue) -> TicketQueue:
        self._remember(queue)
        return queue

    def _remember(self, queue: TicketQueue | None) -> None:
        """None: the counter's item is gone, so the next throttle opens a new queue."""
        with self._lock:
            self._queue = queue
            self._read_at = self._now()

    def _ask(self, call: Callable[[], T]) -> T:
        """The answer of the counter. A failure is reported first, unless the counter failed before."""
        try:
            answer = call()
        except _FAILURES as error:
            if self._is_new_failure():
                self._report(error)
            raise
        self._fails = False
        return answer

    def _is_new_failure(self) -> bool:
        now = self._now()
        with self._lock:
            is_new = not self._fails and now - self._reported_at >= _REPORTED_AGAIN_AFTER
            self._fails = True
            if is_new:
                self._reported_at = now
        return is_new

    def _now(self) -> float:
        return _seconds(self._clock.now())


def _seconds(moment: datetime) -> float:
    return moment.timestamp()
