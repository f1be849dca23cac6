"""PEM: a bundle in one file, or a folder of files; public keys, certificate requests (verified) or certificates."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from secretfree.enrollment.record import Refusal, RowRefused
from secretfree.profile import DeviceProfile

from secretfree_cli.formats.keys import MAX_KEY_FILE, read_key_material
from secretfree_cli.formats.manifest import Entry, FileManifest, Row, bounded_lines, file_digest

SUFFIXES: Final = frozenset({".pem", ".crt", ".cer", ".csr", ".pub", ".key", ".der"})
"""Files of a folder that are read; others are passed over."""
_NAME_LINE: Final = re.compile(rb"(?:#|device-id[:=]|subject=.*CN ?=)\s*(?:device-id[:=])?\s*([^\s,/]{1,128})\s*")
_BEGIN: Final = b"-----BEGIN "
_END: Final = b"-----END "


class PemBundle(FileManifest):
    """Blocks one after another. The device id is the common name, or for a bare public key the comment line before it.

    Such a line is `# dev-0001`, `device-id: dev-0001`, or the `subject=` that `openssl` prints.
    """

    format = "pem"

    def __init__(self, path: Path, *, profile: DeviceProfile = DeviceProfile.STANDARD) -> None:
        super().__init__(path)
        self._profile = profile

    def entries(self) -> Iterator[Entry]:
        """Yield each block with the name before it."""
        with self._open() as stream:
            yield from _blocks(stream)

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        named, block = entry.payload
        material = read_key_material(block, self._profile)
        device_id = material.common_name or named
        if device_id is None:
            raise RowRefused(
                Refusal.MISSING_DEVICE_ID, "a public key without a name: put a line '# DEVICE-ID' before its block"
            )
        return Row(device_id, material.public_key)


class PemFolder:
    """A folder of files with one key, request or certificate each, read in the order of their names.

    The device id is the common name, or for a bare public key the file's name without its suffix.
    """

    format = "pem"

    def __init__(self, path: Path, *, profile: DeviceProfile = DeviceProfile.STANDARD) -> None:
        self.path = path
        self.name = path.name or str(path.resolve())
        self._profile = profile
        self.size = sum(entry.stat().st_size for entry in self._files())
        self.consumed = 0

    def digest(self) -> str:
        """SHA-256 over `<SHA-256 of the file>  <name>` lines, as sha256sum would write them, in the names' order."""
        whole = hashlib.sha256()
        for name in self._names():
            whole.update(f"{file_digest(self.path / name)}  {name}\n".encode())
        return whole.hexdigest()

    def entries(self) -> Iterator[Entry]:
        """Yield each file's name."""
        self.consumed = 0
        for position, name in enumerate(self._names(), start=1):
            file = self.path / name
            size = file.stat().st_size
            if size > MAX_KEY_FILE:
                yield Entry.unreadable(position, f"{size} bytes; accepted: at most {MAX_KEY_FILE}", member=name)
            else:
                yield Entry(position, file.read_bytes(), member=name)
            self.consumed += size

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        material = read_key_material(entry.payload, self._profile)
        return Row(material.common_name or Path(entry.member or "").stem, material.public_key)

    def _files(self) -> Iterator[os.DirEntry[str]]:
        with os.scandir(self.path) as found:
            for entry in found:
                if entry.is_file() and Path(entry.name).suffix.lower() in SUFFIXES:
                    yield entry

    def _names(self) -> list[str]:
        return sorted(entry.name for entry in self._files())


def _blocks(stream: BinaryIO) -> Iterator[Entry]:
    """Cut PEM blocks out of the lines around them."""
    named: str | None = None
    block: list[bytes] | None = None
    began = size = 0
    for number, line, _ in bounded_lines(stream, MAX_KEY_FILE):
        if line.lstrip().startswith(_BEGIN):
            if block is not None:
                yield Entry.unreadable(began, "a block that does not end before the next begins")
            block, began, size = [], number, 0
        if block is None:
            named = _name(line) or named
            continue
        size += len(line)
        if size <= MAX_KEY_FILE:
            block.append(line)
        if line.lstrip().startswith(_END):
            if size > MAX_KEY_FILE:
                yield Entry.unreadable(began, f"a block of {size} bytes; accepted: at most {MAX_KEY_FILE}")
            else:
                yield Entry(began, (named, b"".join(block)))
            named = block = None
    if block is not None:
        yield Entry.unreadable(began, "the file ends inside this block")


def _name(line: bytes) -> str | None:
    found = _NAME_LINE.fullmatch(line.strip())
    return None if found is None else found.group(1).decode("utf-8", "surrogateescape")
