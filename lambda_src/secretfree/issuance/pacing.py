"""The worker's pace: how soon after one issuance it begins the next, so that all workers keep to the quotas."""

from secretfree.clock import Clock


class Pace:
    """Beginnings at least `interval` seconds apart, in one process. `N` workers begin at most N / interval a second."""

    def __init__(self, interval: float, clock: Clock) -> None:
        self._interval = interval
        self._clock = clock
        self._next: float | None = None

    def wait(self) -> None:
        """Sleep until the next may begin, and count it as begun."""
        now = self._clock.monotonic()
        if self._next is not None and self._next > now:
            self._clock.sleep(self._next - now)
            now = self._next
        self._next = now + self._interval
