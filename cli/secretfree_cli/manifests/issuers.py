"""Finds CA certificates among those of devices. Issuers are skipped; other CA certificates are refused later."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from cryptography import x509
from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.key_material.keys import is_ca, refusing_rows
from secretfree.registry.key_material.pem_blocks import BEGIN, pem_blocks

_MAX_NAMES: Final = 50_000
"""Maximum number of stored names; a supplier has a few issuers."""
_SHOWN: Final = 3
_MAX_SHOWN_NAME: Final = 80


class Issuers:
    """The CA certificates that issued another certificate of the manifest, known after one pass over it."""

    def __init__(self) -> None:
        self._issuing: set[bytes] = set()
        self._passed_over: set[bytes] = set()
        self._unmarked: list[str] = []

    def learn(self, texts: Iterable[bytes]) -> None:
        """Collect the names of the certificates in `texts`, each a PEM text or a DER."""
        for text in texts:
            for one in _certificates(text):
                if one.issuer != one.subject and len(self._issuing) < _MAX_NAMES:
                    self._issuing.add(one.issuer)

    def include(self, text: bytes) -> bool:
        """Whether `text` has only issuers, each named by another certificate of the manifest.

        An old root or intermediate CA may lack basicConstraints. A certificate whose basicConstraints exclude a CA is a
        device's.
        """
        if not self._issuing:
            return False
        certificates = _certificates(text)
        if not certificates or not all(self._is_issuer(one) for one in certificates):
            return False
        self._passed_over |= {one.subject for one in certificates}
        self._unmarked += [one.name for one in certificates if not one.is_ca]
        return True

    def _is_issuer(self, one: _Names) -> bool:
        return one.subject in self._issuing and (one.is_ca or one.is_unmarked)

    def remarks(self, manifest: str) -> tuple[str, ...]:
        """Return remarks on how many CA certificates were skipped."""
        count = len(self._passed_over)
        if not count:
            return ()
        remark = f"{manifest}: {count} CA {'certificates' if count > 1 else 'certificate'} skipped as issuers"
        if not self._unmarked:
            return (remark,)
        more = ", ..." if len(self._unmarked) > _SHOWN else ""
        shown = ", ".join(self._unmarked[:_SHOWN])
        return (remark, f"{manifest}: of these, {len(self._unmarked)} without basicConstraints: {shown}{more}")


class _Names(NamedTuple):
    """Digests of a certificate's names, and whether it states that it belongs to a CA."""

    subject: bytes
    issuer: bytes
    name: str
    is_ca: bool
    is_unmarked: bool


def _certificates(text: bytes) -> list[_Names]:
    """Return the certificates in `text`; none if it holds something else or cannot be read."""
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
        name = ascii(certificate.subject.rfc4514_string()[:_MAX_SHOWN_NAME])
        unmarked = not any(isinstance(one.value, x509.BasicConstraints) for one in certificate.extensions)
        return _Names(subject, issuer, name, is_ca(certificate), unmarked)
