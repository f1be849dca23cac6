"""Keys, certificates and requests in the forms of people and tools."""

import base64
import json
from collections.abc import Callable
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from secretfree.errors import Reason
from secretfree.registry.admission import Refusal
from secretfree.registry.key_material.jwk import base64url
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.manifests.generate import jwk

KEY = ec.derive_private_key(0xA11CE, ec.SECP256R1())
OTHER = ec.derive_private_key(0xB0B, ec.SECP384R1())
RSA = rsa.generate_private_key(65537, 2048)
PUBLIC = DevicePublicKey.from_key(KEY.public_key())
TEXT = PUBLIC.registry_text()

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(
    subject: str, key: Key = KEY, issuer: str = "Widget CA", by: Key = KEY, *, ca: bool | None = False
) -> bytes:
    """A certificate in PEM; with `ca=None` it has no basicConstraints."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(int.from_bytes(subject.encode()[:18]) + 1)
        .not_valid_before(datetime(2025, 1, 1))  # noqa: DTZ001 - the library's
        .not_valid_after(datetime(2035, 1, 1))  # noqa: DTZ001
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    return builder.sign(by, hashes.SHA256()).public_bytes(Encoding.PEM)


def request(common_name: str, key: Key = KEY) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(name(common_name))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def der_of(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def fingerprint(key: Key) -> str:
    return DevicePublicKey.from_key(key.public_key()).fingerprint


def forged(pem: bytes) -> str:
    data = der_of(pem)
    return b64(data[:-1] + bytes([data[-1] ^ 1]))


ENCODED: dict[str, Callable[[str], bytes]] = {
    "UTF-8": lambda text: text.encode(),
    "byte order mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16 with its mark": lambda text: text.encode("utf-16"),
    "UTF-16 LE without a mark": lambda text: text.encode("utf-16-le"),
    "UTF-16 BE without a mark": lambda text: text.encode("utf-16-be"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "bare CR": lambda text: text.replace("\n", "\r").encode(),
    "UTF-16 and CRLF": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "NUL at the end": lambda text: text.encode() + b"\0",
    "Ctrl-Z at the end": lambda text: text.encode() + b"\x1a",
    "Ctrl-Z and NULs at the end": lambda text: text.encode() + b"\x1a" + b"\0" * 100,
    "no last line end": lambda text: text.rstrip("\n").encode(),
    "blank lines before": lambda text: b"\n\n" + text.encode(),
}
TEXT_AROUND = [
    "Certificate Request:\n    Data:\n        Subject: CN = d-1\n{}",
    "{}\nmade by a tool\n",
    "subject=CN = d-1\nissuer=CN = Widget CA\n\n{}\nanother line",
    "  {}",
]

PKCS1 = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
RSA_JWK = {
    "kty": "RSA",
    "n": base64url(RSA.public_key().public_numbers().n.to_bytes(256)),
    "e": "AQAB",
}
MATERIAL: dict[str, tuple[str, Key]] = {
    "key in PEM": (PUBLIC.pem(), KEY),
    "key in base64 of PEM": (TEXT, KEY),
    "key in base64 of DER": (b64(PUBLIC.spki), KEY),
    "key in hex": (PUBLIC.spki.hex(), KEY),
    "certificate in PEM": (certificate("d-1").decode(), KEY),
    "certificate in base64 of DER": (b64(der_of(certificate("d-1"))), KEY),
    "certificate in base64 of PEM": (b64(certificate("d-1")), KEY),
    "certificate with its chain": ((certificate("d-1") + certificate("Widget CA", OTHER, ca=True)).decode(), KEY),
    "request in PEM": (request("d-1").decode(), KEY),
    "request in base64 of DER": (b64(der_of(request("d-1"))), KEY),
    "request in base64 of PEM": (b64(request("d-1")), KEY),
    "PKCS #1 in PEM": (PKCS1.decode(), RSA),
    "PKCS #1 in base64 of DER": (b64(der_of(PKCS1)), RSA),
    "JWK": (json.dumps(jwk(KEY.public_key(), "0")), KEY),
    "JWK of RSA": (json.dumps(RSA_JWK), RSA),
}

PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
OLD_PRIVATE = RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
ENCRYPTED = OLD_PRIVATE.replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n", 1)
REFUSED_MATERIAL: dict[str, tuple[str, str]] = {
    "request that is forged": (forged(request("d-1")), Reason.BAD_SIGNATURE),
    "request of another device": (request("d-2").decode(), Refusal.IDENTITY_MISMATCH),
    "certificate of another device": (certificate("d-2").decode(), Refusal.IDENTITY_MISMATCH),
    "certificate of a CA": (certificate("d-1", ca=True).decode(), Refusal.CA_CERTIFICATE),
    "private key": (PRIVATE, Refusal.MALFORMED_ROW),
    "private key of old": (OLD_PRIVATE, Refusal.MALFORMED_ROW),
    "private key, encrypted": (ENCRYPTED, Refusal.MALFORMED_ROW),
    "private JWK": (json.dumps({**jwk(KEY.public_key(), "0"), "d": "AAAA"}), Refusal.MALFORMED_ROW),
    "JWK of another kind": (json.dumps({"kty": "OKP", "crv": "Ed25519", "x": "AA"}), Reason.KEY_KIND),
    "JWK off its curve": (json.dumps({**jwk(KEY.public_key(), "0"), "x": base64url(bytes(32))}), Reason.KEY_KIND),
    "JWK of a negative kind": (json.dumps({**RSA_JWK, "e": "Aw"}), Reason.KEY_KIND),
    "two keys": (PUBLIC.pem() * 2, Refusal.MALFORMED_ROW),
    "block without its end": (PUBLIC.pem()[:-20], Refusal.MALFORMED_ROW),
    "CRL": ("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", Refusal.MALFORMED_ROW),
}


def changed(pem: bytes, old: bytes, new: bytes) -> bytes:
    data = der_of(pem)
    assert old in data
    return f"-----BEGIN CERTIFICATE-----\n{b64(data.replace(old, new, 1))}\n-----END CERTIFICATE-----\n".encode()


def hostile_certificates() -> dict[str, bytes]:
    good = certificate("d-9")
    constraints = bytes.fromhex("0603551d13") + b"\x01\x01\xff" + b"\x04\x02\x30\x00"
    return {
        "version 8": changed(good, b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"),
        "version 200": changed(good, b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x7f"),
        "extension that is no DER": changed(good, constraints, constraints[:-1] + b"\x05"),
        "name that is no text": changed(good, b"\x0c\x03d-9", b"\x0c\x03\xff\xfe\xfd"),
        "date that is none": changed(good, b"250101000000Z", b"259901000000Z"),
        "curve that is none": changed(good, bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030109")),
        "nothing": b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "deep": f"-----BEGIN CERTIFICATE-----\n{b64(b'0' * 1200)}\n-----END CERTIFICATE-----\n".encode(),
    }
