"""Which devices of the registry hold which keys, as far as that must be found by reading the whole table."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from secretfree.adapters.dynamodb.registry_items import EnrolledDevice, is_device
from secretfree.adapters.dynamodb.registry_table import RegistryTable
from secretfree.registry.registry_state import mark_indexed, mark_unindexed, read_state

from secretfree_cli.importing.checkpoint import Checkpoint


@dataclass(frozen=True)
class TableRead:
    """What a reading of the whole table told besides the holders."""

    unindexed: int
    """Devices that hold a key and lack `key-fingerprint`, so that the index does not lead to them."""


def read_holders(
    checkpoint: Checkpoint, table: RegistryTable, reached: Callable[[int], None] = lambda _: None
) -> TableRead:
    """Keep in `checkpoint` which devices hold which keys, by one consistent reading of the whole table.

    `reached` is told how many items were read.
    """
    checkpoint.start_holders()
    read = unindexed = 0
    for page in table.scan(attributes=("device-id", "key-fingerprint", "pubkey"), consistent=True):
        enrolled = [EnrolledDevice.from_item(item) for item in page if is_device(item)]
        holding = [(device.fingerprint, device.device_id) for device in enrolled if device.fingerprint is not None]
        unindexed += sum(device.fingerprint is not None and not device.has_fingerprint_attribute for device in enrolled)
        checkpoint.add_holders(holding)
        read += len(page)
        reached(read)
    checkpoint.finish_holders()
    return TableRead(unindexed)


def put_down(table: RegistryTable, read: TableRead) -> None:
    """Put down in the registry whether its index by key can be relied upon, where a reading found that otherwise."""
    known = read_state(table).is_indexed
    if known and read.unindexed:
        mark_unindexed(table)
    elif not known and not read.unindexed:
        mark_indexed(table, datetime.now(UTC))


def index_is_complete(table: RegistryTable) -> bool:
    """Whether the index by key is there, and known to lead to every device that holds one."""
    return table.has_key_index() and read_state(table).is_indexed


class Holders:
    """Finds the holders of single keys: by the index if it is complete, else by reading the whole table once.

    Used by one thread, as a context that removes what was read.
    """

    def __init__(self, table: RegistryTable) -> None:
        self._table = table
        self._by_index: bool | None = None
        self._read: Checkpoint | None = None
        self._kept = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.close()

    def holders_of(self, fingerprints: Collection[str]) -> Mapping[str, Collection[str]]:
        """Return the holders of each key that has any."""
        if not fingerprints:
            return {}
        if self._by_index is None:
            self._by_index = index_is_complete(self._table)
        if self._by_index:
            return self._table.holders_of(fingerprints)
        if self._read is None:
            folder = self._kept.enter_context(tempfile.TemporaryDirectory(prefix="secretfree-"))
            self._read = self._kept.enter_context(Checkpoint(Path(folder, "holders")))
            read_holders(self._read, self._table)
        return self._read.holders_of(list(fingerprints))
