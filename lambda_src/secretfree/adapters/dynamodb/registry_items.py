"""The registry's items in DynamoDB's own JSON: how a record is written, and how what is there already is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, Self

from secretfree.errors import SecretFreeError
from secretfree.registry.admission import EnrollmentRecord
from secretfree.registry.entry import DeviceStatus, RegistryEntry
from secretfree.request.device_id import DeviceId
from secretfree.request.keys import registry_text

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


class PlainRecord(NamedTuple):
    """An `EnrollmentRecord` in plain values, for processes to hand each other and for a checkpoint to keep.

    `spki` is the DER of the key's SubjectPublicKeyInfo, `fingerprint` the lower-case hex SHA-256 of it; both are None
    for a device without a key. `attributes` is a JSON object of texts, None where there are none.
    """

    device_id: str
    spki: bytes | None
    fingerprint: str | None
    status: str
    attributes: str | None

    @classmethod
    def of(cls, record: EnrollmentRecord) -> Self:
        """Take a record apart."""
        attributes = json.dumps(dict(record.attributes)) if record.attributes else None
        key = record.public_key
        if key is None:
            return cls(record.device_id, None, None, record.status.value, attributes)
        return cls(record.device_id, key.spki, key.fingerprint, record.status.value, attributes)

    def item(self, provenance: Provenance) -> dict[str, AttributeValue]:
        """Return the item of the device, newly enrolled."""
        item: dict[str, AttributeValue] = {
            "device-id": {"S": self.device_id},
            "status": {"S": self.status},
            "batch": {"S": provenance.batch},
            "enrolled-at": {"S": timestamp(provenance.enrolled_at)},
            "source": {"S": provenance.source},
        }
        if self.spki is not None:
            item["pubkey"] = {"S": registry_text(self.spki)}
            item["key-fingerprint"] = {"S": self.fingerprint}
        if self.attributes is not None:
            attributes: Mapping[str, str] = json.loads(self.attributes)
            item["attributes"] = {"M": {name: {"S": value} for name, value in attributes.items()}}
        return item


def to_item(record: EnrollmentRecord, provenance: Provenance) -> dict[str, AttributeValue]:
    """Return the item of a newly enrolled device."""
    return PlainRecord.of(record).item(provenance)


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
