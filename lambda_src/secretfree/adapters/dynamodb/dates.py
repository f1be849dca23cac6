"""Dates as the ledger's items hold them: whole milliseconds since the epoch, as a number."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def date_value(moment: datetime) -> dict[str, str]:
    """The attribute value of a date."""
    return {"N": str(round(moment.timestamp() * 1000))}


def date_of(item: Mapping[str, Any], name: str) -> datetime:
    """The date in an attribute.

    Raises:
        KeyError: the item has no such attribute, or no number there.
        ValueError: the number is not whole.
        OverflowError: the number is no date.
    """
    return datetime.fromtimestamp(int(item[name]["N"]) / 1000, UTC)
