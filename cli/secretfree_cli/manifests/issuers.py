"""Certificates of CAs among those of devices: those of issuers are passed over, others are left to be refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from cryptography import x509
from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.key_material.keys import is_ca, refusing_rows
from secretfree.registry.key_material.pem_blocks import BEGIN, pem_blocks

_MAX_NAMES: Final = 50_000
"""Names that are remembered; a supplier has a few issuers."""


class Issuers:
    """The CA certificates of a manifest that issued another certificate of it, known after one reading of it all."""

    def __init__(self) -> None:
        self._issuing: set[bytes] = set()
        self._authorities: set[bytes] = set()
        self._passed_over: set[bytes] = set()

    def learn(self, texts: Iterable[bytes]) -> None:
        """Take names from the certificates in `texts`, each a PEM text or a DER."""
        for text in texts:
            for one in _certificates(text):
                if one.is_ca and len(self._authorities) < _MAX_NAMES:
                    self._authorities.add(one.subject)
                if one.issuer != one.subject and len(self._issuing) < _MAX_NAMES:
                    self._issuing.add(one.issuer)

    def include(self, text: bytes) -> bool:
        """Whether `text` holds CA certificates alone, each of which issued another one of the manifest."""
        issuers = self._authorities & self._issuing
        if not issuers:
            return False
        certificates = _certificates(text)
        names = {one.subject for one in certificates}
        if not certificates or not all(one.is_ca for one in certificates) or not names <= issuers:
            return False
        self._passed_over |= names
        return True

    def remarks(self, manifest: str) -> tuple[str, ...]:
        """Say how many CA certificates were passed over."""
        count = len(self._passed_over)
        if not count:
            return ()
        return (f"{manifest}: {count} CA {'certificates' if count > 1 else 'certificate'} passed over as issuers",)


class _Names(NamedTuple):
    """What is remembered of a certificate: digests of its names, and whether it is a CA's."""

    subject: bytes
    issuer: bytes
    is_ca: bool


def _certificates(text: bytes) -> list[_Names]:
    """Return the certificates in `text`, and none where it holds something else or cannot be read."""
    try:
        if BEGIN not in text:
            return [_names(text)] if text[:1] == b"\x30" else []
        if b"CERTIFICATE-----" not in text:
            return []
        return [_names(block.der) for block in pem_blocks(text) if block.label.endswith("CERTIFICATE")]
    except RowRefused:
        return []


def _names(data: bytes) -> _Names:
    with refusing_rows(Refusal.MALFORMED_ROW, "not a certificate that can be read"):
        certificate = x509.load_der_x509_certificate(data)
        subject, issuer = (
            hashlib.sha256(name.public_bytes()).digest() for name in (certificate.subject, certificate.issuer)
        )
        return _Names(subject, issuer, is_ca(certificate))
