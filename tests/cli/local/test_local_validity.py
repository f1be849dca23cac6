"""Validity periods of the Private CA emulator."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from secretfree_cli.local.emulators.private_ca.errors import InvalidArgsError, ValidationError
from secretfree_cli.local.emulators.private_ca.validity import period

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def end_of(value: int, kind: str) -> datetime:
    return period({"Value": value, "Type": kind}, None, issued_at=NOW).not_after


@pytest.mark.parametrize(
    ("value", "kind", "end"),
    [
        (1, "DAYS", datetime(2026, 2, 1, 12, tzinfo=UTC)),
        (1, "MONTHS", datetime(2026, 2, 28, 12, tzinfo=UTC)),
        (13, "MONTHS", datetime(2027, 2, 28, 12, tzinfo=UTC)),
        (2, "YEARS", datetime(2028, 1, 31, 12, tzinfo=UTC)),
        (20270102030405, "END_DATE", datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (270102030405, "END_DATE", datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1798761600, "ABSOLUTE", datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_each_type_of_validity_ends_when_it_says(value, kind, end):
    assert end_of(value, kind) == end


def test_it_begins_sixty_minutes_before_issuance_by_default():
    assert period({"Value": 1, "Type": "DAYS"}, None, issued_at=NOW).not_before == NOW - timedelta(minutes=60)
    told = {"Value": int(NOW.timestamp()) - 5, "Type": "ABSOLUTE"}
    assert period({"Value": 1, "Type": "DAYS"}, told, issued_at=NOW).not_before == NOW - timedelta(seconds=5)


@pytest.mark.parametrize(
    "validity",
    [
        None,
        {},
        {"Value": 0, "Type": "DAYS"},
        {"Value": 1, "Type": "WEEKS"},
        {"Value": 20269999999999, "Type": "END_DATE"},
    ],
)
def test_what_is_no_validity_is_refused(validity):
    with pytest.raises(InvalidArgsError):
        period(validity, None, issued_at=NOW)


def test_an_end_in_the_past_is_refused():
    with pytest.raises(ValidationError):
        end_of(20200101000000, "END_DATE")


def test_a_relative_beginning_is_refused():
    with pytest.raises(InvalidArgsError):
        period({"Value": 1, "Type": "DAYS"}, {"Value": 1, "Type": "DAYS"}, issued_at=NOW)
