"""What an operator does with devices that are enrolled: look, block, remove, count, export."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TextIO

from secretfree.adapters.dynamodb.registry_items import EnrolledDevice, Item, is_device, timestamp
from secretfree.adapters.dynamodb.registry_table import BATCH_INDEX, ChangedMeanwhile, RegistryTable
from secretfree.registry.entry import DeviceStatus
from secretfree_cli.devices.iot_view import IotView
from secretfree_cli.devices.ledger_view import CertificateRecord, LedgerView
from secretfree_cli.output import CliError, ExitCode

EXPORTED_COLUMNS: Final = (
    "device-id",
    "public-key",
    "key-fingerprint",
    "status",
    "blocked-reason",
    "batch",
    "enrolled-at",
    "source",
)
"""Columns of an export; `enroll` reads such a file again."""


@dataclass(frozen=True)
class Selection:
    """Which devices are meant; None means any."""

    status: DeviceStatus | None = None
    batch: str | None = None
    prefix: str | None = None

    def takes(self, device: EnrolledDevice) -> bool:
        """Whether a device is one of them."""
        return (
            (self.status is None or device.status is self.status)
            and (self.batch is None or device.batch == self.batch)
            and (self.prefix is None or device.device_id.startswith(self.prefix))
        )


class Removal(StrEnum):
    """What became of a device that was to be removed."""

    REMOVED = "removed"
    NOT_FOUND = "not-found"
    HAS_CERTIFICATE = "has-active-certificate"
    CHANGED = "changed-meanwhile"


def select(table: RegistryTable, selection: Selection) -> Iterator[EnrolledDevice]:
    """Yield the devices that are meant, in no order; a batch's by the index if there is one."""
    if selection.batch is not None and BATCH_INDEX in table.indexes():
        pages: Iterator[Sequence[Item]] = (
            list(table.read_items(ids).values()) for ids in table.batch_members(selection.batch)
        )
    else:
        pages = table.scan()
    for page in pages:
        for item in page:
            if is_device(item) and selection.takes(device := EnrolledDevice.from_item(item)):
                yield device


def require(table: RegistryTable, device_id: str) -> EnrolledDevice:
    """Return an enrolled device, or fail with exit code 4."""
    device = table.read([device_id]).get(device_id)
    if device is None:
        raise not_enrolled(table, device_id)
    return device


def not_enrolled(table: RegistryTable, device_id: str) -> CliError:
    """Return the error for a device that the registry lacks."""
    return CliError(
        f"no device {device_id!a} is enrolled in {table.name}",
        hint="`secretfree list --contains TEXT` finds devices by a part of their id",
        exit_code=ExitCode.NOT_FOUND,
    )


def set_status(table: RegistryTable, device_id: str, status: DeviceStatus, *, reason: str | None = None) -> bool:
    """Block or allow a device and return whether that changed anything; raises CliError if it is not enrolled.

    A blocked device gets no certificate; one that it has already goes on being accepted by IoT Core.
    """
    device = require(table, device_id)
    if device.status is status:
        return False
    changes = {"status": {"S": status.value}}
    gone: tuple[str, ...] = ("blocked-reason", "blocked-at")
    if status is DeviceStatus.BLOCKED:
        changes |= {"blocked-reason": {"S": reason or ""}, "blocked-at": {"S": timestamp(datetime.now(UTC))}}
        gone = ()
    try:
        table.update(device.item, changes, gone)
    except ChangedMeanwhile as error:
        raise CliError(
            f"device {device_id!a} was changed by another command just now", hint="look, and try again"
        ) from error
    return True


def remove(
    table: RegistryTable, ledger: LedgerView, device_id: str, *, force: bool, iot: IotView | None = None
) -> Removal:
    """Remove a device from the registry, unless the ledger or IoT Core has an active certificate of it.

    `force` removes it without asking them. Raises CliError if there is no ledger and no `force`.
    """
    device = table.read([device_id]).get(device_id)
    if device is None:
        return Removal.NOT_FOUND
    if not force and (active_certificates(ledger, device_id) or (iot and iot.active_certificates(device_id))):
        return Removal.HAS_CERTIFICATE
    try:
        table.delete_exactly(device.item)
    except ChangedMeanwhile:
        return Removal.CHANGED
    return Removal.REMOVED


def active_certificates(ledger: LedgerView, device_id: str) -> Sequence[CertificateRecord]:
    """Return a device's active certificates; raises CliError where there is no ledger to ask."""
    if not ledger.is_known:
        raise CliError(
            "whether the device has an active certificate is in the ledger, and a table alone has none",
            hint="name the stack with --stack, or give --force",
            exit_code=ExitCode.USAGE,
        )
    return ledger.active_certificates(device_id)


def describe(device: EnrolledDevice) -> dict[str, object]:
    """Return a device for `--json`, names as JavaScript writes them."""
    item = device.item
    document: dict[str, object] = {
        "deviceId": device.device_id,
        "status": device.status.value,
        "keyFingerprint": device.fingerprint,
        "publicKey": _text(item, "pubkey"),
        "blockedReason": _text(item, "blocked-reason"),
        "blockedAt": _text(item, "blocked-at"),
        "batch": device.batch,
        "enrolledAt": _text(item, "enrolled-at"),
        "source": _text(item, "source"),
        "attributes": _attributes(item) or None,
        "replacedReason": _text(item, "replaced-reason"),
    }
    return {name: value for name, value in document.items() if value is not None}


@dataclass(frozen=True)
class Statistics:
    """The registry in numbers."""

    devices: int
    by_status: Mapping[str, int]
    by_source: Mapping[str, int]
    by_batch: Mapping[str, int]
    without_fingerprint: int
    """Devices that a lookup by key cannot find: of existing deployments, or keyless under match policy UDID."""
    unreadable_keys: int


def count(table: RegistryTable) -> Statistics:
    """Read the whole table and count."""
    statuses: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    batches: Counter[str] = Counter()
    without = unreadable = 0
    names = ("device-id", "status", "source", "batch", "key-fingerprint", "pubkey")
    for page in table.scan(attributes=names):
        for item in page:
            if not is_device(item):
                continue
            device = EnrolledDevice.from_item(item)
            statuses[device.status.value] += 1
            sources[_text(item, "source") or "unknown"] += 1
            batches[device.batch or "none"] += 1
            without += not device.has_fingerprint_attribute
            unreadable += device.fingerprint is None and "pubkey" in item
    return Statistics(statuses.total(), dict(statuses), dict(sources), dict(batches), without, unreadable)


@dataclass(frozen=True)
class Exported:
    """How many devices were written, and which attributes of theirs were not."""

    devices: int
    left_out: Sequence[str] = ()


def export_csv(devices: Iterator[EnrolledDevice], stream: TextIO, attributes: Sequence[str] = ()) -> Exported:
    """Write a CSV that `enroll` reads, with the named `attributes` as columns.

    All of them cannot be: which there are is known only when the last device was read.
    """
    left_out: set[str] = set()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*EXPORTED_COLUMNS, *(f"attributes.{name}" for name in attributes)])
    written = 0
    for device in devices:
        row = _exported(device)
        own = _attributes(device.item)
        writer.writerow(
            [*(row.get(name, "") for name in EXPORTED_COLUMNS), *(own.get(name, "") for name in attributes)]
        )
        left_out |= own.keys() - attributes
        written += 1
    return Exported(written, sorted(left_out))


def export_json_lines(devices: Iterator[EnrolledDevice], stream: TextIO) -> Exported:
    """Write JSON Lines that `enroll` reads, attributes included."""
    written = 0
    for device in devices:
        row: dict[str, Any] = dict(_exported(device))
        if own := _attributes(device.item):
            row["attributes"] = own
        stream.write(json.dumps(row, separators=(",", ":")) + "\n")
        written += 1
    return Exported(written)


def _exported(device: EnrolledDevice) -> dict[str, str]:
    values = {
        "device-id": device.device_id,
        "public-key": _text(device.item, "pubkey"),
        "key-fingerprint": device.fingerprint,
        "status": device.status.value,
        "blocked-reason": _text(device.item, "blocked-reason"),
        "batch": device.batch,
        "enrolled-at": _text(device.item, "enrolled-at"),
        "source": _text(device.item, "source"),
    }
    return {name: value for name, value in values.items() if value is not None}


def _text(item: Item, name: str) -> str | None:
    value = item.get(name, {}).get("S")
    return None if value is None else str(value)


def _attributes(item: Item) -> dict[str, str]:
    return {name: value["S"] for name, value in item.get("attributes", {}).get("M", {}).items() if "S" in value}
