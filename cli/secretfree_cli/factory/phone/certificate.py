"""The certificate of one session's page. Its key exists only in this process's memory."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secretfree_cli.output import CliError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_VALIDITY: Final = timedelta(days=2)
_CLOCK_SKEW: Final = timedelta(hours=1)
_DESCRIPTORS: Final = Path("/dev/fd")


def server_context(address: Address, now: datetime) -> tuple[ssl.SSLContext, str]:
    """Return the settings of a TLS server at `address`, and its certificate's SHA-256 fingerprint as browsers show it.

    Raises: CliError on a system where OpenSSL cannot read a key from memory
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _self_signed(key, address, now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with _readable(certificate.public_bytes(Encoding.PEM)) as public, _readable(key_pem) as private:
        context.load_cert_chain(public, private)
    return context, certificate.fingerprint(SHA256()).hex(":").upper()


def _self_signed(key: ec.EllipticCurvePrivateKey, address: Address, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "secretfree enroll phone")])
    return (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALIDITY)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(address)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, SHA256())
    )


@contextmanager
def _readable(content: bytes) -> Iterator[str]:
    """Yield a path from which `content` can be read once: a pipe, because Python's ssl accepts only paths."""
    if not _DESCRIPTORS.is_dir():
        raise CliError("this system has no /dev/fd, without which the page's key would have to be written to a file")
    reader, writer = os.pipe()
    try:
        try:
            os.write(writer, content)  # A PEM is smaller than any pipe's buffer.
        finally:
            os.close(writer)
        yield str(_DESCRIPTORS / str(reader))
    finally:
        os.close(reader)
