"""The device registry's entries, how they are read from attributes, and the port to read them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Protocol

from secretfree.errors import SecretFreeError
from secretfree.request.device_id import DeviceId
from secretfree.request.keys import DevicePublicKey

FINGERPRINT_FORM: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_RFC3339: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,6})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
"""`date-time` (RFC 3339 section 5.6), with no more than microseconds."""


class DeviceStatus(StrEnum):
    """Attribute `status`. `UNREADABLE`: the record cannot be understood, so the device is refused.

    A `RETIRED` device keeps only its id, so that no manifest enrols it again unnoticed.
    """

    ALLOWED = "allowed"
    BLOCKED = "blocked"
    RETIRED = "retired"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """One enrolled device.

    `fingerprint` is the lower-case hex SHA-256 of the key's SPKI DER. `defect` describes a fault of the record's key,
    for the log; a policy that compares keys then refuses the device. Before `not_before` (aware, UTC) nothing is issued
    to the device; a record whose `not-before` is not RFC 3339 has the status `UNREADABLE`.
    """

    device_id: DeviceId
    public_key: DevicePublicKey | None
    fingerprint: str | None
    status: DeviceStatus
    defect: str | None = None
    not_before: datetime | None = None

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, str]) -> "RegistryEntry":
        """Read the table's string attributes; raises SecretFreeError if `device-id` is not a device id."""
        device_id = DeviceId.parse(attributes.get("device-id", ""))
        status = _status(attributes.get("status"))
        not_before = None
        if (given := attributes.get("not-before")) is not None:
            not_before = parse_rfc3339(given)
            status = DeviceStatus.UNREADABLE if not_before is None else status
        fingerprint, key, defect = _key(attributes.get("pubkey"), attributes.get("key-fingerprint"))
        return cls(device_id, key, fingerprint, status, defect, not_before)


class RegistryReader(Protocol):
    """Reads what is enrolled. Both raise SecretFreeError (`unavailable`) when the table cannot be read."""

    def by_device_id(self, device_id: DeviceId) -> RegistryEntry | None:
        """The entry, read consistently; None if there is none."""
        ...

    def by_fingerprint(self, fingerprint: str) -> Sequence[RegistryEntry]:
        """The entries with the key's fingerprint, each read consistently; more than one is a defect of the table."""
        ...


def _status(text: str | None) -> DeviceStatus:
    if text is None:
        return DeviceStatus.ALLOWED
    return DeviceStatus(text) if text in {"allowed", "blocked", "retired"} else DeviceStatus.UNREADABLE


def _key(text: str | None, recorded: str | None) -> tuple[str | None, DevicePublicKey | None, str | None]:
    """The key's fingerprint, the key, and their defect."""
    if recorded is not None and FINGERPRINT_FORM.fullmatch(recorded) is None:
        return None, None, "key-fingerprint is not 64 lower-case hex digits"
    if text is None:
        return recorded, None, None
    try:
        key = DevicePublicKey.from_registry(text)
    except SecretFreeError as error:
        return None, None, f"pubkey: {error.detail}"
    if recorded is not None and recorded != key.fingerprint:
        return None, None, "key-fingerprint is not that of pubkey"
    return key.fingerprint, key, None


def parse_rfc3339(text: str) -> datetime | None:
    """The moment of an RFC 3339 date-time, aware, in UTC; None if `text` is not one."""
    if _RFC3339.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):  # a 31st of February, or a year out of range in UTC
        return None


def rfc3339(moment: datetime) -> str:
    """A moment as RFC 3339 in UTC, whole seconds: `2026-01-31T09:30:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
