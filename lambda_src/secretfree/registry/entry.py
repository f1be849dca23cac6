"""The device registry as the rules see it: entries, how one is read from its attributes, and the reading port."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from secretfree.errors import SecretFreeError
from secretfree.request.device_id import DeviceId
from secretfree.request.keys import DevicePublicKey

FINGERPRINT_FORM: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class DeviceStatus(StrEnum):
    """Attribute `status`. `UNREADABLE` is what is neither of the two that mean something; it is refused."""

    ALLOWED = "allowed"
    BLOCKED = "blocked"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """One enrolled device.

    `fingerprint` is the lower-case hex SHA-256 of the key's SPKI DER. `defect` says in words for the log what is wrong
    with the record's key; a policy that compares keys then refuses the device, and says whose fault it is.
    """

    device_id: DeviceId
    public_key: DevicePublicKey | None
    fingerprint: str | None
    status: DeviceStatus
    defect: str | None = None

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, str]) -> "RegistryEntry":
        """Read the table's string attributes; raises SecretFreeError if `device-id` is none."""
        device_id = DeviceId.parse(attributes.get("device-id", ""))
        status = _status(attributes.get("status"))
        text, recorded = attributes.get("pubkey"), attributes.get("key-fingerprint")
        if recorded is not None and FINGERPRINT_FORM.fullmatch(recorded) is None:
            return cls(device_id, None, None, status, "key-fingerprint is not 64 lower-case hex digits")
        if text is None:
            return cls(device_id, None, recorded, status)
        try:
            key = DevicePublicKey.from_registry(text)
        except SecretFreeError as error:
            return cls(device_id, None, None, status, f"pubkey: {error.detail}")
        if recorded is not None and recorded != key.fingerprint:
            return cls(device_id, None, None, status, "key-fingerprint is not that of pubkey")
        return cls(device_id, key, key.fingerprint, status)


class RegistryReader(Protocol):
    """Reads what is enrolled. Both raise SecretFreeError (`unavailable`) when the table cannot be read."""

    def by_device_id(self, device_id: DeviceId) -> RegistryEntry | None:
        """The entry, read consistently; None if there is none."""
        ...

    def by_fingerprint(self, fingerprint: str) -> Sequence[RegistryEntry]:
        """The entries that the key's fingerprint leads to, each read consistently; two mean a defect of the table."""
        ...


def _status(text: str | None) -> DeviceStatus:
    if text is None:
        return DeviceStatus.ALLOWED
    return DeviceStatus(text) if text in {"allowed", "blocked"} else DeviceStatus.UNREADABLE
