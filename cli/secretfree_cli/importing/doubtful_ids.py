"""Ids that are accepted although they may differ from what the supplier meant. They cause warnings, never refusals."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from secretfree.registry.doubtful_id import DETAILS, EXAMPLES, MONTHS, Doubt, doubt_of, usual_length

_MONTH_STARTS: Final = ", ".join(sorted({f"'{month[:3]}'" for month in MONTHS.split("|")}))


@dataclass(frozen=True, slots=True)
class Example:
    """The place of a doubtful id: the position of its file, its line, and the member of a folder or an archive."""

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
        """Count an id, and keep it if it is among the first."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


def doubtful_ids(connection: sqlite3.Connection) -> Sequence[Doubtful]:
    """Return the kinds of doubtful ids among the rows of a checkpoint, each with its number and first examples.

    Lengths are compared within a file, letters across all files. A refused row counts only if a spreadsheet seems to
    have damaged its id, because its refusal names it already. An id counts only for the first kind that fits, except
    for case. Memory does not grow with the number of rows.
    """
    usual = _usual_lengths(connection)
    found = {doubt: Doubtful(doubt) for doubt in Doubt}
    for example, admitted in _candidates(connection, usual):
        doubt = doubt_of(example.device_id, usual.get(example.file, 0) if admitted else None)
        if doubt is not None:
            found[doubt].add(example)
    for example in _differing_in_case_alone(connection):
        found[Doubt.DIFFERING_IN_CASE_ALONE].add(example)
    return [one for one in found.values() if one.count]


def _usual_lengths(connection: sqlite3.Connection) -> Mapping[int, int]:
    """Return the most frequent length of each file's ids; of several, the longest."""
    counted: dict[int, Counter[int]] = {}
    lengths = "SELECT file, length(device_id), count(*) FROM row WHERE status NOT NULL GROUP BY 1, 2"
    for file, length, count in connection.execute(lengths):
        counted.setdefault(file, Counter())[length] = count
    return {file: usual_length(lengths) for file, lengths in counted.items()}


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
    """Yield the admitted ids that differ from another one only in case, grouped."""
    select = """
        SELECT file, line, member, device_id FROM row
        WHERE status NOT NULL AND lower(device_id) IN (
            SELECT lower(device_id) FROM row WHERE status NOT NULL GROUP BY lower(device_id)
            HAVING min(device_id) <> max(device_id))
        ORDER BY lower(device_id), ordinal"""
    for values in connection.execute(select):
        yield Example(*values)
