"""CSV with a header: the columns of `secretfree.registry.row`, or columns that options map to them."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final

from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.row import DEVICE_ID, column_name, read_columns

from secretfree_cli.manifests.formula_guard import unguarded
from secretfree_cli.manifests.manifest import Entry, FileManifest, ManifestError, Row, at_least_one, bounded_lines

_MAX_FIELD: Final = 16 * 1024
"""Maximum number of characters; a PEM certificate has at most some 2,500."""
_DELIMITERS: Final = ",;\t|"
_SEPARATOR_LINE: Final = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)


class CsvManifest(FileManifest):
    """A CSV of RFC 4180, UTF-8, delimited like its header by comma, semicolon, tabulator or bar.

    `columns` maps names of the gate (`device-id`, `attributes.NAME`...) to the supplier's columns. `ignored` columns
    are skipped. Any other unknown column refuses the whole manifest, because a misspelt column might admit a blocked
    device.
    """

    format = "csv"

    def __init__(
        self, path: Path, *, columns: Mapping[str, str] = MappingProxyType({}), ignored: Sequence[str] = ()
    ) -> None:
        super().__init__(path)
        self._renamed = {_folded(theirs): ours for ours, theirs in columns.items()}
        self._ignored = frozenset(map(_folded, ignored))
        self._header: Sequence[str] = ()

    def entries(self) -> Iterator[Entry]:
        """Yield each row's fields; raises ManifestError for a header without the columns, or without a row."""
        with self._open_text() as stream:
            rows = csv_records(stream)
            first = next(rows, None)
            if first is None or first.broken is not None:
                why = "" if first is None or first.broken is None else f": {first.broken.detail}"
                raise ManifestError(f"{self.name}: no CSV header in the first line{why}")
            self._header = self._understood(first.payload)
            yield from at_least_one(rows, f"{self.name}: no row below the CSV header")

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        if len(entry.payload) != len(self._header):
            raise RowRefused(
                Refusal.MALFORMED_ROW, f"{len(entry.payload)} fields; the header has {len(self._header)} columns"
            )
        return read_columns(
            {name: unguarded(value) for name, value in zip(self._header, entry.payload, strict=True) if name}
        )

    def _understood(self, header: Sequence[str]) -> Sequence[str]:
        """Return the gate's name of each column; an empty name for a skipped one."""
        theirs = [_folded(name) for name in header]
        absent = {*self._renamed, *self._ignored} - {*theirs}
        if absent:
            raise ManifestError(f"{self.name}: there is no column {min(absent)!a}")
        if any(theirs.count(name) > 1 for name in {*self._renamed, *self._ignored}):
            raise ManifestError(f"{self.name}: two columns have the name of one option")
        ours = [
            "" if name in self._ignored else self._renamed.get(name, given.strip())
            for name, given in zip(theirs, header, strict=True)
        ]
        named = [column_name(name) for name in ours if name]
        if len(set(named)) < len(named):
            raise ManifestError(f"{self.name}: two columns have the same meaning")
        try:
            read_columns(dict.fromkeys(named, "x"))
        except RowRefused as refused:
            raise ManifestError(
                f"{self.name}: {refused.detail}",
                hint="--column device-id=THEIRS names a supplier's column, --ignore-column THEIRS skips one",
            ) from refused
        if DEVICE_ID not in named:
            raise ManifestError(f"{self.name}: no column {DEVICE_ID}", hint=f"name it with --column {DEVICE_ID}=THEIRS")
        return ours


def csv_records(stream: BinaryIO) -> Iterator[Entry]:
    """Yield the records of a CSV, header included, each with its first line number; blank lines are skipped.

    If a record is not CSV, its first line becomes a broken entry, and reading continues with its second line. Otherwise
    an unclosed quote would hide the good rows after it. The same applies to a record of several lines that has another
    number of fields than the header.
    """
    lines = _Lines(stream)
    delimiter = delimiter_of(lines.peek())
    if _SEPARATOR_LINE.fullmatch(lines.peek()):
        next(lines)
    csv.field_size_limit(_MAX_FIELD)
    width: int | None = None
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        lines.begin()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Entry.unreadable(lines.began, f"not CSV: {error}")
            lines.back_to_second()
            # The other line is still inside the quote.
            reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
            continue
        if not fields:
            continue
        width = width or len(fields)
        if len(fields) != width and lines.taken > 1:
            yield Entry.unreadable(lines.began, "a quote that is not closed on its line, and another number of fields")
            lines.back_to_second()
        else:
            yield Entry(lines.began, fields)


def delimiter_of(first_line: str) -> str:
    """Return the delimiter that a CSV's first line names (`sep=;`, as spreadsheets write), or has most often."""
    named = _SEPARATOR_LINE.fullmatch(first_line)
    return named[1] if named else max(_DELIMITERS, key=first_line.count)


def header_of(text: str) -> list[str]:
    """Return the header's fields of a CSV that begins with `text`."""
    lines = text.splitlines()
    delimiter = delimiter_of(lines[0])
    if _SEPARATOR_LINE.fullmatch(lines[0]):
        lines = lines[1:]
    return next(csv.reader(lines[:1], delimiter=delimiter, skipinitialspace=True), [])


def _folded(name: str) -> str:
    """Return a supplier's column name for comparison: case-folded, with single spaces."""
    return " ".join(name.split()).casefold()


class _Lines:
    """The stream's lines as text, counted. Bytes that are not UTF-8 stay recognisable, and every check refuses them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = bounded_lines(stream)
        self._ahead: deque[str] = deque()
        self._record: list[str] = []
        self.began = 1

    @property
    def taken(self) -> int:
        """The number of lines of the record so far."""
        return len(self._record)

    def begin(self) -> None:
        """The next line begins a record."""
        self.began += len(self._record)
        self._record.clear()

    def back_to_second(self) -> None:
        """Return all lines of the record except the first to the stream."""
        self._ahead.extendleft(reversed(self._record[1:]))
        del self._record[1:]

    def peek(self) -> str:
        """Return the first line without taking it."""
        if not self._ahead:
            line = next(self._lines, (1, b"", False))[1]
            self._ahead.append(line.decode("utf-8-sig", "surrogateescape"))
        return self._ahead[0]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else next(self._lines)[1].decode("utf-8", "surrogateescape")
        self._record.append(line)
        return line
