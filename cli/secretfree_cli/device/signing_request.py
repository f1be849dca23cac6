"""PKCS#10 requests as devices write them (RFC 2986), encoded here byte by byte.

A library's CSR builder is not suitable, for two reasons. Devices in the field sign with SHA-1, which builders refuse.
And the test of the proof of possession needs a request with one key that another key signs.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.x509.oid import NameOID, ObjectIdentifier, SignatureAlgorithmOID
from secretfree_device.csr import fitting_digest
from secretfree_device.keys import PrivateKey, PublicKey

_SEQUENCE = 0x30
_INTEGER = 0x02
_BIT_STRING = 0x03
_OBJECT_IDENTIFIER = 0x06
_NULL = b"\x05\x00"
_NO_ATTRIBUTES = b"\xa0\x00"
"""`attributes [0]`, empty. RFC 2986 section 4.1 requires it even if it is empty."""

_ECDSA: Mapping[str, ObjectIdentifier] = MappingProxyType(
    {
        "sha1": SignatureAlgorithmOID.ECDSA_WITH_SHA1,
        "sha256": SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        "sha384": SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        "sha512": SignatureAlgorithmOID.ECDSA_WITH_SHA512,
    }
)
_RSA_PKCS1: Mapping[str, ObjectIdentifier] = MappingProxyType(
    {
        "sha1": SignatureAlgorithmOID.RSA_WITH_SHA1,
        "sha256": SignatureAlgorithmOID.RSA_WITH_SHA256,
        "sha384": SignatureAlgorithmOID.RSA_WITH_SHA384,
        "sha512": SignatureAlgorithmOID.RSA_WITH_SHA512,
    }
)


def standard_subject(device_id: str) -> x509.Name:
    """Return the subject of the wire contract: only the device id as common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device_id)])


def cc32xx_subject(device_id: str) -> x509.Name:
    """Return a subject with every field of TI's CSR example for the CC32xx."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "Texas"),
            x509.NameAttribute(NameOID.LOCALITY_NAME, "Dallas"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example Devices"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Firmware"),
            x509.NameAttribute(NameOID.COMMON_NAME, device_id),
            x509.NameAttribute(NameOID.EMAIL_ADDRESS, "firmware@example.com"),
        ]
    )


def certification_request(
    *, subject: x509.Name, public_key: PublicKey, signer: PrivateKey, digest: hashes.HashAlgorithm | None = None
) -> bytes:
    """Return the DER of a CertificationRequest that names `public_key` and is signed by `signer`.

    An honest device passes its own key as both. `digest` defaults to the hash that fits the signer's key.
    """
    digest = digest or fitting_digest(signer)
    spki = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    version_1 = _der(_INTEGER, b"\x00")
    information = _der(_SEQUENCE, version_1 + subject.public_bytes() + spki + _NO_ATTRIBUTES)
    algorithm, signature = _sign(signer, information, digest)
    return _der(_SEQUENCE, information + algorithm + _der(_BIT_STRING, b"\x00" + signature))


def standard_pem(request: bytes) -> bytes:
    """Return the request as OpenSSL would write it: base64 in lines of 64, LF."""
    text = base64.b64encode(request).decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE REQUEST-----", *lines, "-----END CERTIFICATE REQUEST-----", ""]).encode()


def cc32xx_pem(request: bytes) -> bytes:
    """Return the request as the CC32xx SDK writes it: the base64 on one unbroken line, bare CR line ends."""
    return b"-----BEGIN CERTIFICATE REQUEST-----\r%b\r-----END CERTIFICATE REQUEST-----\r" % base64.b64encode(request)


def _sign(key: PrivateKey, data: bytes, digest: hashes.HashAlgorithm) -> tuple[bytes, bytes]:
    """Return the AlgorithmIdentifier's DER and the signature."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        # RFC 5758 section 3.2: no parameters.
        return _der(_SEQUENCE, _object_identifier(_ECDSA[digest.name])), key.sign(data, ec.ECDSA(digest))
    # RFC 4055 section 5: the parameters are NULL and must be present.
    algorithm = _der(_SEQUENCE, _object_identifier(_RSA_PKCS1[digest.name]) + _NULL)
    return algorithm, key.sign(data, padding.PKCS1v15(), digest)


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def _object_identifier(oid: ObjectIdentifier) -> bytes:
    first, second, *rest = (int(arc) for arc in oid.dotted_string.split("."))
    return _der(_OBJECT_IDENTIFIER, b"".join(_base_128(arc) for arc in (first * 40 + second, *rest)))


def _base_128(number: int) -> bytes:
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(0x80 | number & 0x7F)
    return bytes(reversed(digits))
