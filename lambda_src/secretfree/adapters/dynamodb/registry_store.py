"""The registry in DynamoDB, as enrolment reads and writes it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from secretfree.adapters.dynamodb.registry_items import (
    BATCH_PREFIX,
    BATCHES,
    INDEXED,
    OPEN,
    OPENED,
    STATE_ID,
    AttributeValue,
    Item,
    batch_item,
    device_item,
    is_device,
    read_batch,
    read_device,
    read_state,
)
from secretfree.adapters.dynamodb.registry_table import BATCH_INDEX, RegistryTable
from secretfree.registry.batch import Batch
from secretfree.registry.device import EnrolledDevice, timestamp
from secretfree.registry.entry import DeviceStatus
from secretfree.registry.store import RegistryState

_BLOCK: Final = ("blocked-reason", "blocked-at")


class DynamoDbRegistryStore:
    """Port `RegistryStore` on one table."""

    def __init__(self, table: RegistryTable) -> None:
        self.table = table
        self.name = table.name

    @classmethod
    def of(cls, client: Any, name: str, **options: Any) -> DynamoDbRegistryStore:
        """Return the store of the table `name` behind a client; for `options` see `RegistryTable`."""
        return cls(RegistryTable(client, name, **options))

    def arn(self) -> str:
        """Return the table's ARN, which distinguishes tables of one name in different accounts."""
        return self.table.arn()

    def read(self, device_ids: Collection[str]) -> dict[str, EnrolledDevice]:
        """See `RegistryStore.read`."""
        return {device_id: read_device(item) for device_id, item in self.table.read_items(device_ids).items()}

    def devices(self, *, only: Sequence[str] = (), consistent: bool = False) -> Iterator[Sequence[EnrolledDevice]]:
        """See `RegistryStore.devices`."""
        for items in self.table.scan(attributes=only, consistent=consistent):
            yield [read_device(item) for item in items if is_device(item)]

    def members(self, batch_id: str) -> Iterator[Sequence[str]]:
        """See `RegistryStore.members`."""
        if self.has_batch_index():
            yield from self.table.batch_members(batch_id)
            return
        for items in self.table.scan(attributes=("device-id", "batch")):
            yield [item["device-id"]["S"] for item in items if item.get("batch", {}).get("S") == batch_id]

    def size(self) -> int:
        """See `RegistryStore.size`."""
        return self.table.item_count()

    def write(self, devices: Sequence[EnrolledDevice]) -> None:
        """See `RegistryStore.write`."""
        self.table.write([device_item(device) for device in devices])

    def put_new(self, device: EnrolledDevice) -> None:
        """See `RegistryStore.put_new`."""
        self.table.put_new(device_item(device))

    def put_over(self, device: EnrolledDevice, previous: EnrolledDevice) -> None:
        """See `RegistryStore.put_over`."""
        self.table.put_over(device_item(device), _stored(previous))

    def remove(self, previous: EnrolledDevice) -> None:
        """See `RegistryStore.remove`."""
        self.table.delete_exactly(_stored(previous))

    def give_way(self, pairs: Sequence[tuple[EnrolledDevice, EnrolledDevice | None]]) -> Collection[str]:
        """See `RegistryStore.give_way`."""
        return self.table.change_exactly(
            [(_stored(previous), None if device is None else device_item(device)) for previous, device in pairs]
        )

    def record_fingerprint(self, device: EnrolledDevice) -> None:
        """See `RegistryStore.record_fingerprint`."""
        self.table.update(_stored(device), {"key-fingerprint": {"S": device.fingerprint}})

    def set_status(self, device: EnrolledDevice, status: DeviceStatus, *, reason: str, at: datetime) -> None:
        """See `RegistryStore.set_status`."""
        changes: dict[str, AttributeValue] = {"status": {"S": status.value}}
        if status is DeviceStatus.BLOCKED:
            changes |= {"blocked-reason": {"S": reason}, "blocked-at": {"S": timestamp(at)}}
        self.table.update(_stored(device), changes, () if status is DeviceStatus.BLOCKED else _BLOCK)

    def has_key_index(self) -> bool:
        """See `RegistryStore.has_key_index`."""
        return self.table.key_index in self.table.indexes()

    def has_batch_index(self) -> bool:
        """See `RegistryStore.has_batch_index`."""
        return BATCH_INDEX in self.table.indexes()

    def holders_of(self, fingerprints: Collection[str]) -> Mapping[str, Collection[str]]:
        """See `RegistryStore.holders_of`."""
        return self.table.holders_of(fingerprints)

    def put_batch(self, batch: Batch) -> None:
        """See `RegistryStore.put_batch`."""
        self.table.write([batch_item(batch)])

    def batches(self, batch_ids: Collection[str]) -> Mapping[str, Batch]:
        """See `RegistryStore.batches`."""
        items = self.table.read_items([BATCH_PREFIX + batch_id for batch_id in batch_ids]).values()
        return {batch.id: batch for batch in map(read_batch, items)}

    def batch_ids(self) -> Sequence[str]:
        """See `RegistryStore.batch_ids`."""
        if self.has_batch_index():
            ids = [record_id for page in self.table.batch_members(BATCHES) for record_id in page]
        else:
            pages = self.table.scan(attributes=("device-id",))
            ids = [item["device-id"]["S"] for page in pages for item in page]
        return [record_id.removeprefix(BATCH_PREFIX) for record_id in ids if record_id.startswith(BATCH_PREFIX)]

    def state(self) -> RegistryState:
        """See `RegistryStore.state`."""
        return read_state(self.table.read_items([STATE_ID]).get(STATE_ID, {}))

    def open_import(self, batch_id: str) -> RegistryState:
        """See `RegistryStore.open_import`."""
        return self._change(
            "ADD #open :batch, #opened :one",
            {"#open": OPEN, "#opened": OPENED},
            {":batch": {"SS": [batch_id]}, ":one": {"N": "1"}},
        )

    def close_import(self, batch_id: str) -> RegistryState:
        """See `RegistryStore.close_import`."""
        return self._change("DELETE #open :batch", {"#open": OPEN}, {":batch": {"SS": [batch_id]}})

    def mark_indexed(self, at: datetime | None) -> None:
        """See `RegistryStore.mark_indexed`."""
        if at is None:
            self._change("REMOVE #indexed", {"#indexed": INDEXED}, {})
        else:
            self._change("SET #indexed = :at", {"#indexed": INDEXED}, {":at": {"S": timestamp(at)}})

    def _change(self, expression: str, names: Mapping[str, str], values: Mapping[str, AttributeValue]) -> RegistryState:
        return read_state(self.table.change_freely(STATE_ID, expression, names, values))


def _stored(device: EnrolledDevice) -> Item:
    """The item as it was read, or as it was put."""
    return device.stored if isinstance(device.stored, Mapping) else device_item(device)
