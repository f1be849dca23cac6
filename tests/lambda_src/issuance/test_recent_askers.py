"""The worker's own memory of who asks too often."""

from datetime import UTC, datetime, timedelta

import pytest
from secretfree.errors import ErrorCode, SecretFreeError
from secretfree.issuance.rates import AdmissionRate
from secretfree.issuance.recent_askers import RecentAskers

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RATE = AdmissionRate(interval=timedelta(seconds=2), burst=2)


def test_one_device_in_a_loop_is_refused_and_others_are_not() -> None:
    askers = RecentAskers(rate=RATE)
    askers.admit("a", NOW)
    askers.admit("a", NOW)
    with pytest.raises(SecretFreeError) as raised:
        askers.admit("a", NOW)
    assert raised.value.code is ErrorCode.TOO_MANY_REQUESTS
    assert raised.value.retry_after == 2
    askers.admit("b", NOW)
    askers.admit("a", NOW + timedelta(seconds=2))


def test_refusals_are_not_charged() -> None:
    askers = RecentAskers(rate=RATE)
    for _ in range(2):
        askers.admit("a", NOW)
    for _ in range(50):
        with pytest.raises(SecretFreeError):
            askers.admit("a", NOW)
    askers.admit("a", NOW + timedelta(seconds=2))


def test_memory_is_bounded_and_forgets_who_asked_longest_ago() -> None:
    askers = RecentAskers(rate=AdmissionRate(interval=timedelta(hours=1), burst=1), capacity=2)
    for device in ("a", "b", "c"):
        askers.admit(device, NOW)
    askers.admit("a", NOW)
    with pytest.raises(SecretFreeError):
        askers.admit("c", NOW)
