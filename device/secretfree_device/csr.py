"""The certificate signing request of a device (RFC 2986), in the wire contract's form."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from secretfree_device.keys import PrivateKey


def certification_request(device_id: str, key: PrivateKey) -> bytes:
    """Return the DER of a CSR with only the id as common name. Raises ValueError for an empty id."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device_id)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, fitting_digest(key))
    return request.public_bytes(serialization.Encoding.DER)


def fitting_digest(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    """Return SHA-256, or a longer hash for a stronger curve (FIPS 186-5, section 6.1.1)."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if key.curve.key_size > 384:
            return hashes.SHA512()
        if key.curve.key_size > 256:
            return hashes.SHA384()
    return hashes.SHA256()
