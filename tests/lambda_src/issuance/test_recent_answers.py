"""The worker's memory of devices that send too many requests, and of their last answers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from secretfree.errors import ErrorCode, SecretFreeError
from secretfree.issuance.model import IssuedCertificate
from secretfree.issuance.rates import AdmissionRate
from secretfree.issuance.recent_answers import Asker, RecentAnswers
from secretfree.request.device_id import DeviceId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RATE = AdmissionRate(interval=timedelta(seconds=2), burst=2)
CERTIFICATE = IssuedCertificate(
    certificate_pem="PEM",
    chain_pem=None,
    certificate_id="c" * 64,
    thing_name="a",
    not_after=NOW + timedelta(days=1),
    renew_after=datetime(2026, 6, 1, tzinfo=UTC),
    reused=False,
)


def asker(device: str, key: str = "f") -> Asker:
    return DeviceId.parse(device), key * 64


A, B = asker("a"), asker("b")


def test_one_device_without_a_certificate_in_a_loop_is_refused_and_others_are_not() -> None:
    recent = RecentAnswers(rate=RATE)
    recent.admit(A, NOW)
    recent.admit(A, NOW)
    with pytest.raises(SecretFreeError) as raised:
        recent.admit(A, NOW)
    assert raised.value.code is ErrorCode.TOO_MANY_REQUESTS
    assert raised.value.retry_after == 2
    recent.admit(B, NOW)
    recent.admit(A, NOW + timedelta(seconds=2))


def test_a_device_with_a_certificate_is_answered_with_it_however_often_its_request_comes() -> None:
    recent = RecentAnswers(rate=RATE)
    recent.admit(A, NOW)
    recent.keep(A, CERTIFICATE)
    recent.admit(A, NOW)
    assert [recent.admit(A, NOW) for _ in range(500)] == [replace(CERTIFICATE, reused=True)] * 500


@pytest.mark.parametrize("key", ["f", "e"], ids=["expired", "another-key"])
def test_a_certificate_that_has_expired_or_is_of_another_key_is_not_returned_again(key: str) -> None:
    recent = RecentAnswers(rate=RATE)
    recent.admit(A, NOW)
    recent.keep(A, replace(CERTIFICATE, not_after=NOW))
    other = asker("a", key)
    for _ in range(2 if key == "e" else 1):
        recent.admit(other, NOW)
    with pytest.raises(SecretFreeError):
        recent.admit(other, NOW)


def test_a_device_that_was_refused_since_is_not_answered_from_memory() -> None:
    recent = RecentAnswers(rate=RATE)
    recent.admit(A, NOW)
    recent.keep(A, CERTIFICATE)
    recent.admit(A, NOW)
    recent.keep(A, None)
    with pytest.raises(SecretFreeError):
        recent.admit(A, NOW)


def test_refusals_are_not_charged() -> None:
    recent = RecentAnswers(rate=RATE)
    for _ in range(2):
        recent.admit(A, NOW)
    for _ in range(50):
        with pytest.raises(SecretFreeError):
            recent.admit(A, NOW)
    recent.admit(A, NOW + timedelta(seconds=2))


def test_memory_is_bounded_and_forgets_who_asked_longest_ago() -> None:
    recent = RecentAnswers(rate=AdmissionRate(interval=timedelta(hours=1), burst=1), capacity=2)
    for device in ("a", "b", "c"):
        recent.admit(asker(device), NOW)
    recent.admit(A, NOW)
    with pytest.raises(SecretFreeError):
        recent.admit(asker("c"), NOW)
