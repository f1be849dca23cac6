"""The queue of an issuer: numbers become times, and the rate follows what is throttled."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secretfree.issuance.tickets import LONGEST_RETRY_AFTER, TicketPolicy, TicketQueue

POLICY = TicketPolicy(rate=10.0)
START = 1_000_000.0


def queue(given_numbers: int = 0) -> TicketQueue:
    return replace(TicketQueue.opened(None, POLICY, START), given=given_numbers)


def test_a_number_is_served_after_those_before_it() -> None:
    assert queue(600).wait(600, POLICY, START) == pytest.approx(60)
    assert queue(600).wait(600, POLICY, START + 45) == pytest.approx(15)
    assert queue(600).wait(600, POLICY, START + 60) == 0


def test_a_rate_above_the_quotas_makes_up_for_throttled_turns_and_shortens_no_wait() -> None:
    faster = replace(queue(600), rate=POLICY.most_share * POLICY.rate)
    assert faster.wait(600, POLICY, START) == queue(600).wait(600, POLICY, START)


def test_a_queue_begins_after_the_numbers_that_were_given_before() -> None:
    later = TicketQueue.opened(queue(600), POLICY, START + 5_000)
    assert later.given == 600
    assert later.wait(600, POLICY, START + 5_000) == 0
    assert replace(later, given=610).wait(610, POLICY, START + 5_000) == pytest.approx(1)


def test_a_number_that_the_queue_never_gave_waits_for_nothing() -> None:
    assert queue(30).wait(5_000, POLICY, START) == 0


def test_a_throttled_turn_delays_the_later_numbers_by_one_place() -> None:
    one_missed = replace(queue(600), missed=1)
    assert one_missed.wait(600, POLICY, START) - queue(600).wait(600, POLICY, START) == pytest.approx(0.1)


def test_the_rate_rises_without_throttled_turns_to_its_bound_and_falls_with_many() -> None:
    step = START + POLICY.step
    calm, full = (replace(queue(600), rate=rate).next_step(POLICY, step) for rate in (9.0, 10.5))
    pressed = replace(queue(600), missed=50).next_step(POLICY, step)
    assert calm is not None
    assert pressed is not None
    assert full is not None
    assert POLICY.most_share * POLICY.rate == full.rate > calm.rate > 9
    assert pressed.rate < POLICY.rate
    assert calm.throttled_at == START
    assert (pressed.throttled_at, pressed.missed) == (step, 0)


def test_the_rate_is_changed_at_each_step_once() -> None:
    assert queue(600).next_step(POLICY, START + POLICY.step / 2) is None
    changed = queue(600).next_step(POLICY, START + POLICY.step)
    assert changed is not None
    assert changed.next_step(POLICY, START + POLICY.step + 1) is None


def test_a_step_changes_the_turn_of_no_number() -> None:
    step = START + POLICY.step
    changed = replace(queue(600), missed=5).next_step(POLICY, step)
    assert changed is not None
    assert changed.served(step) == pytest.approx(replace(queue(600), missed=5).served(step))


def test_turns_for_which_no_number_was_given_are_not_saved_up() -> None:
    changed = queue(20).next_step(POLICY, START + 30)
    assert changed is not None
    assert changed.served(START + 30) == 20


def test_devices_take_numbers_for_a_while_after_a_throttle() -> None:
    assert queue().is_open(POLICY, START + POLICY.calm_after - 1)
    assert not queue().is_open(POLICY, START + POLICY.calm_after)


def test_a_queue_whose_devices_stay_away_is_forgotten() -> None:
    many = queue(1_000_000)
    assert many.is_open(POLICY, START + POLICY.forgotten_after - 1)
    assert not many.is_open(POLICY, START + POLICY.forgotten_after)
    assert many.wait(1_000_000, POLICY, START + POLICY.forgotten_after) == 0


def test_a_wait_is_named_in_whole_seconds_and_none_longer_than_a_day() -> None:
    assert POLICY.named(600.2) == 601
    assert POLICY.named(0.01) == 1
    assert POLICY.named(10_000) == 10_000
    assert POLICY.named(1_000_000) == LONGEST_RETRY_AFTER


@given(missed=st.lists(st.integers(0, 1_000), min_size=1, max_size=200))
def test_the_rate_stays_within_its_bounds_whatever_is_throttled(missed: list[int]) -> None:
    now, current = START, queue(1_000_000)
    for count in missed:
        now += POLICY.step
        changed = replace(current, missed=count).next_step(POLICY, now)
        if changed is None:  # forgotten: nothing was throttled for long
            return
        current = changed
        assert POLICY.least_share * POLICY.rate <= current.rate <= POLICY.most_share * POLICY.rate


def test_the_queue_does_not_move_back_when_devices_are_throttled_again_and_again() -> None:
    later = replace(queue(600), first=50.0, missed=5_000).next_step(POLICY, START + POLICY.step)
    assert later is not None
    assert later.first == 50
