"""Espressif's manifests: CSV with the header `MAC,cn,cert`, the certificate a PEM of many lines in quotes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from secretfree.registry.admission import Refusal, RowRefused

from secretfree_cli.manifests.csv_rows import csv_records
from secretfree_cli.manifests.keys import read_certificate
from secretfree_cli.manifests.manifest import Entry, FileManifest, ManifestError, Row, at_least_one

HEADER: Final = ["MAC", "cn", "cert"]
_MAC: Final = re.compile(r"[0-9A-F]{12}", re.ASCII)


class EspressifManifest(FileManifest):
    """The device id is `cn`, which must be the certificate's own; the MAC address becomes the attribute `mac`."""

    format = "espressif"

    def entries(self) -> Iterator[Entry]:
        """Yield each row's fields; raises ManifestError for another header, or one without a row."""
        with self._open() as stream:
            rows = csv_records(stream)
            first = next(rows, None)
            if first is None or first.payload != HEADER:
                raise ManifestError(f"{self.name}: not an Espressif manifest: the header must be {','.join(HEADER)}")
            yield from at_least_one(rows, f"{self.name}: no row below the header")

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        if len(entry.payload) != len(HEADER):
            raise RowRefused(Refusal.MALFORMED_ROW, f"{len(entry.payload)} fields; accepted: {len(HEADER)}")
        mac, common_name, pem = entry.payload
        if not _MAC.fullmatch(mac):
            raise RowRefused(Refusal.MALFORMED_ROW, f"MAC {mac[:40]!a}; accepted: 12 upper-case hex digits")
        certificate = read_certificate(pem.encode("utf-8", "surrogateescape"))
        if certificate.common_name != common_name:
            raise RowRefused(Refusal.IDENTITY_MISMATCH, "the column cn and the certificate's common name differ")
        return Row(common_name, certificate.public_key, attributes={"mac": mac})
