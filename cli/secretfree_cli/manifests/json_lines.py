"""JSON Lines and JSON: one object per device with the fields of `secretfree.registry.row`, as `export` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.key_material.json_values import parse_object, text_field
from secretfree.registry.row import read_columns

from secretfree_cli.manifests.json_objects import json_objects
from secretfree_cli.manifests.manifest import MAX_ENTRY_BYTES, Entry, FileManifest, Row, at_least_one, bounded_lines

_BULK_FIELDS: Final = ("ThingName", "CSR", "SerialNumber")


class JsonLinesManifest(FileManifest):
    """Each row is a line, so that a broken row does not affect others."""

    format = "jsonl"

    def entries(self) -> Iterator[Entry]:
        """Yield the lines that are not blank."""
        with self._open_text() as stream:
            yield from at_least_one(_lines(stream), f"{self.name}: no line with an object")

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        return _row(entry)


class JsonManifest(FileManifest):
    """An array of such objects, or a sequence of objects, over any number of lines."""

    format = "json"

    def entries(self) -> Iterator[Entry]:
        """Yield each object's bytes."""
        with self._open_text() as stream:
            yield from at_least_one(json_objects(stream), f"{self.name}: no object in it")

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        return _row(entry)


class AwsBulkManifest(JsonLinesManifest):
    """AWS IoT's file for bulk registration (StartThingRegistrationTask): `ThingName`, `CSR`, and `SerialNumber`.

    The request's signature is verified. The serial number becomes the attribute `serial-number`.
    """

    format = "aws-bulk"

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        document = parse_object(entry.payload)
        unknown = sorted(document.keys() - {*_BULK_FIELDS})
        if unknown:
            raise RowRefused(
                Refusal.UNKNOWN_FIELD, f"the field {unknown[0][:80]!a}; accepted: {', '.join(_BULK_FIELDS)}"
            )
        serial = text_field(document, "SerialNumber")
        attributes = {"serial-number": serial} if serial else {}
        return Row(text_field(document, "ThingName"), text_field(document, "CSR"), attributes=attributes)


def _row(entry: Entry) -> Row:
    return read_columns(parse_object(entry.payload))


def _lines(stream: BinaryIO) -> Iterator[Entry]:
    for number, line, cut in bounded_lines(stream):
        if cut:
            yield Entry.unreadable(number, f"a line of more than {MAX_ENTRY_BYTES} bytes")
        elif line.strip():
            yield Entry(number, line)
