"""Writes the seeds of the corpus: what devices send, and what has fooled parsers. `python tests/fuzz/seeds.py`.

Named by what they are; what the fuzzer finds beside them is named by its digest.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CORPUS = Path(__file__).parent / "corpus"
TEXT, ENCODED, PLANNED = b"\0", b"\1", b"\2"


def seeds() -> Iterator[tuple[str, bytes]]:
    """Yield (name, input) of each seed."""
    p256 = _request(ec.derive_private_key(0x5EC2E7F2EE, ec.SECP256R1()))
    der, pem = p256.public_bytes(Encoding.DER), p256.public_bytes(Encoding.PEM)
    one_line = pem.replace(b"\n", b"").replace(b"REQUEST-----M", b"REQUEST-----\rM").replace(b"-----END", b"\r-----END")
    yield "text-pem", TEXT + base64.b64encode(pem)
    yield "text-der", TEXT + base64.b64encode(der)
    yield "text-unpadded", TEXT + base64.b64encode(der).rstrip(b"=")
    yield "text-urlsafe", TEXT + base64.urlsafe_b64encode(der)
    yield "text-spaces", TEXT + b" \t" + base64.b64encode(der) + b" "
    yield "text-not-ascii", TEXT + "dévice".encode("latin-1")
    yield "der-p256", ENCODED + der
    yield "der-trailing", ENCODED + der + b"\0"
    yield "der-indefinite-length", ENCODED + b"\x30\x80" + der[4:] + b"\0\0"
    yield "der-long-length", ENCODED + b"\x30\x83\x00" + der[2:]
    yield "pem-lf", ENCODED + pem
    yield "pem-crlf", ENCODED + pem.replace(b"\n", b"\r\n")
    yield "pem-cr-one-line", ENCODED + one_line
    yield "pem-new-label", ENCODED + pem.replace(b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST")
    yield "pem-two-blocks", ENCODED + pem + pem
    yield "pem-of-a-key", ENCODED + pem.replace(b"CERTIFICATE REQUEST", b"PUBLIC KEY")
    rsa_request = _request(rsa.generate_private_key(65537, 2048))
    yield "der-rsa-2048", ENCODED + rsa_request.public_bytes(Encoding.DER)
    rsa_too_small = _request(rsa.generate_private_key(65537, 1024))  # noqa: S505 - the point of this seed
    yield "der-rsa-1024", ENCODED + rsa_too_small.public_bytes(Encoding.DER)
    yield "der-extensions", ENCODED + _asking_for_much().public_bytes(Encoding.DER)
    common_name = b"\0\0\x08sensor-1"
    yield "planned-p256", PLANNED + b"\0\0\0\1" + common_name
    yield "planned-p521-sha512", PLANNED + b"\2\2\0\1" + common_name
    yield "planned-secp256k1", PLANNED + b"\3\0\0\1" + common_name
    yield "planned-sha1", PLANNED + b"\0\3\0\2" + common_name + b"\x09\2\4a@bc"
    yield "planned-forged", PLANNED + b"\0\0\x0f\1" + common_name
    yield "planned-two-names", PLANNED + b"\0\0\0\2" + common_name + common_name
    ca_false, key_usage = b"\0\0\2\x30\0", b"\1\1\4\3\2\7\x80"
    client_auth = b"\2\0\x0c\x30\x0a\6\x08\x2b\6\1\5\5\7\3\2"
    yield "planned-extensions", PLANNED + b"\0\0\0\1" + common_name + b"\1\0\0\3" + ca_false + key_usage + client_auth
    yield "planned-ca", PLANNED + b"\0\0\0\1" + common_name + b"\1\0\0\1" + b"\0\1\5\x30\3\1\1\xff"
    yield "planned-two-extension-requests", PLANNED + b"\0\0\0\1" + common_name + b"\2\0\0\0\0\0\0"
    yield "planned-raw-attribute", PLANNED + b"\0\0\0\1" + common_name + b"\1\0\7\4\x30\2\5\0"


def _request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> x509.CertificateSigningRequest:
    return x509.CertificateSigningRequestBuilder().subject_name(_name()).sign(key, hashes.SHA256())


def _asking_for_much() -> x509.CertificateSigningRequest:
    key = ec.derive_private_key(0x5EC2E7F2EE, ec.SECP384R1())
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_name())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("another.example")]), critical=False)
        .add_attribute(x509.oid.AttributeOID.CHALLENGE_PASSWORD, b"not read")
        .sign(key, hashes.SHA384())
    )


def _name() -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
            x509.NameAttribute(NameOID.COMMON_NAME, "sensor-1"),
        ]
    )


if __name__ == "__main__":
    CORPUS.mkdir(exist_ok=True)
    for name, data in seeds():
        (CORPUS / name).write_bytes(data)
