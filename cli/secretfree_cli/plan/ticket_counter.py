"""The counter from which the devices of a simulated fleet take their tickets."""

from __future__ import annotations

from dataclasses import replace

from secretfree.issuance.tickets import Line, TicketPolicy


class TicketCounter:
    """The counter of a simulated ledger, under the runtime's rules. Every worker sees its newest state."""

    def __init__(self, policy: TicketPolicy) -> None:
        self._policy = policy
        self._line: Line | None = None

    def is_open(self, now: float) -> bool:
        """Return whether devices take tickets now."""
        return self._line is not None and self._line.is_open(self._policy, now)

    def take(self, devices: int) -> tuple[int, ...]:
        """Give a ticket to each of so many devices; return the numbers."""
        line = self._required()
        self._line = replace(line, given=line.given + devices)
        return tuple(range(line.given + 1, line.given + devices + 1))

    def wait(self, number: int, now: float) -> float:
        """Return the seconds until the turn of `number`."""
        return self._required().wait(number, self._policy, now)

    def named(self, number: int, now: float) -> int:
        """Return the Retry-After that the device with `number` gets."""
        return self._policy.named(self.wait(number, now))

    def throttled(self, turns: int, now: float) -> int:
        """Open the line, or count the turns that were throttled; return how many writes that takes."""
        if self._line is None or not self._line.is_open(self._policy, now):
            self._line = Line.opened(self._line, self._policy, now)
            return 1
        self._line = replace(self._line, missed=self._line.missed + turns)
        return turns + self.step(now)

    def step(self, now: float) -> int:
        """Change the rate if it is time; return how many writes that takes."""
        later = self._required().next_step(self._policy, now)
        self._line = later or self._line
        return 0 if later is None else 1

    def _required(self) -> Line:
        if self._line is None:
            raise ValueError("no line was opened")
        return self._line
