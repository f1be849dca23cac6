"""Which format a manifest is in, told from its first bytes, and how to open it."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography import x509
from secretfree.registry.row import DEVICE_ID
from secretfree.request.device_profile import DeviceProfile

from secretfree_cli.manifests import espressif
from secretfree_cli.manifests.csv_rows import CsvManifest
from secretfree_cli.manifests.dynamodb_items import DynamoDbManifest
from secretfree_cli.manifests.json_lines import JsonLinesManifest
from secretfree_cli.manifests.manifest import Manifest, ManifestError
from secretfree_cli.manifests.microchip import MicrochipManifest
from secretfree_cli.manifests.pem import PemBundle, PemFolder

_SNIFFED: Final = 64 * 1024
_SEVEN_ZIP: Final = b"7z\xbc\xaf\x27\x1c"
_PEM_BLOCK: Final = re.compile(rb"^-----BEGIN ", re.MULTILINE)
"""At a line's beginning: in a CSV, a PEM stands behind a quote."""
_JWS: Final = re.compile(rb'"(?:protected|payload|signature)"\s*:\s*"')
_ITEM: Final = re.compile(rb'"device-id"\s*:\s*\{\s*"S"|^\s*\{\s*"(?:Items|Item)"\s*:')


@dataclass(frozen=True)
class FormatOptions:
    """What formats may be told. `slot` names a key of several: Microchip's `kid`, Infineon's object `E0Ex`."""

    signers: Sequence[x509.Certificate] = ()
    authorities: Sequence[x509.Certificate] = ()
    slot: str | None = None
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ignored_columns: Sequence[str] = ()
    profile: DeviceProfile = DeviceProfile.STANDARD


def _open_infineon(path: Path, options: FormatOptions) -> Manifest:
    from secretfree_cli.manifests.infineon import InfineonManifest  # 7z is loaded for those who have one

    return InfineonManifest(path, authorities=options.authorities, slot=options.slot)


def _open_pem(path: Path, options: FormatOptions) -> Manifest:
    return PemFolder(path, profile=options.profile) if path.is_dir() else PemBundle(path, profile=options.profile)


FORMATS: Final[Mapping[str, Callable[[Path, FormatOptions], Manifest]]] = MappingProxyType(
    {
        "csv": lambda path, options: CsvManifest(path, columns=options.columns, ignored=options.ignored_columns),
        "jsonl": lambda path, _options: JsonLinesManifest(path),
        "pem": _open_pem,
        "dynamodb": lambda path, _options: DynamoDbManifest(path),
        "microchip": lambda path, options: MicrochipManifest(path, signers=options.signers, slot=options.slot or "0"),
        "infineon": _open_infineon,
        "espressif": lambda path, _options: espressif.EspressifManifest(path),
    }
)
"""Name to how it is opened."""


def open_manifest(path: Path, options: FormatOptions, *, forced: str | None = None) -> Manifest:
    """Open a manifest in the `forced` format or the one that its beginning tells; raises ManifestError."""
    name = forced or detect_format(path)
    if path.is_dir() and name != "pem":
        raise ManifestError(f"{path.name} is a folder; only the format pem takes one")
    return FORMATS[name](path, options)


def detect_format(path: Path) -> str:
    """Return the name of the format that a file or folder is in; raises ManifestError if it is none of them."""
    if path.is_dir():
        return "pem"
    with path.open("rb") as stream:
        head = stream.read(_SNIFFED)
    if head.startswith(_SEVEN_ZIP):
        return "infineon"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise ManifestError(f"{path.name} is empty")
    if text[:1] in b"[{":
        return _json_format(text)
    if _PEM_BLOCK.search(text):
        return "pem"
    named = _csv_format(text)
    if named is not None:
        return named
    raise ManifestError(
        f"{path.name} is in no format that is recognised", hint=f"name it with --format: {', '.join(FORMATS)}"
    )


def _json_format(text: bytes) -> str:
    if len(_JWS.findall(text)) >= 2:
        return "microchip"
    if text[:1] == b"[" or _ITEM.search(text):
        return "dynamodb"
    first_line = text.splitlines()[0]
    try:
        is_one_object = isinstance(json.loads(first_line), dict)
    except ValueError:
        is_one_object = False
    # Objects over several lines are no JSON Lines, even if the first line is broken rather than unfinished.
    return "jsonl" if is_one_object or first_line.rstrip().endswith(b"}") else "dynamodb"


def _csv_format(text: bytes) -> str | None:
    header = text.splitlines()[0].decode("utf-8", "replace")
    delimiter = max(",;\t", key=header.count)
    fields = next(csv.reader([header], delimiter=delimiter), [])
    if fields == espressif.HEADER:
        return "espressif"
    return "csv" if delimiter in header or fields[0].strip().lower() == DEVICE_ID else None
