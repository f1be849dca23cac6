"""Back-pressure: jitter, growth, bounds, and the token bucket."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secretfree.issuance.rates import AdmissionRate, Congestion, PollPolicy, RetryAfterPolicy, RetryPolicy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHANCES = st.floats(0, 1, exclude_max=True)


@given(attempt=st.integers(0, 2000 // 2), chance=CHANCES)
def test_a_retry_s_delay_has_full_jitter_below_its_cap(attempt: int, chance: float) -> None:
    policy = RetryPolicy(base=0.1, cap=2.0)
    delay = policy.delay(attempt, lambda: chance)
    assert delay == pytest.approx(chance * min(2.0, 0.1 * 2.0**attempt))


def test_under_pressure_fewer_tries_are_made_and_always_one() -> None:
    policy = RetryPolicy(attempts=6)
    assert [policy.limit(pressure) for pressure in (0.0, 0.5, 1.0)] == [6, 3, 1]


@given(attempt=st.integers(0, 10**6), waited=st.floats(0, 30), chance=CHANCES)
def test_a_poll_waits_between_half_its_delay_and_all_of_it(attempt: int, waited: float, chance: float) -> None:
    policy = PollPolicy()
    most = 0.25 if waited <= 1.25 else 1.0
    assert 0.015 <= policy.delay(attempt, waited=waited, chance=lambda: chance) <= most
    assert policy.delay(0, waited=waited, chance=lambda: chance) <= 0.03


@given(
    age=st.timedeltas(timedelta(), timedelta(days=30)),
    attempts=st.integers(0, 10_000),
    pressure=st.floats(0, 1),
    chance=CHANCES,
)
def test_retry_after_is_whole_seconds_within_its_cap(
    age: timedelta, attempts: int, pressure: float, chance: float
) -> None:
    seconds = RetryAfterPolicy(cap=1800).seconds(age=age, attempts=attempts, pressure=pressure, chance=lambda: chance)
    assert isinstance(seconds, int)
    assert 1 <= seconds <= 1800


def test_retry_after_grows_with_tries_age_and_throttling() -> None:
    policy = RetryAfterPolicy()

    def most(*, age: timedelta = timedelta(), attempts: int = 1, pressure: float = 0.0) -> int:
        return policy.seconds(age=age, attempts=attempts, pressure=pressure, chance=lambda: 0.999999)

    assert most() < most(attempts=3) == most(attempts=3, age=timedelta(minutes=2))
    assert most(attempts=9) == most(attempts=4)
    assert most(age=timedelta(hours=1)) == 72
    assert most(age=timedelta(hours=1), pressure=1.0) == 360


def test_retry_after_spreads_a_fleet_over_half_its_range() -> None:
    policy = RetryAfterPolicy()
    chances = iter([0.0, 0.999999])
    first, last = (
        policy.seconds(age=timedelta(hours=1), attempts=5, pressure=1.0, chance=lambda: next(chances)) for _ in range(2)
    )
    assert (first, last) == (180, 360)


def test_congestion_rises_with_throttles_and_is_forgotten() -> None:
    congestion = Congestion(memory=30)
    assert congestion.pressure(0.0) == 0.0
    congestion.observe(throttled=True, now=0.0)
    assert congestion.pressure(0.0) == 0.5
    for _ in range(50):
        congestion.observe(throttled=True, now=1.0)
    assert congestion.pressure(1.0) > 0.9
    assert congestion.pressure(600.0) < 0.01


def test_good_calls_outweigh_a_single_throttle() -> None:
    congestion = Congestion()
    for number in range(100):
        congestion.observe(throttled=number == 50, now=1.0)
    assert congestion.pressure(1.0) < 0.02


def test_each_kind_of_call_has_a_pressure_of_its_own_and_the_worst_counts() -> None:
    congestion = Congestion()
    for _ in range(50):
        congestion.observe(throttled=False, now=1.0, call="ledger")
        congestion.observe(throttled=True, now=1.0, call="install")
    assert congestion.pressure(1.0, call="ledger") == 0.0
    assert congestion.pressure(1.0, call="never made") == 0.0
    assert congestion.pressure(1.0) == congestion.pressure(1.0, call="install") > 0.9


def test_a_clock_that_goes_back_changes_nothing() -> None:
    congestion = Congestion()
    congestion.observe(throttled=True, now=100.0)
    assert congestion.pressure(50.0) == congestion.pressure(100.0)


def test_a_full_bucket_gives_its_burst_then_one_token_for_each_interval() -> None:
    rate = AdmissionRate(interval=timedelta(seconds=10), burst=3)
    arrival = None
    for _ in range(3):
        arrival = rate.charge(arrival, NOW)
        assert arrival is not None
    assert rate.charge(arrival, NOW) is None
    assert rate.wait(arrival, NOW) == timedelta(seconds=10)
    assert rate.charge(arrival, NOW + timedelta(seconds=10)) is not None


@given(gaps=st.lists(st.floats(0, 60), min_size=1, max_size=60))
def test_never_more_than_the_burst_and_the_refill_are_admitted(gaps: list[float]) -> None:
    rate = AdmissionRate(interval=timedelta(seconds=10), burst=3)
    now, arrival, admitted = NOW, None, 0
    for gap in gaps:
        now += timedelta(seconds=gap)
        charged = rate.charge(arrival, now)
        if charged is not None:
            arrival, admitted = charged, admitted + 1
    assert admitted <= 3 + (now - NOW) / rate.interval + 1
