"""Keys for the rows of manifests, and the rows' outcomes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from secretfree.registry.admission import RowRefused
from secretfree.registry.gate import Gate
from secretfree.request.keys import DevicePublicKey
from secretfree_cli.manifests.manifest import Manifest

PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEY = DevicePublicKey.from_key(PRIVATE.public_key())
GOOD = KEY.registry_text()
OFF_CURVE = "04" + "11" * 64
K1 = ec.generate_private_key(ec.SECP256K1()).public_key()
K1_HEX = K1.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()
WEAK = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - to be refused
WEAK_HEX = WEAK.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()

ANY_NAME = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a file's name is text")

Outcome = tuple[int, str]
"""A row's line, and its device id if it was admitted, otherwise the reason."""


def outcomes(manifest: Manifest, gate: Gate | None = None) -> Iterator[Outcome]:
    """The outcome of each row."""
    for entry in manifest.entries():
        try:
            if entry.broken is not None:
                raise entry.broken
            yield entry.line, (gate or Gate()).admit(manifest.interpret(entry)).device_id
        except RowRefused as refused:
            yield entry.line, refused.reason


def written(path: Path, content: str | bytes) -> Path:
    """The file, with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
    return path


def request(common_name: str | None, *, by: ec.EllipticCurvePrivateKey = PRIVATE) -> bytes:
    """A certificate request in PEM."""
    name = [] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(name))
    return builder.sign(by, hashes.SHA256()).public_bytes(Encoding.PEM)
