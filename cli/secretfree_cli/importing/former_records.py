"""Finds the record that replaces a reverted one: the latest earlier record that may be restored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from secretfree.registry.batch import BatchState
from secretfree.registry.device import EnrolledDevice
from secretfree.registry.entry import DeviceStatus
from secretfree.registry.key_holders import HolderLookup
from secretfree.registry.store import RegistryStore, find_batch


@dataclass(frozen=True, slots=True)
class Former:
    """What replaces a reverted record. The device is removed if `record` is None.

    `taken_by` is another device that holds the key of `record`, if any. `forgotten`: an older record is no longer kept,
    and none of the kept ones may be restored. `unreadable`: the former records or their batches cannot be read.
    """

    record: EnrolledDevice | None = None
    taken_by: str | None = None
    forgotten: bool = False
    unreadable: bool = False

    def under(self, reverted: EnrolledDevice) -> Former:
        """Return a copy with the block of `reverted`, because restoring a key does not unblock a device."""
        return self if self.record is None else replace(self, record=self.record.blocked_as(reverted))


class FormerRecords:
    """Finds the records that replace reverted ones. For one thread.

    The record of a reverted batch is not restored. The record before it is.
    """

    def __init__(self, store: RegistryStore, holders: HolderLookup) -> None:
        self._store = store
        self._holders = holders
        self._states: dict[str, BatchState | None] = {}

    def of(self, devices: Sequence[EnrolledDevice]) -> Sequence[Former]:
        """Return the replacement of each of `devices`."""
        found = [self._former(device) for device in devices]
        keys = {_fingerprint(former) for former in found} - {""}
        holders = self._holders.holders_of(sorted(keys)) if keys else {}
        formers = []
        for device, former in zip(devices, found, strict=True):
            others = sorted(one for one in holders.get(_fingerprint(former), ()) if one != device.device_id)
            formers.append(replace(former, taken_by=others[0] if others else None).under(device))
        return formers

    def _former(self, device: EnrolledDevice) -> Former:
        if device.status is DeviceStatus.UNREADABLE:
            return Former(unreadable=True)
        for position, record in enumerate(device.former):
            state = None if record.batch is None else self._state(record.batch)
            if record.status is DeviceStatus.UNREADABLE or state is BatchState.UNREADABLE:
                return Former(unreadable=True)
            if state is None or not state.is_undone:
                # The record keeps the ones before it for the next revert.
                earlier = tuple(device.former[position + 1 :])
                return Former(replace(record, former=earlier, forgotten=device.forgotten))
        return Former(forgotten=device.forgotten > 0)

    def _state(self, batch_id: str) -> BatchState | None:
        if batch_id not in self._states:
            batch = find_batch(self._store, batch_id)
            self._states[batch_id] = None if batch is None else batch.state
        return self._states[batch_id]


def _fingerprint(former: Former) -> str:
    return "" if former.record is None else former.record.fingerprint or ""
