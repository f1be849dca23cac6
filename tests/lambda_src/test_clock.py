"""The system's clock."""

import time
from datetime import UTC, datetime, timedelta

from secretfree.clock import SystemClock


def test_now_is_aware_and_utc() -> None:
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)


def test_sleeping_takes_the_time_that_the_monotonic_clock_shows() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    clock.sleep(0.01)
    assert 0.009 < clock.monotonic() - before < 5
    assert abs(clock.monotonic() - time.monotonic()) < 1
