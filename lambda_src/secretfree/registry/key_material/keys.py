"""Key material as people and tools write it: keys, requests and certificates, each read as an accepted key."""

from __future__ import annotations

import binascii
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from secretfree.errors import SecretFreeError
from secretfree.registry.admission import Refusal, RowRefused, accept_public_key
from secretfree.registry.key_material.json_values import parse_object
from secretfree.registry.key_material.jwk import jwk_key
from secretfree.registry.key_material.pem_blocks import BEGIN, PemBlock, pem_blocks
from secretfree.request import der
from secretfree.request.csr import UnverifiedCsr, verify
from secretfree.request.device_id import DeviceId
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey
from secretfree.request.parsing import refusing_parser_errors

MAX_KEY_FILE: Final = 64 * 1024
"""Bytes."""
_REQUEST_LABELS: Final = frozenset({"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"})
_CERTIFICATE_LABELS: Final = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"})
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_SPKI_AT_ONCE: Final = ("LS0tLS1CRUdJTiBQVUJMSUMgS0VZ", "MFkwEwYHKoZIzj0")
"""Base64 of `-----BEGIN PUBLIC KEY` and of a P-256 key's first bytes, as in nearly every row of a large import."""


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """An accepted key, and the common name of the request or certificate that contained it."""

    public_key: DevicePublicKey
    common_name: str | None = None


@dataclass(frozen=True, slots=True)
class CertificateMaterial(KeyMaterial):
    """The accepted key of a device's certificate, and the certificate."""

    certificate: x509.Certificate = field(kw_only=True)


@contextmanager
def refusing_rows(reason: str, detail: str) -> Iterator[None]:
    """Refuse the row for any error of a foreign parser; refusals of the runtime keep their own reason."""
    try:
        with refusing_parser_errors(lambda _error: _Foreign(reason, detail), ours=(SecretFreeError, RowRefused)):
            yield
    except _Foreign as foreign:
        raise RowRefused(foreign.reason, foreign.detail) from None
    except SecretFreeError as error:
        raise RowRefused(error.reason, error.detail) from error


class _Foreign(RowRefused):
    """An exception of a foreign parser."""


def read_key_material(data: bytes, profile: DeviceProfile = DeviceProfile.STANDARD) -> KeyMaterial:
    """Read one public key, certificate request or certificate in PEM or DER.

    A request proves possession of its key: its signature must verify. A certificate's signature is checked only if the
    format includes its issuers. Text around a PEM block is ignored.

    Raises: RowRefused
    """
    if len(data) > MAX_KEY_FILE:
        raise RowRefused(
            Refusal.MALFORMED_ROW, f"{len(data)} bytes; a key, request or certificate has {MAX_KEY_FILE} at most"
        )
    if data[:1] == b"\x30" and not data.isascii():
        return _of_der(data, profile)
    blocks = pem_blocks(data)
    if blocks:
        return _of_blocks(blocks, profile)
    return read_key_text(data.decode("ascii", "replace"), profile)


def read_key_text(text: str, profile: DeviceProfile = DeviceProfile.STANDARD) -> KeyMaterial:
    """Read the value of a manifest's column; raises RowRefused.

    Accepted are a public key, certificate request or certificate as PEM, as base64 of PEM or as base64 of DER, and a
    public key as JWK or hex.
    """
    text = text.strip()
    if text.startswith("{"):
        return read_jwk(parse_object(text.encode("utf-8", "surrogateescape")))
    if "-----BEGIN" in text:
        return _of_blocks(pem_blocks(text.encode("utf-8", "surrogateescape")), profile)
    if text.startswith(_SPKI_AT_ONCE) or _HEX.fullmatch(text):
        return KeyMaterial(accept_public_key(text))
    try:
        data = binascii.a2b_base64("".join(text.split()).encode("ascii"), strict_mode=True)
    except ValueError:
        return KeyMaterial(accept_public_key(text))  # raises with the runtime's own reason
    if BEGIN in data:
        return _of_blocks(pem_blocks(data), profile)
    return _of_der(data, profile) if data[:1] == b"\x30" else KeyMaterial(accept_public_key(text))


def read_jwk(jwk: Mapping[str, object]) -> KeyMaterial:
    """Read a public JWK (RFC 7517) of an accepted kind; raises RowRefused, also for a private key."""
    return KeyMaterial(accepted_key(jwk_key(jwk)))


def read_certificate(data: bytes) -> CertificateMaterial:
    """Read the device's certificate from a PEM text, which may include its issuers' certificates; raises RowRefused."""
    if len(data) > MAX_KEY_FILE:
        raise RowRefused(Refusal.MALFORMED_ROW, f"{len(data)} bytes; a certificate's chain has {MAX_KEY_FILE} at most")
    blocks = pem_blocks(data)
    if not blocks or any(block.label not in _CERTIFICATE_LABELS for block in blocks):
        raise RowRefused(Refusal.MALFORMED_ROW, "not a certificate that can be read")
    return _of_certificates([read_x509(block.der) for block in blocks])


def read_certificates(data: bytes) -> Sequence[x509.Certificate]:
    """Read all certificates of a PEM text, or one in DER, of any subject; raises RowRefused."""
    if BEGIN in data or data[:1] != b"\x30":
        blocks = [block for block in pem_blocks(data) if block.label in _CERTIFICATE_LABELS]
        if not blocks:
            raise RowRefused(Refusal.MALFORMED_ROW, "no certificate in PEM or DER")
        return [read_x509(block.der) for block in blocks]
    return [read_x509(data)]


def read_x509(data: bytes) -> x509.Certificate:
    """Read a certificate's DER, its names and extensions included; raises RowRefused."""
    with (
        refusing_rows(Refusal.MALFORMED_ROW, "not a certificate that can be read"),
        warnings.catch_warnings(action="ignore"),  # A library's warning would appear among the operator's rows.
    ):
        certificate = x509.load_der_x509_certificate(data)
        # The library parses these lazily, and raises only then.
        _ = certificate.subject, certificate.issuer, certificate.extensions, certificate.public_key()
        return certificate


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether a certificate is a CA's: RFC 5280, 4.2.1.9 and 4.2.1.3."""
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            return True
        if isinstance(extension.value, x509.KeyUsage) and extension.value.key_cert_sign:
            return True
    return False


def require_same_device(device_id: str, material: KeyMaterial, profile: DeviceProfile) -> None:
    """Refuse key material for the device `device_id` that names another device itself.

    A common name that is not a device id names no device, nor does one that a device of `profile` may have truncated.

    Raises: RowRefused
    """
    if profile.truncates_common_names or material.common_name is None:
        return
    theirs = profile.device_id(material.common_name)
    if theirs is not None and DeviceId.is_valid(device_id) and theirs != device_id:
        raise RowRefused(
            Refusal.IDENTITY_MISMATCH,
            f"given as the device {device_id!a}, but the common name is {theirs!a}; "
            "to enrol it nevertheless, use the bare public key",
        )


def accepted_key(key: object) -> DevicePublicKey:
    """Return a library's key as an accepted one; raises RowRefused with the runtime's reason."""
    with refusing_rows(Refusal.MALFORMED_ROW, "not a key that can be read"):
        return DevicePublicKey.from_key(key)  # type: ignore[arg-type]


def _of_blocks(blocks: Sequence[PemBlock], profile: DeviceProfile) -> KeyMaterial:
    labels = {block.label for block in blocks}
    if any(label.endswith("PRIVATE KEY") for label in labels):
        raise RowRefused(
            Refusal.MALFORMED_ROW, "this is a PRIVATE key, which must never leave its device; give the public key"
        )
    if labels <= _CERTIFICATE_LABELS:
        return _of_certificates([read_x509(block.der) for block in blocks])
    labels.discard("EC PARAMETERS")  # OpenSSL writes them before a key.
    block, *others = [block for block in blocks if block.label in labels]
    if others:
        raise RowRefused(Refusal.MALFORMED_ROW, f"{len(others) + 1} PEM blocks; accepted: one, or a chain")
    if block.label == "PUBLIC KEY":
        return KeyMaterial(accept_public_key(block.der))
    if block.label == "RSA PUBLIC KEY":
        return KeyMaterial(_pkcs1_key(block.der))
    if block.label in _REQUEST_LABELS:
        return _of_request(block.der, profile)
    raise RowRefused(
        Refusal.MALFORMED_ROW,
        f"PEM of {block.label}; accepted: PUBLIC KEY, RSA PUBLIC KEY, CERTIFICATE REQUEST, CERTIFICATE",
    )


def _of_der(data: bytes, profile: DeviceProfile) -> KeyMaterial:
    """Read DER by its outer structure: an SPKI begins with an AlgorithmIdentifier, PKCS #1 with the modulus."""
    kind = _kind_of_der(data)
    if kind == "certificate":
        return _of_certificates([read_x509(data)])
    if kind == "request":
        return _of_request(data, profile)
    if kind == "pkcs1":
        return KeyMaterial(_pkcs1_key(data))
    return KeyMaterial(accept_public_key(data))


def _kind_of_der(data: bytes) -> str:
    try:
        parts = der.elements(der.first_element(data).content)
        tags = [part.tag for part in parts]
        if tags == [der.INTEGER, der.INTEGER]:
            return "pkcs1"
        if tags == [der.SEQUENCE, der.SEQUENCE, der.BIT_STRING]:
            # A certificate has more parts after the issuer; a request has at most four parts.
            return "certificate" if len(der.elements(parts[0].content)) > 4 else "request"
    except der.DerError:
        pass
    return "key"


def _pkcs1_key(data: bytes) -> DevicePublicKey:
    """RFC 8017, A.1.1: an RSAPublicKey without the algorithm around it."""
    try:
        (outer,) = der.elements(data)
        modulus, exponent = (int.from_bytes(part.content, signed=True) for part in outer.children(*[der.INTEGER] * 2))
    except ValueError as error:
        raise RowRefused(Refusal.MALFORMED_ROW, "not a PKCS #1 public key") from error
    with refusing_rows(Refusal.MALFORMED_ROW, "not a PKCS #1 public key"):
        return DevicePublicKey.from_key(rsa.RSAPublicNumbers(exponent, modulus).public_key())


def _of_certificates(certificates: Sequence[x509.Certificate]) -> CertificateMaterial:
    """Return the one certificate of a device. All others must be those of its issuers."""
    leaves = [certificate for certificate in certificates if not is_ca(certificate)]
    if not leaves:
        raise RowRefused(
            Refusal.CA_CERTIFICATE, "the certificate of a CA, not of a device: pass CAs with --ca or --signer"
        )
    issuers = {certificate.issuer.public_bytes() for certificate in certificates}
    # An old root has no extension that identifies it as a CA.
    leaves = [one for one in leaves if len(leaves) == 1 or one.subject.public_bytes() not in issuers] or leaves
    if len(leaves) > 1:
        raise RowRefused(Refusal.MALFORMED_ROW, "several certificates that are not a device's and its issuers'")
    leaf = leaves[0]
    return CertificateMaterial(accepted_key(leaf.public_key()), _common_name(leaf.subject), certificate=leaf)


def _of_request(data: bytes, profile: DeviceProfile) -> KeyMaterial:
    """Check a request by the runtime's rules, so that a device enrolled by it can provision with it."""
    with refusing_rows(Refusal.MALFORMED_ROW, "not a certificate request that can be read"):
        verified = verify(UnverifiedCsr.from_der(data), profile)
        return KeyMaterial(verified.public_key, verified.common_name or None)


def _common_name(subject: x509.Name) -> str | None:
    names = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    if len(names) != 1:
        return None
    value = names[0].value
    return value if isinstance(value, str) else None
