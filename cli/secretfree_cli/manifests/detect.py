"""Detects the format of a manifest by its first bytes, and opens it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography import x509
from secretfree.registry.admission import RowRefused
from secretfree.registry.key_material.json_values import parse_object
from secretfree.registry.key_material.text import normalised
from secretfree.registry.row import DEVICE_ID, column_name
from secretfree.request.device_profile import DeviceProfile

from secretfree_cli.manifests.base64_lines import Base64Manifest
from secretfree_cli.manifests.binary import refuse_binary
from secretfree_cli.manifests.csv_rows import CsvManifest, delimiter_of, header_of
from secretfree_cli.manifests.dynamodb_items import DynamoDbManifest
from secretfree_cli.manifests.espressif import EspressifManifest, is_header
from secretfree_cli.manifests.json_lines import AwsBulkManifest, JsonLinesManifest, JsonManifest
from secretfree_cli.manifests.json_objects import json_objects
from secretfree_cli.manifests.manifest import Manifest, ManifestError
from secretfree_cli.manifests.microchip import MicrochipManifest
from secretfree_cli.manifests.pem import PemBundle, PemFolder

_SNIFFED: Final = 64 * 1024
_SEVEN_ZIP: Final = b"7z\xbc\xaf\x27\x1c"
_PEM_BLOCK: Final = re.compile(rb"(^[ \t]*)?-----BEGIN ", re.MULTILINE)
"""The first BEGIN of a bundle is at the start of a line; in a CSV, it follows a quote."""
_JWS: Final = re.compile(rb'"(?:protected|payload|signature)"\s*:\s*"')
_ITEM: Final = re.compile(rb'"device-id"\s*:\s*\{\s*"S"|^\s*\{\s*"(?:Items|Item)"\s*:')
_BASE64_LINE: Final = re.compile(rb"(?:MI|MC|LS0tLS1CRUdJTi)[A-Za-z0-9+/]{64,}={0,2}\s*")
"""DER of more than 127 bytes, or PEM, in base64."""


@dataclass(frozen=True)
class FormatOptions:
    """The operator's options for formats.

    `slot` selects one of several keys: Microchip's `kid`, Infineon's object `E0Ex`.
    """

    signers: Sequence[x509.Certificate] = ()
    authorities: Sequence[x509.Certificate] = ()
    slot: str | None = None
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ignored_columns: Sequence[str] = ()
    profile: DeviceProfile = DeviceProfile.STANDARD


def _open_infineon(path: Path, options: FormatOptions) -> Manifest:
    from secretfree_cli.manifests.infineon import InfineonManifest  # Only this format needs 7z.

    return InfineonManifest(path, authorities=options.authorities, slot=options.slot)


def _open_pem(path: Path, options: FormatOptions) -> Manifest:
    return PemFolder(path, profile=options.profile) if path.is_dir() else PemBundle(path, profile=options.profile)


FORMATS: Final[Mapping[str, Callable[[Path, FormatOptions], Manifest]]] = MappingProxyType(
    {
        "csv": lambda path, options: CsvManifest(path, columns=options.columns, ignored=options.ignored_columns),
        "jsonl": lambda path, _options: JsonLinesManifest(path),
        "json": lambda path, _options: JsonManifest(path),
        "pem": _open_pem,
        "base64": lambda path, options: Base64Manifest(path, profile=options.profile),
        "dynamodb": lambda path, _options: DynamoDbManifest(path),
        "aws-bulk": lambda path, _options: AwsBulkManifest(path),
        "microchip": lambda path, options: MicrochipManifest(path, signers=options.signers, slot=options.slot or "0"),
        "infineon": _open_infineon,
        "espressif": lambda path, _options: EspressifManifest(path),
    }
)
"""Functions that open a manifest, by the format's name."""


def open_manifest(path: Path, options: FormatOptions, *, forced: str | None = None) -> Manifest:
    """Open a manifest in the `forced` format or the detected one; raises ManifestError."""
    name = forced or detect_format(path)
    if path.is_dir() and name != "pem":
        raise ManifestError(f"{path.name} is a folder; only the format pem accepts one")
    if forced is not None and not path.is_dir() and name != "infineon":
        refuse_binary(path.name, _head(path))
    return FORMATS[name](path, options)


def detect_format(path: Path) -> str:
    """Return the name of a file's or folder's format; raises ManifestError if the format is unknown."""
    if path.is_dir():
        return "pem"
    head = _head(path)
    if head.startswith(_SEVEN_ZIP):
        return "infineon"
    refuse_binary(path.name, head)
    text = normalised(head).lstrip()
    if not text:
        raise ManifestError(f"{path.name} is empty")
    if text[:1] in b"[{":
        return _json_format(text)
    block = _PEM_BLOCK.search(text)
    if block is not None and block[1] is not None:
        return "pem"
    first_line = text.partition(b"\n")[0]
    if _BASE64_LINE.fullmatch(first_line):
        return "base64"
    named = _csv_format(text)
    if named is not None:
        return named
    raise ManifestError(f"{path.name} has no recognised format", hint=f"name it with --format: {', '.join(FORMATS)}")


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_SNIFFED)


def _json_format(text: bytes) -> str:
    if len(_JWS.findall(text)) >= 2:
        return "microchip"
    if _ITEM.search(text):
        return "dynamodb"
    first_line = text.partition(b"\n")[0].rstrip()
    whole = _first_object(first_line) if first_line.startswith(b"{") else None
    if whole is not None:
        return "aws-bulk" if "ThingName" in whole else "jsonl"
    if text[:1] == b"{" and first_line.endswith(b"}"):
        return "jsonl"  # The first line is invalid, not incomplete.
    names = {column_name(name) for name in _first_object(text) or {}}
    return "json" if names and "pubkey" not in names else "dynamodb"


def _first_object(text: bytes) -> Mapping[str, object] | None:
    entry = next(json_objects(io.BytesIO(text)), None)
    if entry is None or entry.broken is not None:
        return None
    try:
        return parse_object(entry.payload)
    except RowRefused:
        return None


def _csv_format(text: bytes) -> str | None:
    beginning = text.decode("utf-8", "replace")
    fields = header_of(beginning)
    if is_header(fields):
        return "espressif"
    first_line = beginning.partition("\n")[0]
    is_csv = len(fields) > 1 or delimiter_of(first_line) in first_line
    return "csv" if is_csv or (fields and column_name(fields[0]) == DEVICE_ID) else None
