"""Ids that are accepted although they may differ from what the supplier meant, and why they are doubtful."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

EXAMPLES: Final = 5
"""Number of doubtful ids of one kind that a warning names."""


class Doubt(StrEnum):
    """A kind of doubtful id."""

    SPREADSHEET_DAMAGE = "spreadsheet-damage"
    LOST_LEADING_ZEROS = "lost-leading-zeros"
    UNEVEN_LENGTH = "uneven-length"
    DIFFERING_IN_CASE_ALONE = "differing-in-case-alone"


DETAILS: Final[Mapping[Doubt, str]] = MappingProxyType(
    {
        Doubt.SPREADSHEET_DAMAGE: "ids look like a date or number that a spreadsheet wrote; export the column as text",
        Doubt.LOST_LEADING_ZEROS: "ids of digits are shorter than the file's other ids; leading zeros may be lost",
        Doubt.UNEVEN_LENGTH: "ids are shorter or longer than the file's other ids",
        Doubt.DIFFERING_IN_CASE_ALONE: "ids differ from another one only in case; each is a separate device",
    }
)
MONTHS: Final = (
    "jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec|january|february|march|april|june|july|august|september|"
    "october|november|december|mrz|mär|mai|okt|dez"
)
_DAMAGE: Final = re.compile(
    rf"""
    (?:{MONTHS})[-. /]+\d{{1,4}}                                # Mar-01
    | \d{{1,2}}[-. /]+(?:{MONTHS})(?:[-. /]+(?:\d{{2}}|\d{{4}}))?  # 01-Mar, 1-Mar-26
    | \d{{1,2}}([./])\d{{1,2}}\1(?:\d{{2}}|\d{{4}})               # 03/01/2026, 01.03.2026
    | \d{{4}}-\d{{2}}-\d{{2}}(?:[T ]\d{{2}}:\d{{2}}(?::\d{{2}})?)?   # 2026-03-01
    | \d(?:[.,]\d+)?E[+-]\d{{1,3}}                              # 1.2E+15
    | \d{{15}}0{{3,}}                                           # 15 significant digits
    | \d+[.,]0+                                                # 4711.0
    | \#(?:N/A|REF!|NAME\?|VALUE!|NUM!|DIV/0!|NULL!|\#+)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LONGEST_DAMAGE: Final = 32


def doubt_of(device_id: str, usual_length: int | None) -> Doubt | None:
    """Return why an id is doubtful, or None.

    `usual_length` is that of its file's admitted ids, None for a refused row.
    """
    if looks_damaged(device_id):
        return Doubt.SPREADSHEET_DAMAGE
    if usual_length is None or len(device_id) == usual_length:
        return None
    if len(device_id) < usual_length and device_id.isdecimal():
        return Doubt.LOST_LEADING_ZEROS
    return Doubt.UNEVEN_LENGTH


def looks_damaged(device_id: str) -> bool:
    """Whether an id looks like a date or number that a spreadsheet wrote in its place."""
    return len(device_id) <= _LONGEST_DAMAGE and _DAMAGE.fullmatch(device_id) is not None


def usual_length(counts: Mapping[int, int]) -> int:
    """Return the most frequent length of a file's ids, given their number by length; of several, the longest."""
    return max(counts, key=lambda length: (counts[length], length), default=0)
