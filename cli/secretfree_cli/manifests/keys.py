"""Key material as people and tools write it: public keys, requests and certificates, each read as an accepted key."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from secretfree.errors import SecretFreeError
from secretfree.registry.admission import Refusal, RowRefused, accept_public_key
from secretfree.request.csr import UnverifiedCsr, verify
from secretfree.request.device_id import DeviceId
from secretfree.request.device_profile import DeviceProfile
from secretfree.request.keys import DevicePublicKey

MAX_KEY_FILE = 64 * 1024
"""Bytes."""
_PEM_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----[^-]*-----END \1-----")
REQUEST_LABELS = frozenset({b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"})


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """An accepted key, and the common name that came with it if it came in a request or a certificate."""

    public_key: DevicePublicKey
    common_name: str | None = None
    certificate: x509.Certificate | None = None


def read_key_material(data: bytes, profile: DeviceProfile = DeviceProfile.STANDARD) -> KeyMaterial:
    """Read one public key, certificate request or certificate in PEM or DER.

    A request proves that its key is possessed; its signature must verify. A certificate's signature is its issuer's
    affair, and checked only where a format is given the issuers.

    Raises: RowRefused
    """
    if len(data) > MAX_KEY_FILE:
        raise RowRefused(
            Refusal.MALFORMED_ROW, f"{len(data)} bytes; a key, request or certificate has {MAX_KEY_FILE} at most"
        )
    label = _PEM_LABEL.search(data)
    if label is not None:
        return _read_pem(label.group(1), data, profile)
    return _read_der(data, profile)


def read_certificate(data: bytes) -> KeyMaterial:
    """Read one certificate in PEM, behind which the chain of its issuers may follow; raises RowRefused."""
    try:
        certificate, *issuers = x509.load_pem_x509_certificates(data)
        material = _from_certificate(certificate)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise RowRefused(Refusal.MALFORMED_ROW, "not a certificate that can be read") from error
    for issued, issuer in pairwise([certificate, *issuers]):
        if issued.issuer != issuer.subject:
            raise RowRefused(Refusal.MALFORMED_ROW, "several certificates that are not a device's and its issuers'")
    return material


def require_same_device(device_id: str, material: KeyMaterial, profile: DeviceProfile) -> None:
    """Refuse key material of which somebody says that it is `device_id`'s, and it says itself that it is another's.

    A common name that is no device id says nothing, nor does one that a device of `profile` may have cut short.

    Raises: RowRefused
    """
    if profile.truncates_common_names or material.common_name is None:
        return
    theirs = profile.device_id(material.common_name)
    if theirs is not None and DeviceId.is_valid(device_id) and theirs != device_id:
        raise RowRefused(
            Refusal.IDENTITY_MISMATCH,
            f"given as the device {device_id!a}, but the common name is {theirs!a}; "
            "where that is not to count, give the bare public key",
        )


def accepted_key(key: object) -> DevicePublicKey:
    """Return a library's key as an accepted one; raises RowRefused with the runtime's reason."""
    try:
        return DevicePublicKey.from_key(key)  # type: ignore[arg-type]
    except SecretFreeError as error:
        raise RowRefused(error.reason, error.detail) from error


def _read_pem(label: bytes, data: bytes, profile: DeviceProfile) -> KeyMaterial:
    if label == b"PUBLIC KEY":
        return KeyMaterial(accept_public_key(data.decode("ascii", "replace")))
    if label.endswith(b"PRIVATE KEY"):
        raise RowRefused(
            Refusal.MALFORMED_ROW, "this is a PRIVATE key, which must never leave its device; give the public key"
        )
    if label in REQUEST_LABELS:
        return _from_request(data, profile)
    if label == b"CERTIFICATE":
        return read_certificate(data)
    raise RowRefused(
        Refusal.MALFORMED_ROW,
        f"PEM of {label.decode('ascii')}; accepted: PUBLIC KEY, CERTIFICATE REQUEST, CERTIFICATE",
    )


def _read_der(data: bytes, profile: DeviceProfile) -> KeyMaterial:
    """Read DER by what its outer structure holds first: SPKI an AlgorithmIdentifier, the others a signed structure."""
    if data[:1] != b"\x30":
        return KeyMaterial(accept_public_key(data.decode("ascii", "replace")))
    try:
        return _from_certificate(x509.load_der_x509_certificate(data))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    try:
        x509.load_der_x509_csr(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return KeyMaterial(accept_public_key(data))
    return _from_request(data, profile)


def _from_certificate(certificate: x509.Certificate) -> KeyMaterial:
    return KeyMaterial(accepted_key(certificate.public_key()), _common_name(certificate.subject), certificate)


def _from_request(data: bytes, profile: DeviceProfile) -> KeyMaterial:
    """Hold a request to what the runtime demands of one, so that a device enrolled by it can provision with it."""
    try:
        verified = verify(UnverifiedCsr.from_header_value(b64encode(data).decode("ascii")), profile)
    except SecretFreeError as error:
        raise RowRefused(error.reason, error.detail) from error
    return KeyMaterial(verified.public_key, verified.common_name)


def _common_name(subject: x509.Name) -> str | None:
    names = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    if len(names) != 1:
        return None
    value = names[0].value
    return value if isinstance(value, str) else None
