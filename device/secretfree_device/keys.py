"""The device's key, in a file that only its owner can read, or in hardware. It is never sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from secretfree_device.session import Broker, DeviceSession

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

OWNER_ONLY_FILE = 0o600
OWNER_ONLY_FOLDER = 0o700


class KeyType(StrEnum):
    """Types of key that the cloud accepts."""

    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    EC_P521 = "ec-p521"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"


_GENERATORS: Mapping[KeyType, Callable[[], PrivateKey]] = MappingProxyType(
    {
        KeyType.EC_P256: lambda: ec.generate_private_key(ec.SECP256R1()),
        KeyType.EC_P384: lambda: ec.generate_private_key(ec.SECP384R1()),
        KeyType.EC_P521: lambda: ec.generate_private_key(ec.SECP521R1()),
        KeyType.RSA_2048: lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
        KeyType.RSA_3072: lambda: rsa.generate_private_key(public_exponent=65537, key_size=3072),
    }
)


class KeyUnavailableError(Exception):
    """The key's hardware is missing, refuses, or does not have the key. The message never contains the PIN."""


class DeviceKey(Protocol):
    """A device's key in any place. It signs CSRs, and opens MQTT sessions by mutual TLS."""

    def private_key(self) -> PrivateKey:
        """Return the key for signing. A key in hardware signs there and has no private bytes."""
        ...

    def public_key(self) -> PublicKey:
        """Return the public key."""
        ...

    def connection(
        self,
        broker: Broker,
        *,
        client_id: str,
        certificate: Path,
        timeout: float,
        connected: Callable[[], None] | None = None,
    ) -> DeviceSession:
        """Return an MQTT session to enter with `with`. `connected` is called after each successful connect."""
        ...


@dataclass(frozen=True)
class KeyFile:
    """A key as PKCS#8 PEM in a file. It is read at each use."""

    path: Path

    def private_key(self) -> PrivateKey:
        """Read the key. Raises OSError, and ValueError for a key of another type."""
        return read_private_key(self.path)

    def public_key(self) -> PublicKey:
        """Return the public key. Raises as `private_key`."""
        return self.private_key().public_key()

    def connection(
        self,
        broker: Broker,
        *,
        client_id: str,
        certificate: Path,
        timeout: float,
        connected: Callable[[], None] | None = None,
    ) -> DeviceSession:
        """Return an MQTT session over Python's own TLS. It needs `paho-mqtt`."""
        from secretfree_device.mqtt import DeviceConnection

        return DeviceConnection(
            broker,
            client_id=client_id,
            certificate=certificate,
            private_key=self.path,
            timeout=timeout,
            connected=connected,
        )


def generate(key_type: KeyType) -> PrivateKey:
    """Make a new private key of that type."""
    return _GENERATORS[key_type]()


def write_private_key(path: Path, key: PrivateKey) -> None:
    """Write the key as unencrypted PKCS#8 PEM into a new file that is 0600 from its first byte on.

    The file is flushed to the disk before the call returns, so that no enrolled key is lost. Raises FileExistsError if
    the file exists, because a device that loses its key cannot be provisioned again.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        file.flush()
        os.fsync(descriptor)


def read_private_key(path: Path) -> PrivateKey:
    """Read a file of `write_private_key`. Raises ValueError for a key of another type."""
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise ValueError(f"{path} holds a {type(key).__name__}; accepted: RSA and elliptic-curve keys")  # noqa: TRY004 - a file's content, not an argument's type
    return key


def public_key_pem(key: PublicKey) -> str:
    """Return the SubjectPublicKeyInfo as PEM, the form that is enrolled."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode("ascii")
