"""Espressif's manifests: CSV with the header `MAC,cn,cert`, and ESP RainMaker's with `node_id,certs`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.key_material.keys import read_certificate

from secretfree_cli.manifests.csv_rows import csv_records
from secretfree_cli.manifests.manifest import Entry, FileManifest, ManifestError, Row, at_least_one

HEADER: Final = ["MAC", "cn", "cert"]
RAINMAKER_HEADER: Final = ["node_id", "certs"]
_MAC: Final = re.compile(r"[0-9A-F]{12}", re.ASCII)


class EspressifManifest(FileManifest):
    """The device id is `cn` or `node_id`, which must be the certificate's common name.

    The certificate is a PEM of many lines in quotes. A MAC address becomes the attribute `mac`.
    """

    format = "espressif"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._width = len(HEADER)

    def entries(self) -> Iterator[Entry]:
        """Yield each row's fields; raises ManifestError for another header, or one without a row."""
        with self._open_text() as stream:
            rows = csv_records(stream)
            first = next(rows, None)
            if first is None or first.broken is not None or not is_header(first.payload):
                raise ManifestError(
                    f"{self.name}: not an Espressif manifest: "
                    f"the header must be {','.join(HEADER)} or {','.join(RAINMAKER_HEADER)}"
                )
            self._width = len(first.payload)
            yield from at_least_one(rows, f"{self.name}: no row below the header")

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        if len(entry.payload) != self._width:
            raise RowRefused(Refusal.MALFORMED_ROW, f"{len(entry.payload)} fields; accepted: {self._width}")
        *macs, common_name, pem = (field.strip() for field in entry.payload)
        attributes = {"mac": _mac(macs[0])} if macs else {}
        certificate = read_certificate(pem.encode("utf-8", "surrogateescape"))
        if certificate.common_name != common_name:
            raise RowRefused(Refusal.IDENTITY_MISMATCH, "the column of the id and the certificate's common name differ")
        return Row(common_name, certificate.public_key, attributes=attributes)


def is_header(fields: Sequence[str]) -> bool:
    """Whether a CSV's header is Espressif's or ESP RainMaker's, in any case."""
    folded = [field.strip().lower() for field in fields]
    return folded in ([name.lower() for name in HEADER], RAINMAKER_HEADER)


def _mac(text: str) -> str:
    if not _MAC.fullmatch(text):
        raise RowRefused(Refusal.MALFORMED_ROW, f"MAC {text[:40]!a}; accepted: 12 upper-case hex digits")
    return text
