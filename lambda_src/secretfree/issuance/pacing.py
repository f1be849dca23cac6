"""The worker's pace: the least time between two issuances, so that all workers stay within the quotas."""

from secretfree.clock import Clock


class Pace:
    """Spaces issuances of one process by `interval` seconds. `N` workers begin at most N / interval a second."""

    def __init__(self, interval: float, clock: Clock) -> None:
        self._interval = interval
        self._clock = clock
        self._next: float | None = None

    def wait(self) -> None:
        """Sleep until the next issuance may begin, and count it."""
        now = self._clock.monotonic()
        if self._next is not None and self._next > now:
            self._clock.sleep(self._next - now)
            now = self._next
        self._next = now + self._interval
