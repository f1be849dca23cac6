"""The registry's items in DynamoDB's own JSON: how a record is written, and how what is there already is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from secretfree.enrollment.record import EnrollmentRecord
from secretfree.errors import SecretFreeError
from secretfree.identity import DeviceId
from secretfree.registry import DeviceStatus, RegistryEntry

AttributeValue = Mapping[str, Any]
Item = Mapping[str, AttributeValue]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an item comes from: the batch, when it began (aware, UTC), and the manifest's kind."""

    batch: str
    enrolled_at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class EnrolledDevice:
    """What the table holds for a device. `fingerprint` is None if it holds no key, or none that can be read."""

    device_id: str
    fingerprint: str | None
    status: DeviceStatus
    batch: str | None
    has_fingerprint_attribute: bool
    item: Item

    @classmethod
    def from_item(cls, item: Item) -> EnrolledDevice:
        """Read an item, computing the fingerprint where existing deployments did not write one."""
        attributes = {name: value["S"] for name, value in item.items() if "S" in value}
        device_id = attributes["device-id"]
        recorded = attributes.get("key-fingerprint")
        try:
            entry = RegistryEntry.from_attributes(attributes)
            fingerprint, status = entry.fingerprint, entry.status
        except SecretFreeError:  # an id that the runtime would never look up
            fingerprint, status = recorded, DeviceStatus.UNREADABLE
        return cls(device_id, fingerprint, status, attributes.get("batch"), recorded is not None, item)


def to_item(record: EnrollmentRecord, provenance: Provenance) -> dict[str, AttributeValue]:
    """Return the item of a newly enrolled device."""
    item: dict[str, AttributeValue] = {
        "device-id": {"S": record.device_id},
        "status": {"S": record.status.value},
        "batch": {"S": provenance.batch},
        "enrolled-at": {"S": timestamp(provenance.enrolled_at)},
        "source": {"S": provenance.source},
    }
    if record.public_key is not None:
        item["pubkey"] = {"S": record.public_key.registry_text()}
        item["key-fingerprint"] = {"S": record.public_key.fingerprint}
    if record.attributes:
        item["attributes"] = {"M": {name: {"S": value} for name, value in record.attributes.items()}}
    return item


def with_fingerprint(item: Item) -> Item:
    """Return an item with the `key-fingerprint` of its key, if it has a key that can be read."""
    fingerprint = EnrolledDevice.from_item(item).fingerprint
    return item if fingerprint is None else {**item, "key-fingerprint": {"S": fingerprint}}


def key_of(device_id: str) -> dict[str, AttributeValue]:
    """Return the table's primary key of a device or of a batch's record."""
    return {"device-id": {"S": device_id}}


@lru_cache(maxsize=8)  # a batch's rows all carry the same
def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds: `2026-01-31T09:30:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_device(item: Item) -> bool:
    """Whether an item is a device's, and not a batch's record."""
    return DeviceId.is_valid(item["device-id"]["S"])
