"""What an item gives way to when it is undone: the item that it replaced, unless something speaks against that one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from secretfree.adapters.dynamodb.registry_items import EnrolledDevice, Item, with_fingerprint
from secretfree.adapters.dynamodb.registry_table import RegistryTable
from secretfree.registry.batch import find_batch
from secretfree.registry.enrollment import KeyHolders
from secretfree.registry.entry import DeviceStatus


@dataclass(frozen=True, slots=True)
class Former:
    """What is to be in the place of an undone item. `item` None is nothing: the device goes.

    `taken_by` is another device that has the key of `item` by now, if there is one.
    """

    item: Item | None
    taken_by: str | None = None

    def under(self, undone: Item) -> Former:
        """Return it with the block that `undone`, in whose place it comes, has been given since."""
        if self.item is None:
            return self
        return replace(self, item={**self.item, **_block_since(undone)})


class FormerItems:
    """Knows what undone items give way to. Used by one thread.

    Items are replaced over and over, and each keeps the one before. What a batch brought that was itself undone since
    is passed over: undoing the later one must not bring it back.
    """

    def __init__(self, table: RegistryTable, holders: KeyHolders) -> None:
        self._table = table
        self._holders = holders
        self._undone: dict[str, bool] = {}

    def of(self, items: Sequence[Item]) -> Sequence[Former]:
        """Return what each of `items` gives way to."""
        formers = [self._former(item) for item in items]
        keys = {key for former in formers if former is not None and (key := _fingerprint(former)) is not None}
        holders = self._holders.holders_of(sorted(keys))
        found = []
        for item, former in zip(items, formers, strict=True):
            held_by = holders.get(_fingerprint(former) or "", ()) if former is not None else ()
            others = sorted(holder for holder in held_by if holder != item["device-id"]["S"])
            found.append(Former(former, others[0] if others else None).under(item))
        return found

    def _former(self, item: Item) -> Item | None:
        for former in replaced_items(item):
            batch = former.get("batch", {}).get("S")
            if batch is None or not self._was_undone(batch):
                # An item of an existing deployment may have lacked its fingerprint: the index must lead to it again.
                return with_fingerprint(former)
        return None

    def _was_undone(self, batch_id: str) -> bool:
        if batch_id not in self._undone:
            batch = find_batch(self._table, batch_id)
            self._undone[batch_id] = batch is not None and batch.state.is_undone
        return self._undone[batch_id]


def replaced_items(item: Item) -> Iterator[Item]:
    """Yield the item that `item` replaced, the one that that one replaced, and so on."""
    while (former := item.get("replaced", {}).get("M")) is not None:
        yield former
        item = former


def _fingerprint(item: Item) -> str | None:
    return EnrolledDevice.from_item(item).fingerprint


def _block_since(item: Item) -> Item:
    """What keeps a device blocked that was blocked under the undone key: another key, the former too, is no pardon."""
    if EnrolledDevice.from_item(item).status is DeviceStatus.ALLOWED:
        return {}
    kept = {name: item[name] for name in ("blocked-reason", "blocked-at") if name in item}
    return {**kept, "status": {"S": DeviceStatus.BLOCKED.value}}
