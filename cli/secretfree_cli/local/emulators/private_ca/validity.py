"""The validity period of a certificate: IssueCertificate's Validity and ValidityNotBefore."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from secretfree_cli.local.emulators.private_ca.errors import InvalidArgsError, ValidationError

BACKDATING = timedelta(minutes=60)
"""Time from NotBefore to issuance, so that devices with a slow clock accept the certificate at once."""
SHORT_LIVED_LIMIT = timedelta(days=7)


@dataclass(frozen=True)
class Period:
    """NotBefore and NotAfter, aware, in UTC, whole seconds."""

    not_before: datetime
    not_after: datetime


def period(validity: Mapping[str, Any] | None, not_before: Mapping[str, Any] | None, *, issued_at: datetime) -> Period:
    """Return the period of a request that is issued at `issued_at`.

    END_DATE is UTC in the form YYYYMMDDHHMMSS or YYMMDDHHMMSS, ABSOLUTE seconds since 1970, the others are counted
    from issuance. ValidityNotBefore takes END_DATE and ABSOLUTE only.

    Raises: InvalidArgsError for an unknown type or form; ValidationError if the end is before the begin or in the past.
    """
    issued_at = issued_at.replace(microsecond=0)
    if not validity:
        raise InvalidArgsError("Validity is required")
    end = _moment(validity, issued_at, relative=True)
    begin = issued_at - BACKDATING if not_before is None else _moment(not_before, issued_at, relative=False)
    if end <= issued_at or end <= begin:
        raise ValidationError("The certificate validity must end in the future, after it begins")
    return Period(begin, end)


def _moment(value: Mapping[str, Any], issued_at: datetime, *, relative: bool) -> datetime:
    amount, kind = value.get("Value"), value.get("Type")
    if not isinstance(amount, int) or isinstance(amount, bool) or amount < 1:
        raise InvalidArgsError(f"Validity value must be a whole number greater than 0, not {amount!r}")
    try:
        if kind == "END_DATE":
            return _end_date(str(amount))
        if kind == "ABSOLUTE":
            return datetime.fromtimestamp(amount, UTC)
        if relative and kind == "DAYS":
            return issued_at + timedelta(days=amount)
        if relative and kind == "MONTHS":
            return _add_months(issued_at, amount)
        if relative and kind == "YEARS":
            return _add_months(issued_at, 12 * amount)
    except (OverflowError, ValueError, OSError) as error:
        raise InvalidArgsError(f"Validity {amount} of type {kind} is not a date") from error
    raise InvalidArgsError(f"Validity type {kind!r} is not allowed here")


def _end_date(digits: str) -> datetime:
    if re.fullmatch(r"\d{14}", digits):
        return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    # A number has no leading zeros: years 2000 to 2009 have fewer digits.
    padded = digits.rjust(12, "0")
    if not re.fullmatch(r"\d{12}", padded):
        raise ValueError(digits)
    # UTCTime's century, RFC 5280 section 4.1.2.5.1.
    century = "19" if int(padded[:2]) >= 50 else "20"
    return datetime.strptime(century + padded, "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def _add_months(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.month - 1 + months, 12)
    year += moment.year
    last_day = calendar.monthrange(year, month + 1)[1]
    return moment.replace(year=year, month=month + 1, day=min(moment.day, last_day))
