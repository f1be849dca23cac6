"""PEM: a bundle in one file, or a folder of files; public keys, certificate requests (verified) or certificates."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.key_material.keys import MAX_KEY_FILE, read_key_material, require_same_device
from secretfree.registry.key_material.pem_blocks import BEGIN, END, boundaries_apart
from secretfree.request.device_profile import DeviceProfile

from secretfree_cli.manifests.issuers import Issuers
from secretfree_cli.manifests.manifest import (
    Entry,
    FileManifest,
    ManifestError,
    Row,
    at_least_one,
    bounded_lines,
    file_digest,
    shown_name,
)

SUFFIXES: Final = frozenset({".pem", ".crt", ".cer", ".csr", ".pub", ".key", ".der"})
"""Suffixes of the files of a folder that are read; `PemFolder.not_read` names the others."""
_NAME_LINE: Final = re.compile(rb"(?:#|device-id[:=]|subject=.*CN ?=)\s*(?:device-id[:=])?\s*([^\s,/]{1,128})\s*")


class PemBundle(FileManifest):
    """A sequence of blocks. The device id is the common name, or for a bare public key the comment line before it.

    Such a line is `# dev-0001`, `device-id: dev-0001`, or the `subject=` that `openssl` prints. It is optional before a
    request or a certificate, and must name the same device.
    """

    format = "pem"

    def __init__(self, path: Path, *, profile: DeviceProfile = DeviceProfile.STANDARD) -> None:
        super().__init__(path)
        self._profile = profile

    def entries(self) -> Iterator[Entry]:
        """Yield each block with the name before it; certificates of issuers are skipped."""
        issuers = Issuers()
        with self._open_text() as stream:
            issuers.learn(entry.payload[1] for entry in _blocks(stream) if entry.broken is None)
        with self._open_text() as stream:
            blocks = at_least_one(_blocks(stream), f"{self.name}: no PEM block (-----BEGIN ...) in it")
            yield from (block for block in blocks if block.broken is not None or not issuers.include(block.payload[1]))
        self.remarks = issuers.remarks(self.name)

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        named, block = entry.payload
        material = read_key_material(block, self._profile)
        if named is not None:
            require_same_device(named, material, self._profile)
        device_id = material.common_name or named
        if device_id is None:
            raise RowRefused(
                Refusal.MISSING_DEVICE_ID, "a public key without a name: put a line '# DEVICE-ID' before its block"
            )
        return Row(device_id, material.public_key)


class PemFolder:
    """A folder of files with one key, request or certificate each, read in the order of their names.

    The device id is the common name, or for a bare public key the file's name without its suffix. A file with a common
    name may have any name.
    """

    format = "pem"

    def __init__(self, path: Path, *, profile: DeviceProfile = DeviceProfile.STANDARD) -> None:
        self.path = path
        self.name = shown_name(path) or str(path.resolve())
        self._profile = profile
        if not any(self._files()):
            raise ManifestError(
                f"{self.name}: no file in this folder ends in {', '.join(sorted(SUFFIXES))}",
                hint="files with other names, and subfolders, are skipped",
            )
        self.size = sum(entry.stat().st_size for entry in self._files())
        self.consumed = 0
        self.remarks: Sequence[str] = ()

    @property
    def not_read(self) -> Sequence[str]:
        """The other files and folders in the folder, as `FOLDER/NAME`; folders end with a slash."""
        read = set(self._names())
        with os.scandir(self.path) as found:
            others = sorted((entry.name, entry.is_dir()) for entry in found if entry.name not in read)
        return [f"{self.name}/{shown_name(Path(name))}{'/' if folder else ''}" for name, folder in others]

    def digest(self) -> str:
        """SHA-256 over `<SHA-256 of the file> <name>` lines, as sha256sum writes them, ordered by name."""
        whole = hashlib.sha256()
        for name in self._names():
            whole.update(f"{file_digest(self.path / name)}  ".encode() + os.fsencode(name) + b"\n")
        return whole.hexdigest()

    def entries(self) -> Iterator[Entry]:
        """Yield each file's name."""
        self.consumed = 0
        issuers = Issuers()
        issuers.learn(self._contents())
        for position, name in enumerate(self._names(), start=1):
            file = self.path / name
            member = shown_name(file)
            size = file.stat().st_size
            if size > MAX_KEY_FILE:
                yield Entry.unreadable(position, f"{size} bytes; accepted: at most {MAX_KEY_FILE}", member=member)
            elif not issuers.include(content := file.read_bytes()):
                yield Entry(position, content, member=member)
            self.consumed += size
        self.remarks = issuers.remarks(self.name)

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        material = read_key_material(entry.payload, self._profile)
        return Row(material.common_name or Path(entry.member or "").stem, material.public_key)

    def _files(self) -> Iterator[os.DirEntry[str]]:
        with os.scandir(self.path) as found:
            for entry in found:
                if entry.is_file() and Path(entry.name).suffix.lower() in SUFFIXES:
                    yield entry

    def _contents(self) -> Iterator[bytes]:
        for file in self._files():
            if file.stat().st_size <= MAX_KEY_FILE:
                yield Path(file.path).read_bytes()

    def _names(self) -> list[str]:
        return sorted(entry.name for entry in self._files())


def _blocks(stream: BinaryIO) -> Iterator[Entry]:
    """Split PEM blocks from the lines around them.

    A name belongs only to the next block. If that block lacks its begin or end, the name is dropped too. A name inside
    such a block belongs to the next block.
    """
    named: str | None = None
    block: _Block | None = None
    for number, line in boundaries_apart(bounded_lines(stream, MAX_KEY_FILE)):
        ends = line.lstrip().startswith(END)
        if line.lstrip().startswith(BEGIN):
            if block is not None:
                yield Entry.unreadable(block.began, "a block that does not end before the next begins")
                named = block.named_inside
            block = _Block(number, named)
        if block is None:
            named = _name(line) or named
            if ends:
                yield Entry.unreadable(number, "the end of a block without its beginning")
                named = None
            continue
        block.take(line)
        if ends:
            yield block.entry()
            named = block = None
    if block is not None:
        yield Entry.unreadable(block.began, "the file ends inside this block")


class _Block:
    """One block, line by line, and the name before it."""

    def __init__(self, began: int, named: str | None) -> None:
        self.began = began
        self.named_inside: str | None = None
        self._named = named
        self._lines: list[bytes] = []
        self._size = 0

    def take(self, line: bytes) -> None:
        """Add a line, unless the block is already too long."""
        self.named_inside = _name(line) or self.named_inside
        self._size += len(line)
        if self._size <= MAX_KEY_FILE:
            self._lines.append(line)

    def entry(self) -> Entry:
        """Return the complete block."""
        if self.named_inside is not None:
            return Entry.unreadable(self.began, "a line inside the block names a device: two blocks run together")
        if self._size > MAX_KEY_FILE:
            return Entry.unreadable(self.began, f"a block of {self._size} bytes; accepted: at most {MAX_KEY_FILE}")
        return Entry(self.began, (self._named, b"".join(self._lines)))


def _name(line: bytes) -> str | None:
    found = _NAME_LINE.fullmatch(line.strip())
    return None if found is None else found.group(1).decode("utf-8", "surrogateescape")
