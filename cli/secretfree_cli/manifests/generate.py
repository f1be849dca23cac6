"""Sample manifests in every format, with real keys, to test imports of any size."""

from __future__ import annotations

import base64
import csv
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Final, TextIO

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID
from secretfree.registry.key_material.jwk import base64url
from secretfree.request.keys import DevicePublicKey

from secretfree_cli.manifests.espressif import HEADER as ESPRESSIF_HEADER

_MICROCHIP: Final = {
    "organizationName": "Microchip Technology Inc",
    "organizationalUnitName": "Secure Products Group",
}


@dataclass(frozen=True)
class SampleDevice:
    """A sample device with its key pair."""

    device_id: str
    private_key: ec.EllipticCurvePrivateKey

    @property
    def public_key(self) -> DevicePublicKey:
        """The public key for enrolment."""
        return DevicePublicKey.from_key(self.private_key.public_key())


@dataclass(frozen=True)
class SampleAuthority:
    """The CA that signs a sample manifest, or issues the certificates in it."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, common_name: str = "Sample manifest signer") -> SampleAuthority:
        """Make a self-signed P-256 CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        certificate = (
            _certificate(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    def issue(self, common_name: str, public_key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        """Issue a device's certificate."""
        return (
            _certificate(self.certificate.subject, _name(common_name), public_key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self.private_key, hashes.SHA256())
        )

    def pem(self) -> bytes:
        """Return the certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class SampleFormat:
    """The generator of a format's samples. `needs` is the option of `enroll files` for the authority's certificate."""

    device_id: Callable[[int], str]
    write: Callable[[Path, Iterable[SampleDevice], SampleAuthority], None]
    needs: str | None = None


def sample_devices(count: int, device_id: Callable[[int], str]) -> Iterator[SampleDevice]:
    """Make `count` devices with new P-256 keys, one at a time."""
    for number in range(count):
        yield SampleDevice(device_id(number), ec.generate_private_key(ec.SECP256R1()))


def write_keys(folder: Path, devices: Iterable[SampleDevice]) -> Iterator[SampleDevice]:
    """Pass `devices` on, writing each private key to `<device id>.key.pem` (PKCS #8, mode 0600) in `folder`.

    Raises: FileExistsError for an existing key, because an overwritten key is lost
    """
    folder.mkdir(parents=True, exist_ok=True)
    for device in devices:
        pem = device.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        descriptor = os.open(folder / f"{device.device_id}.key.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        yield device


def write_csv(path: Path, devices: Iterable[SampleDevice], _authority: SampleAuthority) -> None:
    """Write `device-id,public-key`, the key in the form of existing tables."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["device-id", "public-key"])
        writer.writerows([device.device_id, device.public_key.registry_text()] for device in devices)


def write_json_lines(path: Path, devices: Iterable[SampleDevice], _authority: SampleAuthority) -> None:
    """Write one object per line."""
    with path.open("w", encoding="utf-8") as file:
        for device in devices:
            spki = base64.b64encode(device.public_key.spki).decode("ascii")
            _write_line(file, {"device-id": device.device_id, "public-key": spki})


def write_pem(path: Path, devices: Iterable[SampleDevice], authority: SampleAuthority) -> None:
    """Write a bundle of alternating public keys, requests and certificates."""
    with path.open("w", encoding="ascii") as file:
        for number, device in enumerate(devices):
            if number % 3 == 0:
                file.write(f"# {device.device_id}\n{device.public_key.pem()}")
            elif number % 3 == 1:
                request = x509.CertificateSigningRequestBuilder().subject_name(_name(device.device_id))
                signed = request.sign(device.private_key, hashes.SHA256())
                file.write(signed.public_bytes(serialization.Encoding.PEM).decode("ascii"))
            else:
                issued = authority.issue(device.device_id, device.private_key.public_key())
                file.write(issued.public_bytes(serialization.Encoding.PEM).decode("ascii"))


def write_dynamodb(path: Path, devices: Iterable[SampleDevice], _authority: SampleAuthority) -> None:
    """Write the output of `aws dynamodb scan` for an existing deployment's table."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{\n    "Items": [')
        count = 0
        for device in devices:
            item = {"device-id": {"S": device.device_id}, "pubkey": {"S": device.public_key.registry_text()}}
            file.write(("," if count else "") + "\n        " + json.dumps(item))
            count += 1
        file.write(f'\n    ],\n    "Count": {count},\n    "ScannedCount": {count},\n    "ConsumedCapacity": null\n}}\n')


def write_microchip(path: Path, devices: Iterable[SampleDevice], authority: SampleAuthority) -> None:
    """Write an array of flattened JWS; slot 0 has the device's key, slot 1 another one."""
    other = jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), "1")
    with path.open("w", encoding="ascii") as file:
        file.write("[")
        for number, device in enumerate(devices):
            payload = microchip_payload(device.device_id, [jwk(device.private_key.public_key(), "0"), other])
            file.write(",\n" if number else "\n")
            json.dump(sign_microchip(payload, authority), file, indent=2)
        file.write("\n]\n")


def write_infineon(path: Path, devices: Iterable[SampleDevice], authority: SampleAuthority) -> None:
    """Write a 7z of a 7z with a certificate of each chip."""
    import py7zr  # Imported here, because the import takes a quarter of a command's start and is rarely needed.

    with TemporaryDirectory(prefix="secretfree-") as folder:
        inner = Path(folder, "certificates.7z")
        with py7zr.SevenZipFile(inner, "w") as archive:
            for device in devices:
                certificate = authority.issue("InfineonIoTNode", device.private_key.public_key())
                archive.writestr(certificate.public_bytes(serialization.Encoding.PEM), f"{device.device_id}_E0E0.pem")
        with py7zr.SevenZipFile(path, "w") as archive:
            archive.write(inner, f"RE00000001_{secrets.token_hex(16).upper()}_E0E0_Certs.7z")


def write_espressif(path: Path, devices: Iterable[SampleDevice], authority: SampleAuthority) -> None:
    """Write `MAC,cn,cert`."""
    with path.open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(ESPRESSIF_HEADER)
        for number, device in enumerate(devices):
            certificate = authority.issue(device.device_id, device.private_key.public_key())
            pem = certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
            writer.writerow([f"{0xB48A0A000000 + number:012X}", device.device_id, pem])


def microchip_payload(unique_id: str, keys: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return an unsigned payload in the form of Microchip's manifests, version 1."""
    return {
        "version": 1,
        "model": "ATECC608B",
        "partNumber": "ATECC608B-TNGTLSU",
        "manufacturer": {
            "organizationName": "Microchip Technology Inc",
            "organizationalUnitName": "Secure Products Group",
        },
        "provisioner": {
            "organizationName": "Microchip Technology Inc",
            "organizationalUnitName": "Secure Products Group",
        },
        "distributor": {"organizationName": "Microchip Technology Inc", "organizationalUnitName": "Microchip Direct"},
        "groupId": "59VTBU3VVXMBKEQS",
        "provisioningTimestamp": "2026-01-31T09:30:00.000Z",
        "uniqueId": unique_id,
        "publicKeySet": {"keys": list(keys)},
    }


def sign_microchip(payload: Mapping[str, Any], authority: SampleAuthority) -> dict[str, Any]:
    """Return the flattened JWS of a payload (RFC 7515, 7.2.2; ES256)."""
    key_identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    header = {
        "alg": "ES256",
        "kid": base64url(key_identifier.digest),
        "typ": "JWT",
        "x5t#S256": base64url(authority.certificate.fingerprint(hashes.SHA256())),
    }
    protected, body = (base64url(json.dumps(part).encode()) for part in (header, payload))
    signature = authority.private_key.sign(f"{protected}.{body}".encode("ascii"), ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(signature)
    return {
        "payload": body,
        "protected": protected,
        "header": {"uniqueId": payload["uniqueId"]},
        "signature": base64url(r.to_bytes(32) + s.to_bytes(32)),
    }


def jwk(key: ec.EllipticCurvePublicKey, key_id: str) -> dict[str, str]:
    """Return a key on P-256, P-384 or P-521 as a JWK (RFC 7518, 6.2)."""
    numbers, size = key.public_numbers(), (key.curve.key_size + 7) // 8
    x, y = base64url(numbers.x.to_bytes(size)), base64url(numbers.y.to_bytes(size))
    return {"kid": key_id, "kty": "EC", "crv": f"P-{key.curve.key_size}", "x": x, "y": y}


SAMPLES: Final[Mapping[str, SampleFormat]] = MappingProxyType(
    {
        "csv": SampleFormat(lambda number: f"dev-{number:08d}", write_csv),
        "jsonl": SampleFormat(lambda number: f"dev-{number:08d}", write_json_lines),
        "pem": SampleFormat(lambda number: f"dev-{number:08d}", write_pem),
        "dynamodb": SampleFormat(lambda number: f"{number:032x}", write_dynamodb),
        "microchip": SampleFormat(lambda number: f"0123{number:012x}01", write_microchip, "--signer"),
        "infineon": SampleFormat(lambda number: f"{0xCD16339401000000 + number:020X}", write_infineon, "--ca"),
        "espressif": SampleFormat(lambda number: f"esp-{number:08d}", write_espressif),
    }
)
"""Generators of samples by the format's name; ids have the supplier's form."""


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate(
    issuer: x509.Name, subject: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=3650))
    )


def _write_line(file: TextIO, document: object) -> None:
    file.write(json.dumps(document, separators=(",", ":")) + "\n")
