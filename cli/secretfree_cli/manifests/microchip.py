"""Microchip's manifests (TrustFLEX, TNG): a JSON array of signed objects, flattened JWS (RFC 7515) over ES256."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from secretfree.errors import Reason
from secretfree.registry.admission import Refusal, RowRefused
from secretfree.registry.key_material.json_values import parse_object, text_field
from secretfree.registry.key_material.jwk import base64url, decode_base64url, jwk_key
from secretfree.registry.key_material.keys import accepted_key, refusing_rows

from secretfree_cli.manifests.json_objects import json_objects
from secretfree_cli.manifests.manifest import Entry, FileManifest, ManifestError, Row, at_least_one

_PAYLOAD_VERSIONS: Final = (1, 3)
"""Two headers with the same members."""
_WITHOUT_KEYS: Final = 2
_HALF: Final = 32
"""Length in bytes of each half of an ES256 signature (RFC 7518, 3.4)."""
_ATTRIBUTES: Final = {"model": "model", "partNumber": "part-number", "groupId": "group-id"}


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate that signs manifests, and the name that manifests use for it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePublicKey
    key_identifier: str
    thumbprint: str

    @classmethod
    def from_certificate(cls, certificate: x509.Certificate) -> Signer:
        """Return the signer; raises ManifestError for a certificate whose key cannot make ES256 signatures."""
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ManifestError("a signer's certificate without a P-256 key, which ES256 (RFC 7518) requires")
        try:
            identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        except x509.ExtensionNotFound:
            identifier = x509.SubjectKeyIdentifier.from_public_key(key).digest
        return cls(certificate, key, base64url(identifier), base64url(certificate.fingerprint(hashes.SHA256())))


class MicrochipManifest(FileManifest):
    """The device id is `uniqueId`, the key that of the chosen slot; every object's signature is verified.

    `signers` are the certificates that Microchip publishes for its manifests; an object without a signature by one of
    them is refused. The header's `uniqueId` is not signed, so it must equal the payload's.
    """

    format = "microchip"

    def __init__(self, path: Path, *, signers: Sequence[x509.Certificate], slot: str = "0") -> None:
        if not signers:
            raise ManifestError(
                f"{path.name}: a Microchip manifest is trusted only by its signature",
                hint="pass the signer's certificate with --signer (Microchip publishes it with the manifests)",
            )
        super().__init__(path)
        self._signers = [Signer.from_certificate(certificate) for certificate in signers]
        self._slot = slot

    def entries(self) -> Iterator[Entry]:
        """Yield each object's bytes."""
        with self._open_text() as stream:
            yield from at_least_one(json_objects(stream), f"{self.name}: no signed object")

    def interpret(self, entry: Entry) -> Row:
        """Return the row; raises RowRefused."""
        entry_object = parse_object(entry.payload)
        payload = self._verified_payload(entry_object)
        unique_id = text_field(payload, "uniqueId")
        header = entry_object.get("header")
        if not isinstance(header, dict) or header.get("uniqueId") != unique_id:
            raise RowRefused(Refusal.IDENTITY_MISMATCH, "uniqueId differs between the header and the signed payload")
        attributes = {
            name: payload[theirs] for theirs, name in _ATTRIBUTES.items() if isinstance(payload.get(theirs), str)
        }
        return Row(unique_id, accepted_key(self._slot_key(payload)), attributes=attributes)

    def _verified_payload(self, entry_object: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the payload. It is parsed only after a given signer's signature is verified."""
        protected, payload, signature = (
            _required(entry_object, name) for name in ("protected", "payload", "signature")
        )
        header = parse_object(decode_base64url(protected, "protected"))
        if header.get("alg") != "ES256":
            raise RowRefused(Reason.SIGNATURE_ALGORITHM, f"alg {str(header.get('alg'))[:20]!a}; accepted: ES256")
        if "crit" in header:  # RFC 7515, 4.1.11: extensions that must be understood; none is
            raise RowRefused(Refusal.SIGNATURE, "the protected header has critical extensions")
        signer = self._signer(header)
        raw = decode_base64url(signature, "signature")
        if len(raw) != 2 * _HALF:
            raise RowRefused(Refusal.SIGNATURE, f"a signature of {len(raw)} bytes; ES256 has {2 * _HALF}")
        r, s = int.from_bytes(raw[:_HALF]), int.from_bytes(raw[_HALF:])
        with refusing_rows(Refusal.SIGNATURE, "the signature does not verify by the signer's certificate"):
            signer.key.verify(
                encode_dss_signature(r, s), f"{protected}.{payload}".encode("ascii"), ec.ECDSA(hashes.SHA256())
            )
        document = parse_object(decode_base64url(payload, "payload"))
        _require_version(document.get("version"))
        return document

    def _signer(self, header: Mapping[str, Any]) -> Signer:
        for signer in self._signers:
            if header.get("x5t#S256") == signer.thumbprint:
                if header.get("kid") != signer.key_identifier:
                    raise RowRefused(Refusal.UNTRUSTED_SIGNER, "kid is not the subject key identifier of x5t#S256")
                return signer
        raise RowRefused(Refusal.UNTRUSTED_SIGNER, "x5t#S256 names none of the given signers' certificates")

    def _slot_key(self, payload: Mapping[str, Any]) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
        key_set = payload.get("publicKeySet")
        keys = key_set.get("keys") if isinstance(key_set, dict) else None
        chosen = (
            [key for key in keys if isinstance(key, dict) and key.get("kid") == self._slot]
            if isinstance(keys, list)
            else []
        )
        if len(chosen) != 1:
            raise RowRefused(Refusal.MISSING_PUBLIC_KEY, f"{len(chosen)} keys in slot {self._slot!a}; accepted: one")
        if chosen[0].get("kty") != "EC":
            raise RowRefused(Reason.KEY_KIND, f"kty {str(chosen[0].get('kty'))[:20]!a}; accepted: EC")
        return jwk_key(chosen[0])


def _require_version(version: object) -> None:
    if version == _WITHOUT_KEYS:
        raise RowRefused(
            Refusal.MISSING_PUBLIC_KEY,
            "payload version 2 (TrustMANAGER) holds no public keys; order a manifest of version 1 or 3 (TrustFLEX, "
            "TNG), or enrol the devices by their certificates",
        )
    if type(version) is not int or version not in _PAYLOAD_VERSIONS:
        raise RowRefused(Refusal.MALFORMED_ROW, f"payload version {str(version)[:20]!a}; accepted: 1 and 3")


def _required(document: Mapping[str, Any], name: str) -> str:
    value = text_field(document, name)
    if value is None:
        raise RowRefused(Refusal.MALFORMED_ROW, f"{name} is missing")
    return value
