"""Refuses binary files with advice. A text reader would only quote their bytes."""

from __future__ import annotations

from typing import Final

from secretfree.registry.key_material.text import normalised

from secretfree_cli.manifests.manifest import ManifestError

_KINDS: Final = (
    (b"\x1f\x8b", "gzip data", "unpack it first: gunzip --keep FILE"),
    (b"BZh", "bzip2 data", "unpack it first: bunzip2 --keep FILE"),
    (b"\xfd7zXZ", "xz data", "unpack it first: unxz --keep FILE"),
    (b"\x28\xb5\x2f\xfd", "zstd data", "unpack it first: unzstd FILE"),
    (b"%PDF", "a PDF", "ask the supplier for the data as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel or other Office file", "save the sheet as CSV (UTF-8)"),
    (b"7z\xbc\xaf", "a 7z archive", "omit --format, or pass --format infineon"),
)
_ZIP: Final = b"PK\x03\x04"
_DER: Final = 0x30
_CONTROLS: Final = frozenset(range(32)) - frozenset(b"\t\n\r\x0c\x1a\x1b")
_MANY: Final = 4
"""Number of control characters. Fewer mean a damaged row, which is refused."""
_SHARE: Final = 50
"""In any binary file, at least one of this many characters is a control character."""


def refuse_binary(name: str, head: bytes) -> None:
    """Raise ManifestError if a file that begins with `head` is not text."""
    for magic, kind, cure in _KINDS:
        if head.startswith(magic):
            raise ManifestError(f"{name} is {kind}, not a manifest", hint=cure)
    if head.startswith(_ZIP):
        if b"xl/" in head or b"[Content_Types].xml" in head:
            raise ManifestError(f"{name} is an Excel workbook, not a manifest", hint="save the sheet as CSV (UTF-8)")
        raise ManifestError(f"{name} is a zip archive, not a manifest", hint="unpack it, and pass its files")
    text = normalised(head)
    controls = sum(map(text.count, map(_byte, _CONTROLS)))
    if controls < _MANY or controls * _SHARE < len(text):
        return
    if head[0] == _DER:
        raise ManifestError(
            f"{name} is in DER: one key, request or certificate, not a manifest",
            hint="enrol it with `secretfree enroll device DEVICE_ID --public-key FILE`, or pass its folder",
        )
    raise ManifestError(f"{name} is a binary file, not a manifest", hint="accepted: text files and 7z archives")


def _byte(value: int) -> bytes:
    return bytes([value])
