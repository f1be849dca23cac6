"""Signature algorithms of a request: which are accepted, their canonical identifiers, and the check itself."""

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from secretfree.request import der
from secretfree.request.keys import DevicePublicKey

SIGNATURE_ALGORITHMS_FORM: Final = "RSA (PKCS #1 v1.5) or ECDSA, as the key, with SHA-256, SHA-384 or SHA-512"


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """An accepted signature algorithm of a request. With `sha1`, a device profile must accept it."""

    family: type
    digest: hashes.HashAlgorithm
    identifier: bytes
    """The DER of the AlgorithmIdentifier as the standards write it."""
    sha1: bool = False

    def verify(self, key: DevicePublicKey, signature: bytes, data: bytes) -> None:
        """Verify `signature` over `data` by `key`; raises the library's exception if it is invalid."""
        if isinstance(key.key, rsa.RSAPublicKey):
            key.key.verify(signature, data, padding.PKCS1v15(), self.digest)
        else:
            key.key.verify(signature, data, ec.ECDSA(self.digest))


def _rsa(oid: str, digest: hashes.HashAlgorithm, *, sha1: bool = False) -> tuple[bytes, SignatureAlgorithm]:
    """RFC 8017, A.2.4: the parameters are NULL."""
    return _algorithm(rsa.RSAPublicKey, oid, digest, der.NULL, sha1=sha1)


def _ecdsa(oid: str, digest: hashes.HashAlgorithm, *, sha1: bool = False) -> tuple[bytes, SignatureAlgorithm]:
    """RFC 5758, 3.2: the parameters are absent."""
    return _algorithm(ec.EllipticCurvePublicKey, oid, digest, b"", sha1=sha1)


def _algorithm(
    family: type, oid: str, digest: hashes.HashAlgorithm, parameters: bytes, *, sha1: bool
) -> tuple[bytes, SignatureAlgorithm]:
    content = bytes.fromhex(oid)
    identifier = der.encode(der.SEQUENCE, der.encode(der.OBJECT_IDENTIFIER, content) + parameters)
    return content, SignatureAlgorithm(family, digest, identifier, sha1)


# RSASSA-PSS is left out: its parameters allow a choice of hashes, and no known device signs a CSR with it.
_BY_OID: Final = dict(
    (
        _rsa("2a864886f70d01010b", hashes.SHA256()),
        _rsa("2a864886f70d01010c", hashes.SHA384()),
        _rsa("2a864886f70d01010d", hashes.SHA512()),
        _rsa("2a864886f70d010105", hashes.SHA1(), sha1=True),  # noqa: S303 - DeviceProfile.TI_CC32XX
        _ecdsa("2a8648ce3d040302", hashes.SHA256()),
        _ecdsa("2a8648ce3d040303", hashes.SHA384()),
        _ecdsa("2a8648ce3d040304", hashes.SHA512()),
        _ecdsa("2a8648ce3d0401", hashes.SHA1(), sha1=True),  # noqa: S303
    )
)
_BY_IDENTIFIER: Final = {algorithm.identifier: algorithm for algorithm in _BY_OID.values()}


def canonical_identifier(identifier: der.Element) -> bytes:
    """The DER of an AlgorithmIdentifier, with its parameters rewritten as the standards write them.

    ECDSA has no parameters and RSA has NULL. Mbed TLS before 2.28.5 and 3.5, and tpm2-openssl before October 2025,
    write NULL for ECDSA; other tools leave it out for RSA. Both accept absent parameters and NULL. Another algorithm is
    returned unchanged. Raises DerError for other parameters, and for anything that is not an AlgorithmIdentifier.
    """
    parts = der.elements(identifier.content)
    if not 1 <= len(parts) <= 2 or parts[0].tag != der.OBJECT_IDENTIFIER:
        raise der.DerError("no AlgorithmIdentifier")
    algorithm = _BY_OID.get(parts[0].content)
    if algorithm is None:
        return identifier.raw
    if any(parameter.raw != der.NULL for parameter in parts[1:]):
        raise der.DerError("parameters other than NULL")
    return algorithm.identifier


def accepted_algorithm(identifier: bytes, key: DevicePublicKey, *, sha1: bool) -> SignatureAlgorithm | None:
    """The algorithm of a canonical identifier, if it is accepted and fits the key; `sha1` accepts SHA-1 too."""
    algorithm = _BY_IDENTIFIER.get(identifier)
    if algorithm is None or not isinstance(key.key, algorithm.family) or (algorithm.sha1 and not sha1):
        return None
    return algorithm


def encoding_fault(signature: bytes, key: DevicePublicKey) -> str | None:
    """The fault of a signature's form, which is DER of two positive INTEGERs or as long as the modulus.

    None if there is none.
    """
    if isinstance(key.key, rsa.RSAPublicKey):
        size = (key.bits + 7) // 8
        return None if len(signature) == size else f"{len(signature)} bytes; RSA of {key.bits} bits has {size}"
    try:
        outer = der.first_element(signature)
        if outer.tag != der.SEQUENCE or len(outer.raw) != len(signature):
            return "not one SEQUENCE of r and s (RFC 3279, 2.2.3), such as raw r and s without it"
        numbers = outer.children(der.INTEGER, der.INTEGER)
    except der.DerError as error:
        return f"not the DER of r and s (RFC 3279, 2.2.3): {error}"
    if all(_is_positive_integer(number.content) for number in numbers):
        return None
    return "r or s is not DER of a positive INTEGER: a leading zero byte too few or too many"


def _is_positive_integer(content: bytes) -> bool:
    """X.690, 8.3.2: no more bytes than needed. Zero passes here, and the verification refuses it."""
    if not content or content[0] >= 0x80:
        return False
    return len(content) == 1 or content[0] != 0 or content[1] >= 0x80
