"""The interface of every manifest format: entries with their place in the file. Each entry is one row."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from secretfree.registry.admission import Refusal, Row, RowRefused
from secretfree.registry.key_material.text import text_stream

from secretfree_cli.output import CliError, ExitCode

__all__ = [
    "MAX_ENTRY_BYTES",
    "Entry",
    "FileManifest",
    "Manifest",
    "ManifestError",
    "Row",
    "at_least_one",
    "bounded_lines",
    "file_digest",
    "shown_name",
]

MAX_ENTRY_BYTES = 256 * 1024
"""Largest size of an entry. The largest real one, a Microchip object with a chain in each slot, has some 20 KB."""


class ManifestError(CliError):
    """A manifest that cannot be read. None of its rows is used."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, exit_code=ExitCode.FAILURE)


class Entry(NamedTuple):
    """The part of a manifest that describes one device, not yet interpreted.

    `line` counts from 1: the entry's first line or, in folders and archives, its position. `member` is the file inside
    a folder or an archive. `broken`: why the entry could not be split off.
    """

    line: int
    payload: Any = None
    member: str | None = None
    broken: RowRefused | None = None

    @classmethod
    def unreadable(cls, line: int, detail: str, *, member: str | None = None) -> Entry:
        """Return an entry that can only be refused, as `malformed-row`."""
        return cls(line, member=member, broken=RowRefused(Refusal.MALFORMED_ROW, detail))


class Manifest(Protocol):
    """A manifest in some format. Its memory does not grow with its size."""

    @property
    def format(self) -> str:
        """Name of the format, which is stored in the registry as `source`."""
        ...

    @property
    def name(self) -> str:
        """The file's name, for the report."""
        ...

    @property
    def size(self) -> int:
        """Size in bytes, for the progress bar."""
        ...

    @property
    def consumed(self) -> int:
        """Bytes read so far."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """Remarks of the summary about the manifest, complete after the last entry."""
        ...

    @property
    def not_read(self) -> Sequence[str]:
        """Files and folders in the manifest's folder that were not read, folders with a slash at the end."""
        ...

    def digest(self) -> str:
        """SHA-256, lower-case hex, of the file; of a folder, over its files' names and digests."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Split the manifest into entries, the same in the same order at each call; raises ManifestError."""
        ...

    def interpret(self, entry: Entry) -> Row:
        """Return the row of an entry that is not broken; raises RowRefused.

        Also called in other processes, on a copy of the manifest that was made after its first entries.
        """
        ...


class FileManifest:
    """A manifest in one file: the common part of the formats."""

    format = ""
    remarks: Sequence[str] = ()
    """Remarks of the summary about the manifest, complete after the last entry."""
    not_read: Sequence[str] = ()
    """Empty: a file has no folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = shown_name(path)
        self.size = path.stat().st_size
        self._stream: BinaryIO | None = None

    @property
    def consumed(self) -> int:
        """Bytes read so far."""
        if self._stream is None:
            return 0
        return self.size if self._stream.closed else self._stream.tell()

    def digest(self) -> str:
        """SHA-256 of the file, lower-case hex."""
        return file_digest(self.path)

    def __getstate__(self) -> dict[str, object]:
        """Leave the open file out: other processes interpret entries, and only this one reads them."""
        return {**self.__dict__, "_stream": None}

    def _open(self) -> BinaryIO:
        self._stream = self.path.open("rb")
        return self._stream

    @contextmanager
    def _open_text(self) -> Iterator[BinaryIO]:
        """Open the file as UTF-8 text with LF line ends, whatever its own encoding and line ends."""
        with self._open() as stream:
            yield text_stream(stream)


def shown_name(path: Path) -> str:
    """Return a file's name as printable text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(path.name).decode("utf-8", "backslashreplace")


def at_least_one(entries: Iterator[Entry], otherwise: str) -> Iterator[Entry]:
    """Yield `entries`; raises ManifestError with the message `otherwise` if there are none.

    A manifest without a device is probably the wrong file, so an empty import must fail.
    """
    first = next(entries, None)
    if first is None:
        raise ManifestError(otherwise)
    yield first
    yield from entries


def file_digest(path: Path) -> str:
    """SHA-256 of a file, lower-case hex, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def bounded_lines(stream: BinaryIO, limit: int = MAX_ENTRY_BYTES) -> Iterator[tuple[int, bytes, bool]]:
    """Yield each line's number, its bytes with the line end, and whether it was cut for being longer than `limit`."""
    number = 0
    while line := stream.readline(limit):
        number += 1
        cut = len(line) == limit and not line.endswith(b"\n")
        yield number, line, cut
        while cut and (rest := stream.readline(limit)) and not rest.endswith(b"\n"):
            pass
