"""Infineon's archives for OPTIGA Trust M: a 7z of 7z with one certificate per chip, in a file with the chip's name."""

from __future__ import annotations

import re
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Final

import py7zr
from cryptography import x509
from py7zr.io import Py7zIO, WriterFactory
from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.key_material.keys import read_certificate, refusing_rows
from secretfree.request.parsing import refusing_parser_errors

from secretfree_cli.manifests.manifest import Entry, FileManifest, ManifestError, Row, at_least_one

MAX_CERTIFICATE: Final = 16 * 1024
"""Maximum size of a member in bytes; a chip's certificate in PEM has some 1,000."""
MAX_MEMBERS: Final = 40_000
"""Maximum number of members of all inner archives. Each needs 2.4 KB of memory; a reel has some thousands of chips."""
MAX_ARCHIVE: Final = 48 << 20
"""Maximum size in bytes of all inner archives and of all their certificates. py7zr unpacks up to 128 MB in memory."""
METHODS: Final = frozenset({"LZMA", "LZMA2", "COPY", "BCJ"})
"""The methods that 7-Zip uses by default. With others, py7zr unpacks whole blocks and ignores the declared size."""
_MAX_HEADER: Final = 8 << 20
"""Maximum size in bytes of an archive's unpacked list of members."""
_CERTIFICATES: Final = re.compile(r"(?:.*/)?[^/]*_Certs\.7z")
_CHIP: Final = re.compile(r"(?:.*/)?(?P<chip>[0-9A-F]{20})_(?P<slot>E0E[0-9A-F])\.pem")
_FRAME: Final = struct.Struct(">HI")


class InfineonManifest(FileManifest):
    """The device id is the chip's id, 20 upper-case hex digits, from the member's name.

    The archive is not signed. So each certificate must be issued by one of `authorities`, the CA certificates that
    Infineon publishes. They are trusted without further checks. If the archive has several objects for each chip,
    `slot` (`E0E0` ...) chooses one.
    """

    format = "infineon"

    def __init__(self, path: Path, *, authorities: Sequence[x509.Certificate], slot: str | None = None) -> None:
        if not authorities:
            raise ManifestError(
                f"{path.name}: an Infineon archive is not signed; only the issuer makes its certificates trustworthy",
                hint="pass the issuing CA's certificate with --ca",
            )
        super().__init__(path)
        self._authorities = {authority.subject.public_bytes(): authority for authority in authorities}
        self._slot = slot

    @property
    def consumed(self) -> int:
        """0 or the whole size, because the archive is unpacked as a whole."""
        return self.size

    def entries(self) -> Iterator[Entry]:
        """Unpack into a temporary folder, and yield each member of the inner archives."""
        of_slot = "" if self._slot is None else f" of the object {self._slot}"
        return at_least_one(self._certificates(), f"{self.name}: no chip's certificate{of_slot} in it")

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        chip, pem = entry.payload
        material = read_certificate(pem)
        self._verify_issuer(material.certificate)
        return Row(chip, material.public_key)

    def _certificates(self) -> Iterator[Entry]:
        with tempfile.TemporaryDirectory(prefix="secretfree-") as folder:
            self._require_limits(Path(folder))
            position = 0
            for archive in self._inner_archives(Path(folder)):
                for name, data in _members(archive, Path(folder, "certificates"), self.name):
                    chip = _CHIP.fullmatch(name)
                    if chip is not None and self._slot is not None and chip["slot"] != self._slot:
                        continue
                    position += 1
                    yield _entry(position, name, data, chip)

    def _require_limits(self, folder: Path) -> None:
        """Check the inner archives together against the limits, and require a slot if a chip has several."""
        members = size = 0
        slots: set[str] = set()
        ambiguous, of_chip = False, dict[str, str]()
        for archive in self._inner_archives(folder):
            with _open(archive, self.name) as opened:
                members += len(opened.files)
                size += sum(member.uncompressed for member in opened.files)
                names = opened.getnames()
            if members > MAX_MEMBERS:
                raise ManifestError(f"{self.name}: {members} members; accepted: at most {MAX_MEMBERS}")
            if size > MAX_ARCHIVE:
                raise ManifestError(f"{self.name}: unpacks to more than {MAX_ARCHIVE} bytes: {size}")
            for chip in filter(None, map(_CHIP.fullmatch, names)):
                slots.add(chip["slot"])
                ambiguous |= of_chip.setdefault(chip["chip"], chip["slot"]) != chip["slot"]
        if ambiguous and self._slot is None:
            raise ManifestError(
                f"{self.name}: a chip has a certificate in each of the objects {', '.join(sorted(slots))}",
                hint="choose the one whose key the devices use, such as --slot E0E0",
            )

    def _verify_issuer(self, certificate: x509.Certificate) -> None:
        authority = self._authorities.get(certificate.issuer.public_bytes())
        if authority is None:
            raise RowRefused(Refusal.UNTRUSTED_SIGNER, "not issued by any of the given CAs")
        if not _may_issue(authority):
            raise RowRefused(Refusal.UNTRUSTED_SIGNER, "the given certificate of the issuer is not a CA's")
        with refusing_rows(Refusal.SIGNATURE, "the certificate's signature is not by the given CA"):
            certificate.verify_directly_issued_by(authority)

    def _inner_archives(self, folder: Path) -> Iterator[Path]:
        with _open(self.path, self.name) as outer:
            names = outer.getnames()
            if any(_CHIP.fullmatch(name) for name in names):  # The inner archive was extracted.
                yield self.path
                return
            inner = [name for name in names if _CERTIFICATES.fullmatch(name)]
            if not inner:
                raise ManifestError(f"{self.name}: no member named ..._Certs.7z, nor CHIPID_E0Ex.pem")
        for position, name in enumerate(inner):
            target = folder / f"{position}.7z"
            self._unpack(name, target)
            yield target
            target.unlink()

    def _unpack(self, member: str, target: Path) -> None:
        with _open(self.path, self.name) as outer, target.open("wb") as file:
            writer = _Bounded(file)
            _extract(outer, [member], _Files(lambda _name: writer), self.name)


def _entry(position: int, name: str, data: bytes | None, chip: re.Match[str] | None) -> Entry:
    shown = name[-80:]
    if chip is None:
        return Entry.unreadable(position, "a member not named CHIPID_E0Ex.pem (20 upper-case hex digits)", member=shown)
    if data is None:
        return Entry.unreadable(position, f"more than {MAX_CERTIFICATE} bytes", member=shown)
    return Entry(position, (chip["chip"], data), member=shown)


def _may_issue(authority: x509.Certificate) -> bool:
    """RFC 5280, 4.2.1.9 and 4.2.1.3."""
    try:
        if not authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        return authority.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound as missing:
        return missing.oid == x509.KeyUsage.oid


def _open(path: Path, name: str) -> py7zr.SevenZipFile:
    """Open an archive and check its declared sizes against the limits."""
    _bound_lists()
    with _refusing_archive(name, "not a readable 7z archive"):
        archive = py7zr.SevenZipFile(path, "r", max_extract_size=MAX_ARCHIVE)
        excess = _excess(archive)
    if excess is not None:
        archive.close()
        raise ManifestError(f"{name}: {excess}")
    return archive


def _excess(archive: py7zr.SevenZipFile) -> str | None:
    if archive.password_protected:
        return "an encrypted archive; the one with the certificates is not encrypted"
    members = len(archive.files)
    if members > MAX_MEMBERS:
        return f"{members} members; accepted: at most {MAX_MEMBERS}"
    size = sum(member.uncompressed for member in archive.files)
    if size > MAX_ARCHIVE:
        return f"unpacks to more than {MAX_ARCHIVE} bytes: {size}"
    others = set(archive.archiveinfo().method_names) - METHODS if members else set()
    if others:
        return f"packed with {', '.join(sorted(others))}; accepted: {', '.join(sorted(METHODS))}"
    return None


def _bound_lists() -> None:
    """Lower py7zr's own limits, so that it refuses very long lists before it allocates them.

    They would need gigabytes.
    """
    py7zr.archiveinfo.MAX_HEADER_SIZE = _MAX_HEADER
    py7zr.archiveinfo.MAX_NUMFILES = 2 * MAX_MEMBERS  # A few more are allowed, so that their number can be reported.
    py7zr.archiveinfo.MAX_NUMFOLDERS = 2 * MAX_MEMBERS
    py7zr.archiveinfo.MAX_SUBSTREAMS = 2 * MAX_MEMBERS


def _members(archive_path: Path, spool_path: Path, manifest: str) -> Iterator[tuple[str, bytes | None]]:
    """Yield the inner archive's members, names and contents; None for one that is too long."""
    with spool_path.open("w+b") as spool:
        factory = _Files(lambda name: _Member(name, spool))
        with _open(archive_path, manifest) as archive:
            _extract(archive, None, factory, manifest)
        spool.seek(0)
        while header := spool.read(_FRAME.size):
            name_length, length = _FRAME.unpack(header)
            name = spool.read(name_length).decode("utf-8")
            yield name, None if length > MAX_CERTIFICATE else spool.read(length)


def _extract(archive: py7zr.SevenZipFile, targets: Sequence[str] | None, factory: _Files, name: str) -> None:
    try:
        with _refusing_archive(name, "a damaged archive"):
            archive.extract(targets=targets, factory=factory)
    except _TooLarge as error:
        raise ManifestError(f"{name}: unpacks to more than {MAX_ARCHIVE} bytes") from error


def _refusing_archive(name: str, what: str) -> AbstractContextManager[None]:
    """Refuse the archive for any error of py7zr, or of lzma and struct below it, in the block."""
    return refusing_parser_errors(
        lambda error: ManifestError(f"{name}: {what} ({type(error).__name__})"), ours=(ManifestError, _TooLarge)
    )


class _TooLarge(Exception):  # noqa: N818
    """An archive that unpacks to more than the limit."""


class _Files(WriterFactory):
    """Returns a writer for each member, so that no name in an archive becomes a path on this machine."""

    def __init__(self, make: Callable[[str], Py7zIO]) -> None:
        self._make = make

    def create(self, filename: str) -> Py7zIO:
        """Return the writer of a member."""
        return self._make(filename)


class _Writer(Py7zIO):
    """A sink. Only `write` is used; py7zr requires the other methods."""

    def __init__(self) -> None:
        self._size = 0

    def read(self, size: int | None = None) -> bytes:  # noqa: ARG002
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:  # noqa: ARG002
        return 0

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def size(self) -> int:
        return self._size


class _Bounded(_Writer):
    """Writes an inner archive to a file, up to the limit."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def write(self, data: bytes | bytearray) -> int:
        self._size += len(data)
        if self._size > MAX_ARCHIVE:
            raise _TooLarge
        return self._file.write(data)


class _Member(_Writer):
    """Collects one certificate and adds it to the spool when it is complete.

    For one that is too long, only its length.
    """

    _lock = threading.Lock()  # py7zr unpacks folders of an archive in threads.

    def __init__(self, name: str, spool: BinaryIO) -> None:
        super().__init__()
        self._name = name.encode("utf-8", "replace")[-0xFFFF:]
        self._spool = spool
        self._data = bytearray()

    def write(self, data: bytes | bytearray) -> int:
        self._size += len(data)
        if self._size <= MAX_CERTIFICATE:
            self._data += data
        return len(data)

    def close(self) -> None:
        with self._lock:
            self._spool.write(_FRAME.pack(len(self._name), min(self._size, 0xFFFFFFFF)))
            self._spool.write(self._name)
            if self._size <= MAX_CERTIFICATE:
                self._spool.write(self._data)
