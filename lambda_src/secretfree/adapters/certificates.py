"""Certificates in the forms that AWS returns."""

from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from secretfree.issuance.chains import Chain
from secretfree.issuance.ports import DeviceCertificate


def device_certificate(
    pem: str,
    *,
    chain_pem: str | None = None,
    certificate_id: str | None = None,
    certificate_arn: str | None = None,
) -> DeviceCertificate:
    """A certificate from an issuer, with LF after every line.

    IoT Core's id of a certificate is the SHA-256 of its DER, so it is known before the registration.
    """
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return DeviceCertificate(
        certificate_id=certificate_id or sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        certificate_pem=_lines(pem),
        chain=Chain.of(_lines(chain_pem)) if chain_pem else None,
        not_after=certificate.not_valid_after_utc,
        certificate_arn=certificate_arn,
    )


def key_fingerprint(pem: str) -> str:
    """Lower-case hex SHA-256 of the certificate's SPKI, as the registry names keys."""
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _lines(pem: str) -> str:
    return "\n".join(line.strip() for line in pem.strip().splitlines()) + "\n"
