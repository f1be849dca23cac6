"""Ids that are accepted and may still not be what the supplier meant. They are warned about, never refused."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

EXAMPLES: Final = 5


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
        Doubt.DIFFERING_IN_CASE_ALONE: "ids differ from another one in case alone; each is a device of its own",
    }
)
_MONTH: Final = (
    "jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec|january|february|march|april|june|july|august|september|"
    "october|november|december|mrz|mär|mai|okt|dez"
)
_MONTH_STARTS: Final = ", ".join(sorted({f"'{month[:3]}'" for month in _MONTH.split("|")}))
_DAMAGE: Final = re.compile(
    rf"""
    (?:{_MONTH})[-. /]+\d{{1,4}}                                # Mar-01
    | \d{{1,2}}[-. /]+(?:{_MONTH})(?:[-. /]+(?:\d{{2}}|\d{{4}}))?  # 01-Mar, 1-Mar-26
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


@dataclass(frozen=True, slots=True)
class Example:
    """Where a doubtful id stands: the position of its file, its line, and the member of a folder or an archive."""

    file: int
    line: int
    member: str | None
    device_id: str


@dataclass(slots=True)
class Doubtful:
    """All doubtful ids of one kind: their number, and the first of them."""

    doubt: Doubt
    count: int = 0
    examples: list[Example] = field(default_factory=list)

    @property
    def detail(self) -> str:
        """The sentence for the operator."""
        return DETAILS[self.doubt]

    def add(self, example: Example) -> None:
        """Count one, and keep it if it is among the first."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


def doubtful_ids(connection: sqlite3.Connection) -> Sequence[Doubtful]:
    """Return the kinds of doubtful ids among the rows of a checkpoint, each with its number and first examples.

    Lengths are compared within a file, letters across all files. A refused row counts only if a spreadsheet seems to
    have damaged its id, since its own refusal names it. An id counts for the first kind that fits it, case aside.
    Memory does not grow with the number of rows.
    """
    usual = _usual_lengths(connection)
    found = {doubt: Doubtful(doubt) for doubt in Doubt}
    for example, admitted in _candidates(connection, usual):
        doubt = _doubt(example.device_id, usual.get(example.file, 0) if admitted else None)
        if doubt is not None:
            found[doubt].add(example)
    for example in _differing_in_case_alone(connection):
        found[Doubt.DIFFERING_IN_CASE_ALONE].add(example)
    return [one for one in found.values() if one.count]


def _doubt(device_id: str, usual_length: int | None) -> Doubt | None:
    """Return why an id is doubtful; `usual_length` is that of its file's admitted ids, None for a refused row."""
    if len(device_id) <= _LONGEST_DAMAGE and _DAMAGE.fullmatch(device_id):
        return Doubt.SPREADSHEET_DAMAGE
    if usual_length is None or len(device_id) == usual_length:
        return None
    if len(device_id) < usual_length and device_id.isdecimal():
        return Doubt.LOST_LEADING_ZEROS
    return Doubt.UNEVEN_LENGTH


def _usual_lengths(connection: sqlite3.Connection) -> Mapping[int, int]:
    """Return the most frequent length of each file's ids; of several, the longest."""
    counted: dict[int, Counter[int]] = {}
    lengths = "SELECT file, length(device_id), count(*) FROM row WHERE status NOT NULL GROUP BY 1, 2"
    for file, length, count in connection.execute(lengths):
        counted.setdefault(file, Counter())[length] = count
    return {file: max(lengths, key=lambda length: (lengths[length], length)) for file, lengths in counted.items()}


def _candidates(connection: sqlite3.Connection, usual: Mapping[int, int]) -> Iterator[tuple[Example, bool]]:
    """Yield the ids that may be doubtful, in the rows' order, and whether the row was admitted.

    SQLite leaves out the ids of the usual length that begin with neither a digit nor a month: nearly all of them.
    """
    lengths = ", ".join(f"({file}, {length})" for file, length in usual.items()) or "(-1, -1)"
    select = f"""
        SELECT file, line, member, device_id, status NOT NULL FROM row
        WHERE device_id NOT NULL AND (
            status IS NULL OR device_id GLOB '[0-9]*' OR lower(substr(device_id, 1, 3)) IN ({_MONTH_STARTS})
            OR (file, length(device_id)) NOT IN (VALUES {lengths}))
        ORDER BY ordinal"""  # noqa: S608 - integers and constants
    for file, line, member, device_id, admitted in connection.execute(select):
        yield Example(file, line, member, device_id), bool(admitted)


def _differing_in_case_alone(connection: sqlite3.Connection) -> Iterator[Example]:
    """Yield the admitted ids that another one equals but for its case, those of a group one after another."""
    select = """
        SELECT file, line, member, device_id FROM row
        WHERE status NOT NULL AND lower(device_id) IN (
            SELECT lower(device_id) FROM row WHERE status NOT NULL GROUP BY lower(device_id)
            HAVING min(device_id) <> max(device_id))
        ORDER BY lower(device_id), ordinal"""
    for values in connection.execute(select):
        yield Example(*values)
