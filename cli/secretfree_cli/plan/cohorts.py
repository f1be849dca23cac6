"""The cohorts of a simulated fleet: devices that are simulated as one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from secretfree_cli.plan.calls import IssuanceProgress


@dataclass(frozen=True, slots=True)
class Cohort:
    """Devices with the same progress that post in the same second. `begun`: their mean first request."""

    size: int
    begun: float
    progress: IssuanceProgress = IssuanceProgress.NOTHING
    attempts: int = 1
    """The request that is under way, or comes next, is the device's first, second, ..."""
    numbers: tuple[int, ...] = ()
    """Of the devices' tickets, in order; empty where they have none."""
    missed: bool = False
    """Whether the devices were throttled in their turns."""

    def part(self, start: int, end: int) -> Cohort:
        """Return a part of the cohort."""
        return replace(self, size=end - start, numbers=self.numbers[start:end])

    def parts(self, number: int) -> Iterator[Cohort]:
        """Cut it into at most `number` parts of nearly the same size."""
        start = 0
        for size in _parts(self.size, number):
            yield self.part(start, start + size)
            start += size


@dataclass(slots=True)
class WaitingDevices:
    """Devices that post again in the same second."""

    size: int = 0
    begun: float = 0.0
    """Weighted by size."""
    numbers: list[int] = field(default_factory=list)


def _parts(size: int, number: int) -> Iterator[int]:
    """Cut `size` into at most `number` parts of nearly the same size."""
    number = min(size, number)
    whole, larger = divmod(size, number)
    yield from (whole + 1 for _ in range(larger))
    yield from (whole for _ in range(number - larger))
