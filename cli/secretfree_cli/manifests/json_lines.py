"""JSON Lines: one object a line, its fields those of `secretfree.registry.row`; what `export` writes is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from secretfree.registry.row import read_columns

from secretfree_cli.manifests.json_objects import parse_object
from secretfree_cli.manifests.manifest import MAX_ENTRY_BYTES, Entry, FileManifest, Row, at_least_one, bounded_lines


class JsonLinesManifest(FileManifest):
    """Rows that stand each on a line of their own, so that a broken one spoils no other."""

    format = "jsonl"

    def entries(self) -> Iterator[Entry]:
        """Yield the lines that are not blank."""
        with self._open() as stream:
            yield from at_least_one(_lines(stream), f"{self.name}: no line with an object in it")

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        columns = read_columns(parse_object(entry.payload))
        return Row(columns.device_id, columns.public_key, columns.status, columns.fingerprint, columns.attributes)


def _lines(stream: BinaryIO) -> Iterator[Entry]:
    for number, line, cut in bounded_lines(stream):
        if cut:
            yield Entry.unreadable(number, f"a line of more than {MAX_ENTRY_BYTES} bytes")
        elif line.strip():
            yield Entry(number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
