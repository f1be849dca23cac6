"""The worker's pace."""

from typing import Any

from secretfree.issuance.pacing import Pace


def test_the_first_begins_at_once(clock: Any) -> None:
    Pace(1.5, clock).wait()
    assert clock.slept == []


def test_beginnings_are_an_interval_apart_however_short_the_work(clock: Any) -> None:
    pace = Pace(1.5, clock)
    begun = []
    for work in (0.0, 0.2, 1.0, 0.1):
        pace.wait()
        begun.append(clock.monotonic())
        clock.advance(work)
    assert begun == [0.0, 1.5, 3.0, 4.5]


def test_after_longer_work_nothing_is_slept_and_nothing_made_up_for(clock: Any) -> None:
    pace = Pace(1.5, clock)
    pace.wait()
    clock.advance(10.0)
    pace.wait()
    pace.wait()
    assert clock.slept == [1.5]
