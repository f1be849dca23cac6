"""The registry's items in DynamoDB's own JSON: how records are written, and how what is stored is read."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from secretfree.errors import SecretFreeError
from secretfree.registry.batch import Batch, BatchState, ManifestFile
from secretfree.registry.device import EnrolledDevice, timestamp
from secretfree.registry.entry import DeviceStatus, RegistryEntry
from secretfree.registry.store import RegistryState
from secretfree.request.device_id import DeviceId

AttributeValue = Mapping[str, Any]
Item = Mapping[str, AttributeValue]

BATCHES: Final = "#batches"
"""`batch` of every batch's record."""
BATCH_PREFIX: Final = "batch#"
"""Begins the `device-id` of a batch's record. '#' is not in the alphabet of device ids."""
STATE_ID: Final = "registry#state"
"""`device-id` of the item that holds the registry's state."""
OPEN: Final = "open-imports"
OPENED: Final = "imports-opened"
INDEXED: Final = "indexed-at"
_TEXTS: Final = (
    ("pubkey", "public_key"),
    ("batch", "batch"),
    ("enrolled-at", "enrolled_at"),
    ("source", "source"),
    ("not-before", "not_before"),
    ("blocked-reason", "blocked_reason"),
    ("blocked-at", "blocked_at"),
    ("retired-reason", "retired_reason"),
    ("retired-at", "retired_at"),
    ("replaced-reason", "replaced_reason"),
)
"""Attributes of the item to fields of the record, text to text."""


def device_item(device: EnrolledDevice) -> dict[str, AttributeValue]:
    """Return the item of a record. Unknown attributes of the stored item are kept."""
    item: dict[str, AttributeValue] = {"device-id": {"S": device.device_id}}
    if isinstance(device.stored, Mapping):
        item |= {name: value for name, value in device.stored.items() if name not in {"replaced", "replaced-forgotten"}}
    implied = "status" not in item and device.stored is not None and device.status is DeviceStatus.ALLOWED
    if device.status is not DeviceStatus.UNREADABLE and not implied:
        item["status"] = {"S": device.status.value}
    for name, field in _TEXTS:
        if (text := getattr(device, field)) is not None:
            item[name] = {"S": text}
    if device.fingerprint is not None:
        item["key-fingerprint"] = {"S": device.fingerprint}
    if device.attributes:
        item["attributes"] = {"M": {name: {"S": value} for name, value in device.attributes.items()}}
    if device.former:
        item["replaced"] = {"L": [{"M": device_item(one)} for one in device.former]}
    if device.forgotten:
        item["replaced-forgotten"] = {"N": str(device.forgotten)}
    return item


def read_device(item: Item) -> EnrolledDevice:
    """Read an item. The fingerprint is computed where existing deployments did not write one.

    It never raises: unreadable values are absent, and a record whose meaning is unclear has the status `UNREADABLE`.
    """
    texts = {name: value["S"] for name, value in item.items() if "S" in value}
    device_id, recorded = texts["device-id"], texts.get("key-fingerprint")
    fingerprint, status = _key_and_status(texts, recorded)
    former, unread = _former(item)
    attributes = item.get("attributes", {}).get("M", {})
    return EnrolledDevice(
        device_id=device_id,
        fingerprint=fingerprint,
        status=DeviceStatus.UNREADABLE if unread else status,
        attributes={name: value["S"] for name, value in attributes.items() if "S" in value} if attributes else {},
        former=former,
        forgotten=_number(item.get("replaced-forgotten", {})),
        fingerprint_recorded=recorded is not None,
        stored=item,
        **{field: texts[name] for name, field in _TEXTS if name in texts},
    )


def is_device(item: Item) -> bool:
    """Whether an item is a device's, and not a record of the registry's own."""
    return DeviceId.is_valid(item["device-id"]["S"])


def batch_item(batch: Batch) -> dict[str, AttributeValue]:
    """Return the item of a batch's record."""
    item: dict[str, AttributeValue] = {
        "device-id": {"S": BATCH_PREFIX + batch.id},
        "batch": {"S": BATCHES},
        "state": {"S": batch.state.value},
        "enrolled-by": {"S": batch.enrolled_by},
        "started-at": {"S": batch.started_at},
        "files": {
            "L": [
                {"M": {"name": {"S": file.name}, "sha256": {"S": file.sha256}, "format": {"S": file.format}}}
                for file in batch.files
            ]
        },
        "counts": {"M": {name: {"N": str(count)} for name, count in batch.counts.items()}},
    }
    if batch.finished_at is not None:
        item["finished-at"] = {"S": batch.finished_at}
    if batch.import_id is not None:
        item["import-id"] = {"S": batch.import_id}
    if batch.replace_reason is not None:
        item["replace-reason"] = {"S": batch.replace_reason}
    return item


def read_batch(item: Item) -> Batch:
    """Read a batch's record. It never raises: an unreadable record has the state `UNREADABLE`."""
    batch_id = item["device-id"]["S"].removeprefix(BATCH_PREFIX)
    try:
        return Batch(
            id=batch_id,
            state=BatchState(item["state"]["S"]),
            enrolled_by=item["enrolled-by"]["S"],
            started_at=item["started-at"]["S"],
            files=tuple(
                ManifestFile(file["M"]["name"]["S"], file["M"]["sha256"]["S"], file["M"]["format"]["S"])
                for file in item["files"]["L"]
            ),
            counts={name: int(count["N"]) for name, count in item["counts"]["M"].items()},
            finished_at=item["finished-at"]["S"] if "finished-at" in item else None,
            replace_reason=item["replace-reason"]["S"] if "replace-reason" in item else None,
            import_id=item["import-id"]["S"] if "import-id" in item else None,
        )
    except (KeyError, TypeError, ValueError):
        return Batch(batch_id, BatchState.UNREADABLE, enrolled_by="", started_at="")


def read_state(item: Item) -> RegistryState:
    """Read the registry's state; it is empty where there is no item."""
    return RegistryState(
        open=frozenset(item.get(OPEN, {}).get("SS", ())),
        opened=_number(item.get(OPENED, {})),
        indexed_at=item.get(INDEXED, {}).get("S"),
    )


def indexed_item(at: datetime) -> dict[str, AttributeValue]:
    """Return the state of a registry that is made with all its devices, each with its `key-fingerprint`."""
    return {"device-id": {"S": STATE_ID}, INDEXED: {"S": timestamp(at)}}


def key_of(device_id: str) -> dict[str, AttributeValue]:
    """Return the table's primary key of a device or of another record."""
    return {"device-id": {"S": device_id}}


def _key_and_status(texts: Mapping[str, str], recorded: str | None) -> tuple[str | None, DeviceStatus]:
    plain = "not-before" not in texts and texts.get("status", "allowed") in {"allowed", "blocked"}
    if plain and recorded is not None and recorded == _digest(texts.get("pubkey")):
        # The importer already checked the fingerprint against the key. To parse the key again takes ten times longer.
        return recorded, DeviceStatus(texts.get("status", "allowed"))
    try:
        entry = RegistryEntry.from_attributes(texts)
    except SecretFreeError:  # an id that the runtime would never look up
        return recorded, DeviceStatus.UNREADABLE
    return entry.fingerprint, entry.status


def _digest(text: str | None) -> str | None:
    """The SHA-256 of the key in the form that importers write (base64 of PEM); None for any other form."""
    if text is None:
        return None
    try:
        pem = binascii.a2b_base64(text, strict_mode=True)
        head, _, rest = pem.partition(b"-----BEGIN PUBLIC KEY-----\n")
        body, mark, tail = rest.partition(b"-----END PUBLIC KEY-----\n")
        if head or tail or not mark:
            return None
        return hashlib.sha256(base64.b64decode(body)).hexdigest()
    except ValueError:
        return None


def _former(item: Item) -> tuple[Sequence[EnrolledDevice], bool]:
    """The replaced records, the newest first, and whether any is unreadable.

    They are a list. Earlier versions nested each record in its successor.
    """
    if "replaced" not in item:
        return (), False
    found: list[EnrolledDevice] = []
    replaced = item["replaced"]
    listed = [one.get("M") for one in replaced["L"]] if "L" in replaced else list(_nested(item))
    for one in listed:
        if one is None or "S" not in one.get("device-id", {}):
            return tuple(found), True
        found.append(read_device({name: value for name, value in one.items() if name != "replaced"}))
    return tuple(found), not listed


def _nested(item: Item) -> Sequence[Any]:
    found: list[Any] = []
    while (replaced := item.get("replaced", {}).get("M")) is not None:
        found.append(replaced)
        item = replaced
    return found


def _number(value: AttributeValue) -> int:
    try:
        return int(value.get("N", 0))
    except ValueError:
        return 0
