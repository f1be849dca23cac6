"""Certificates of CAs among those of devices: those of issuers are passed over, others are left to be refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from cryptography import x509
from secretfree.registry.admission import RowRefused

from secretfree_cli.manifests.keys import is_ca, read_certificates

_MAX_NAMES: Final = 50_000
"""Names of issuers that are remembered; a supplier has a few."""


class Issuers:
    """The CA certificates of a manifest that issued another certificate of it, known after one reading of it all."""

    def __init__(self) -> None:
        self._issuing: set[bytes] = set()
        self._passed_over: set[bytes] = set()

    def learn(self, texts: Iterable[bytes]) -> None:
        """Take the issuers' names from the certificates in `texts`, each a PEM text or a DER."""
        for text in texts:
            for certificate in _certificates(text):
                issuer, subject = certificate.issuer.public_bytes(), certificate.subject.public_bytes()
                if issuer != subject and len(self._issuing) < _MAX_NAMES:
                    self._issuing.add(hashlib.sha256(issuer).digest())

    def include(self, text: bytes) -> bool:
        """Whether `text` holds CA certificates alone, each of which issued another one of the manifest."""
        if not self._issuing:
            return False
        certificates = _certificates(text)
        names = {hashlib.sha256(one.subject.public_bytes()).digest() for one in certificates}
        if not certificates or not all(map(is_ca, certificates)) or not names <= self._issuing:
            return False
        self._passed_over |= names
        return True

    def remarks(self, manifest: str) -> tuple[str, ...]:
        """Say how many CA certificates were passed over."""
        count = len(self._passed_over)
        if not count:
            return ()
        return (f"{manifest}: {count} CA {'certificates' if count > 1 else 'certificate'} passed over as issuers",)


def _certificates(text: bytes) -> list[x509.Certificate]:
    """Return the certificates in `text`, and none where it holds something else or cannot be read."""
    if b"CERTIFICATE-----" not in text and text[:1] != b"\x30":
        return []
    try:
        return list(read_certificates(text))
    except RowRefused:
        return []
