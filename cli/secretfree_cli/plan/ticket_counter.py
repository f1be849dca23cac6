"""The counter from which the devices of a simulated fleet take their tickets."""

from __future__ import annotations

from dataclasses import replace

from secretfree.issuance.tickets import TicketPolicy, TicketQueue


class TicketCounter:
    """The counter of a simulated ledger, under the runtime's rules. Every worker sees its newest state."""

    def __init__(self, policy: TicketPolicy) -> None:
        self._policy = policy
        self._queue: TicketQueue | None = None

    def is_open(self, now: float) -> bool:
        """Return whether devices take tickets now."""
        return self._queue is not None and self._queue.is_open(self._policy, now)

    def take(self, devices: int) -> tuple[int, ...]:
        """Give a ticket to each of so many devices; return the numbers."""
        queue = self._required()
        self._queue = replace(queue, given=queue.given + devices)
        return tuple(range(queue.given + 1, queue.given + devices + 1))

    def wait(self, number: int, now: float) -> float:
        """Return the seconds until the turn of `number`."""
        return self._required().wait(number, self._policy, now)

    def named(self, number: int, now: float) -> int:
        """Return the Retry-After that the device with `number` gets."""
        return self._policy.named(self.wait(number, now))

    def throttled(self, turns: int, now: float) -> int:
        """Open the queue, or count the turns that were throttled; return how many writes that takes."""
        if self._queue is None or not self._queue.is_open(self._policy, now):
            self._queue = TicketQueue.opened(self._queue, self._policy, now)
            return 1
        self._queue = replace(self._queue, missed=self._queue.missed + turns)
        return turns + self.step(now)

    def step(self, now: float) -> int:
        """Change the rate if it is time; return how many writes that takes."""
        later = self._required().next_step(self._policy, now)
        self._queue = later or self._queue
        return 0 if later is None else 1

    def _required(self) -> TicketQueue:
        if self._queue is None:
            raise ValueError("no queue was opened")
        return self._queue
