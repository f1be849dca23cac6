"""A simulated device: one folder with its private key and, after provisioning, its certificate."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from secretfree.errors import SecretFreeError
from secretfree.request.device_id import DeviceId, normalise_udid
from secretfree_device import Device, DeviceKey, Identity, IdentityStore, IssuerPath, KeyType, ProvisioningClient, keys
from secretfree_device.session import Broker, DeviceSession

from secretfree_cli.device import signing_request
from secretfree_cli.device.token_pin import token_pin

PRIVATE_KEY_FILE = "device.key.pem"
PUBLIC_KEY_FILE = "device.pub.pem"
_DESCRIPTION_FILE = "device.json"


class Firmware(StrEnum):
    """The firmware that determines the form of the device's CSR."""

    STANDARD = "standard"
    CC32XX = "cc32xx"


@dataclass(frozen=True)
class _CsrForm:
    subject: Callable[[str], x509.Name]
    encode: Callable[[bytes], bytes]
    digest: hashes.HashAlgorithm | None
    """None: the digest that fits the key."""


_CSR_FORMS: Mapping[Firmware, _CsrForm] = MappingProxyType(
    {
        Firmware.STANDARD: _CsrForm(signing_request.standard_subject, signing_request.standard_pem, None),
        # The CC32xx's network processor signs with SHA-1. The signature proves only possession of the key.
        Firmware.CC32XX: _CsrForm(signing_request.cc32xx_subject, signing_request.cc32xx_pem, hashes.SHA1()),  # noqa: S303
    }
)


@dataclass(frozen=True)
class TokenPlace:
    """The place of a key in a PKCS#11 token. The PIN is read when it is needed, and never stored."""

    module: Path
    token: str
    key_label: str

    def key(self) -> DeviceKey:
        """Return the key. Needs the extra `pkcs11`."""
        from secretfree_device.pkcs11 import TokenKey

        return TokenKey(self.module, self.token, self.key_label, token_pin)

    def make_key(self, key_type: KeyType) -> bool:
        """Make the key in the token if it is missing, and return whether it was made.

        Raises: KeyUnavailableError, and ValueError for a type that tokens do not support.
        """
        from secretfree_device.pkcs11 import TokenKey

        key = TokenKey(self.module, self.token, self.key_label, token_pin)
        if key.exists():
            return False
        key.generate(key_type)
        return True


@dataclass(frozen=True)
class SimulatedDevice:
    """A device in a folder of this machine. `create` makes one, `open` opens it again."""

    folder: Path
    device_id: DeviceId
    key_type: KeyType
    firmware: Firmware
    token: TokenPlace | None = None
    """None: the key is in a file of the folder."""

    @classmethod
    def create(
        cls,
        folder: Path,
        device_id: str,
        *,
        key_type: KeyType = KeyType.EC_P256,
        firmware: Firmware = Firmware.STANDARD,
        token: TokenPlace | None = None,
    ) -> SimulatedDevice:
        """Make the folder (0700), the key (0600, or in the token) and the public key.

        The id of a CC32xx is its UDID in any of TI's spellings; its key is burnt in and P-256.

        Raises: SecretFreeError for an id and ValueError for a key type that such a device cannot have, FileExistsError
        if the device exists, KeyUnavailableError by the token.
        """
        if firmware is Firmware.CC32XX and key_type is not KeyType.EC_P256:
            raise ValueError(f"key type is {key_type.value}; a CC32xx has a burnt-in key of type ec-p256")
        identity = _identity(device_id, firmware)
        folder.mkdir(mode=keys.OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        folder.chmod(keys.OWNER_ONLY_FOLDER)
        if (folder / _DESCRIPTION_FILE).exists():
            raise FileExistsError(folder / _DESCRIPTION_FILE)
        made = cls(folder, identity, key_type, firmware, token)
        if token is None:
            keys.write_private_key(folder / PRIVATE_KEY_FILE, keys.generate(key_type))
        else:
            token.make_key(key_type)
        made.public_key_file.write_text(keys.public_key_pem(made.key.public_key()))
        description = {"deviceId": str(identity), "keyType": key_type.value, "firmware": firmware.value}
        if token is not None:
            description |= {"module": str(token.module), "token": token.token, "keyLabel": token.key_label}
        _write_json(folder / _DESCRIPTION_FILE, description)
        return made

    @classmethod
    def create_in(
        cls,
        directory: Path,
        device_id: str,
        *,
        key_type: KeyType = KeyType.EC_P256,
        firmware: Firmware = Firmware.STANDARD,
        token: TokenPlace | None = None,
    ) -> SimulatedDevice:
        """Make a device in its own folder below `directory`, with a .gitignore because it holds private keys."""
        name = _identity(device_id, firmware)
        directory.mkdir(mode=keys.OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        ignore = directory / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        return cls.create(directory / name, device_id, key_type=key_type, firmware=firmware, token=token)

    @classmethod
    def find_in(cls, directory: Path, device_id: str) -> SimulatedDevice:
        """Open a device of `create_in`, by its id in any spelling that `create_in` accepts.

        Raises: FileNotFoundError if there is none.
        """
        for firmware in Firmware:
            with contextlib.suppress(SecretFreeError, FileNotFoundError):
                return cls.open(directory / _identity(device_id, firmware))
        raise FileNotFoundError(f"no device {device_id!a} in {directory}")

    @classmethod
    def open(cls, folder: Path) -> SimulatedDevice:
        """Open a device of `create`. Raises FileNotFoundError if there is none."""
        description = json.loads((folder / _DESCRIPTION_FILE).read_text())
        return cls(
            folder,
            DeviceId.parse(description["deviceId"]),
            KeyType(description["keyType"]),
            Firmware(description["firmware"]),
            TokenPlace(Path(description["module"]), description["token"], description["keyLabel"])
            if "token" in description
            else None,
        )

    @property
    def key(self) -> DeviceKey:
        """The key in its file or token."""
        return keys.KeyFile(self.folder / PRIVATE_KEY_FILE) if self.token is None else self.token.key()

    @property
    def private_key(self) -> keys.PrivateKey:
        """The key to sign with, looked up at each use. Raises KeyUnavailableError by the token."""
        return self.key.private_key()

    @property
    def public_key_file(self) -> Path:
        """PEM of the public key, for enrolment."""
        return self.folder / PUBLIC_KEY_FILE

    @property
    def public_key_pem(self) -> str:
        """The public key as PEM."""
        return self.public_key_file.read_text()

    @property
    def certificate_file(self) -> Path:
        """PEM of the device's certificate, after provisioning."""
        return IdentityStore(self.folder).certificate_file

    @property
    def identity(self) -> Identity | None:
        """Certificate and addresses of this device, or None before it is provisioned."""
        return self._device.identity

    def signing_request(self) -> bytes:
        """Return a new CSR in the form of this firmware, before the header's base64."""
        return self._signing_request(signer=self.private_key)

    def forged_signing_request(self, forger: SimulatedDevice) -> bytes:
        """Return a CSR with this device's id and public key, signed by another device's key.

        It needs only public data of the device; the cloud must refuse it.
        """
        return self._signing_request(signer=forger.private_key)

    def provision(self, client: ProvisioningClient, issuer: IssuerPath = IssuerPath.PRIVATE_CA) -> Identity:
        """Get a certificate and store it. Raises ProvisioningError, as the client does."""
        return self._device.provision(client, issuer)

    def connection(self, broker: Broker, *, client_id: str | None = None, timeout: float = 10.0) -> DeviceSession:
        """Return the MQTT session to enter with `with`. The client id is the thing's name, as the policy requires."""
        return self._device.connection(broker, client_id=client_id, timeout=timeout)

    @property
    def _device(self) -> Device:
        """The device's own software: the client library, with a CSR in the form of this firmware."""
        return Device(str(self.device_id), self.key, IdentityStore(self.folder), request=self.signing_request)

    def _signing_request(self, signer: keys.PrivateKey) -> bytes:
        form = _CSR_FORMS[self.firmware]
        return form.encode(
            signing_request.certification_request(
                subject=form.subject(str(self.device_id)),
                public_key=self.key.public_key(),
                signer=signer,
                digest=form.digest,
            )
        )


def _identity(device_id: str, firmware: Firmware) -> DeviceId:
    return normalise_udid(device_id) if firmware is Firmware.CC32XX else DeviceId.parse(device_id)


def _write_json(path: Path, document: Mapping[str, object]) -> None:
    """Write the file atomically: an interrupted write keeps the previous one."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(document, indent=2) + "\n")
    draft.replace(path)
