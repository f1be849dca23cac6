"""The operator's actions on enrolled devices: read, block, remove, count, export."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TextIO

from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.registry.device import EnrolledDevice
from secretfree.registry.entry import DeviceStatus
from secretfree.registry.store import ChangedMeanwhile, RegistryStore

from secretfree_cli.devices.iot_view import IotView
from secretfree_cli.devices.ledger_view import CertificateRecord, LedgerView
from secretfree_cli.manifests.formula_guard import guarded
from secretfree_cli.output import CliError, ExitCode

EXPORTED_COLUMNS: Final = (
    "device-id",
    "public-key",
    "key-fingerprint",
    "status",
    "not-before",
    "blocked-reason",
    "batch",
    "enrolled-at",
    "source",
)
"""Columns of an export; `enroll` reads such a file again."""


@dataclass(frozen=True)
class Selection:
    """A filter for devices; None matches any."""

    status: DeviceStatus | None = None
    batch: str | None = None
    prefix: str | None = None

    def takes(self, device: EnrolledDevice) -> bool:
        """Whether a device matches."""
        return (
            (self.status is None or device.status is self.status)
            and (self.batch is None or device.batch == self.batch)
            and (self.prefix is None or device.device_id.startswith(self.prefix))
        )


class Removal(StrEnum):
    """The outcome of a removal."""

    REMOVED = "removed"
    NOT_FOUND = "not-found"
    HAS_CERTIFICATE = "has-active-certificate"
    RETIRED = "retired"
    """Its id stays reserved. After a forced removal, any manifest could enrol it again."""
    CHANGED = "changed-meanwhile"


def select(store: RegistryStore, selection: Selection) -> Iterator[EnrolledDevice]:
    """Yield the matching devices, in no order. Those of a batch are found by the index, if there is one."""
    if selection.batch is not None and store.has_batch_index():
        pages: Iterator[Sequence[EnrolledDevice]] = (
            list(store.read(ids).values()) for ids in store.members(selection.batch)
        )
    else:
        pages = store.devices()
    for page in pages:
        yield from filter(selection.takes, page)


def require(store: DynamoDbRegistryStore, device_id: str) -> EnrolledDevice:
    """Return an enrolled device, or fail with exit code 4."""
    device = store.read([device_id]).get(device_id)
    if device is None:
        raise not_enrolled(store, device_id)
    return device


def not_enrolled(store: DynamoDbRegistryStore, device_id: str) -> CliError:
    """Return the error for a device that is not enrolled."""
    return CliError(
        f"no device {device_id!a} is enrolled in {store.name}",
        hint="`secretfree list --contains TEXT` finds devices by a part of their id",
        exit_code=ExitCode.NOT_FOUND,
    )


def set_status(
    store: DynamoDbRegistryStore,
    device_id: str,
    status: DeviceStatus,
    *,
    reason: str | None = None,
    again: bool = False,
) -> bool:
    """Block or allow a device and return whether that changed anything; raises CliError if it is not enrolled.

    `again`: write the status with a new time even if it is unchanged. The stream then reports the change again.
    """
    device = require(store, device_id)
    if device.status is DeviceStatus.RETIRED:
        raise CliError(
            f"device {device_id!a} is retired", hint="`secretfree enroll ... --replace --reason TEXT` enrols it again"
        )
    if device.status is status and not again:
        return False
    try:
        store.set_status(device, status, reason=reason or "", at=datetime.now(UTC))
    except ChangedMeanwhile as error:
        raise CliError(
            f"device {device_id!a} was changed by another command just now", hint="see `secretfree show`, then retry"
        ) from error
    return True


def remove(
    store: RegistryStore, ledger: LedgerView, device_id: str, *, force: bool, iot: IotView | None = None
) -> Removal:
    """Remove a device from the registry, unless the ledger or IoT Core has an active certificate of it.

    `force` removes it without that check. Raises CliError if there is no ledger and no `force`.
    """
    device = store.read([device_id]).get(device_id)
    if device is None:
        return Removal.NOT_FOUND
    if not force and device.status is DeviceStatus.RETIRED:
        return Removal.RETIRED
    if not force and (active_certificates(ledger, device_id) or (iot and iot.active_certificates(device_id))):
        return Removal.HAS_CERTIFICATE
    try:
        store.remove(device)
    except ChangedMeanwhile:
        return Removal.CHANGED
    return Removal.REMOVED


def active_certificates(ledger: LedgerView, device_id: str) -> Sequence[CertificateRecord]:
    """Return a device's active certificates; raises CliError without a ledger."""
    if not ledger.is_known:
        raise CliError(
            "the ledger says whether the device has an active certificate, and a table alone has no ledger",
            hint="name the stack with --stack, or pass --force",
            exit_code=ExitCode.USAGE,
        )
    return ledger.active_certificates(device_id)


def describe(device: EnrolledDevice) -> dict[str, object]:
    """Return a device for `--json`, with names in camel case."""
    document: dict[str, object] = {
        "deviceId": device.device_id,
        "status": device.status.value,
        "keyFingerprint": device.fingerprint,
        "publicKey": device.public_key,
        "notBefore": device.not_before,
        "blockedReason": device.blocked_reason,
        "blockedAt": device.blocked_at,
        "retiredReason": device.retired_reason,
        "retiredAt": device.retired_at,
        "batch": device.batch,
        "enrolledAt": device.enrolled_at,
        "source": device.source,
        "attributes": dict(device.attributes) or None,
        "replacedReason": device.replaced_reason,
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
    """Devices that a lookup by key does not find: of existing deployments, or without a key under match policy UDID."""
    unreadable_keys: int


def count(store: RegistryStore) -> Statistics:
    """Read the whole table and count."""
    statuses: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    batches: Counter[str] = Counter()
    without = unreadable = 0
    names = ("device-id", "status", "source", "batch", "key-fingerprint", "pubkey")
    for page in store.devices(only=names):
        for device in page:
            statuses[device.status.value] += 1
            sources[device.source or "unknown"] += 1
            batches[device.batch or "none"] += 1
            without += not device.fingerprint_recorded
            unreadable += device.fingerprint is None and device.holds_key
    return Statistics(statuses.total(), dict(statuses), dict(sources), dict(batches), without, unreadable)


@dataclass(frozen=True)
class Exported:
    """The number of exported devices, and the attributes that were left out."""

    devices: int
    left_out: Sequence[str] = ()


def export_csv(devices: Iterator[EnrolledDevice], stream: TextIO, attributes: Sequence[str] = ()) -> Exported:
    """Write a CSV that `enroll` reads, with the named `attributes` as columns.

    Other attributes are left out, because a CSV needs its columns before the first row.
    """
    left_out: set[str] = set()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*EXPORTED_COLUMNS, *(f"attributes.{name}" for name in attributes)])
    written = 0
    for device in _enrollable(devices):
        row = _exported(device)
        own = device.attributes
        cells = [*(row.get(name, "") for name in EXPORTED_COLUMNS), *(own.get(name, "") for name in attributes)]
        writer.writerow([guarded(cell) for cell in cells])
        left_out |= own.keys() - attributes
        written += 1
    return Exported(written, sorted(left_out))


def export_json_lines(devices: Iterator[EnrolledDevice], stream: TextIO) -> Exported:
    """Write JSON Lines that `enroll` reads, attributes included."""
    written = 0
    for device in _enrollable(devices):
        row: dict[str, Any] = dict(_exported(device))
        if device.attributes:
            row["attributes"] = dict(device.attributes)
        stream.write(json.dumps(row, separators=(",", ":")) + "\n")
        written += 1
    return Exported(written)


def _enrollable(devices: Iterator[EnrolledDevice]) -> Iterator[EnrolledDevice]:
    """Leave out retired devices: they have no key, so `enroll` would refuse their rows."""
    return (device for device in devices if device.status is not DeviceStatus.RETIRED)


def _exported(device: EnrolledDevice) -> dict[str, str]:
    values = {
        "device-id": device.device_id,
        "public-key": device.public_key,
        "key-fingerprint": device.fingerprint,
        "status": device.status.value,
        "not-before": device.not_before,
        "blocked-reason": device.blocked_reason,
        "batch": device.batch,
        "enrolled-at": device.enrolled_at,
        "source": device.source,
    }
    return {name: value for name, value in values.items() if value is not None}
