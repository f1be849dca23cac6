"""The port to the registry: what enrolment reads and writes there. `secretfree.adapters.dynamodb` implements it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from secretfree.registry.batch import Batch
from secretfree.registry.device import EnrolledDevice
from secretfree.registry.entry import DeviceStatus


class RegistryBusy(Exception):  # noqa: N818 - a passing state of the store
    """The registry refused all work because its capacity is used up. Earlier writes remain."""


class ChangedMeanwhile(Exception):  # noqa: N818 - an answer, on which the caller decides
    """A record changed after it was read."""


@dataclass(frozen=True, slots=True)
class RegistryState:
    """Which imports are open, and whether the index by key is complete: one record, read and changed consistently.

    Imports take no lock. Each is recorded here as open before its first read of the registry, and as closed after its
    last. So overlapping imports can detect each other:

    * An import that overlaps another one reads the whole registry once more after it has written its rows. It removes
      each of its rows whose key another device holds too.
    * Of two overlapping imports, the one that reads last sees all rows that the other left. So no key stays enrolled
      for two devices.
    * The first read of an import that begins after another's last read sees all rows of the other.

    `opened` counts all imports ever opened, closed ones included.
    """

    open: frozenset[str] = frozenset()
    """Ids of the batches that are being imported or reverted, or whose process died meanwhile."""
    opened: int = 0
    indexed_at: str | None = None
    """When every device with a key was last found to have `key-fingerprint`, which all importers write."""

    @property
    def is_indexed(self) -> bool:
        """Whether the index by key is known to have every key.

        After another writer adds a record without `key-fingerprint`, this is wrong until `secretfree index-keys`, or an
        import that reads the whole table, finds the record.
        """
        return self.indexed_at is not None


class RegistryStore(Protocol):
    """The registry's devices and batches. Safe to share between threads.

    Each method may raise RegistryBusy, or an error of the store itself; the call may be repeated then.
    """

    def read(self, device_ids: Collection[str]) -> dict[str, EnrolledDevice]:
        """Return the devices of `device_ids`, read consistently; ids that are not enrolled are left out."""
        ...

    def devices(self, *, only: Sequence[str] = (), consistent: bool = False) -> Iterator[Sequence[EnrolledDevice]]:
        """Yield all devices by pages, with the registry attributes `only`, if any are named.

        A `consistent` page includes every write that was acknowledged before its request, at twice the price.
        """
        ...

    def members(self, batch_id: str) -> Iterator[Sequence[str]]:
        """Yield pages of the ids of a batch's devices.

        By an index (eventually consistent), or by a scan without one.
        """
        ...

    def size(self) -> int:
        """Return the approximate number of records."""
        ...

    def write(self, devices: Sequence[EnrolledDevice]) -> None:
        """Put records and overwrite existing ones, without a condition, so read the records first."""
        ...

    def put_new(self, device: EnrolledDevice) -> None:
        """Put a new record; raises ChangedMeanwhile if one exists."""
        ...

    def put_over(self, device: EnrolledDevice, previous: EnrolledDevice) -> None:
        """Replace the record `previous`; raises ChangedMeanwhile if the stored record differs from it."""
        ...

    def remove(self, previous: EnrolledDevice) -> None:
        """Delete a record; raises ChangedMeanwhile if it changed, or was deleted, after it was read."""
        ...

    def give_way(self, pairs: Sequence[tuple[EnrolledDevice, EnrolledDevice | None]]) -> Collection[str]:
        """Replace each first record, if it is unchanged since it was read, by the second; delete it if that is None.

        Returns the ids of records that were changed or deleted after they were read; these stay unchanged. If the
        process dies, some records are replaced and the others are not.
        """
        ...

    def record_fingerprint(self, device: EnrolledDevice) -> None:
        """Add `key-fingerprint` to a record that lacks it; raises ChangedMeanwhile."""
        ...

    def set_status(self, device: EnrolledDevice, status: DeviceStatus, *, reason: str, at: datetime) -> None:
        """Block or allow a device; `reason` and `at` are stored for a blocked one. Raises ChangedMeanwhile."""
        ...

    def has_key_index(self) -> bool:
        """Whether there is an index by key. It need not have all keys: see `RegistryState`."""
        ...

    def has_batch_index(self) -> bool:
        """Whether there is an index by batch."""
        ...

    def holders_of(self, fingerprints: Collection[str]) -> Mapping[str, Collection[str]]:
        """Return the devices that hold each key, by the index (eventually consistent).

        Keys without a holder are left out.
        """
        ...

    def put_batch(self, batch: Batch) -> None:
        """Write a batch's record, over an earlier one."""
        ...

    def batches(self, batch_ids: Collection[str]) -> Mapping[str, Batch]:
        """Return the records of batches, read consistently; missing ones are left out."""
        ...

    def batch_ids(self) -> Sequence[str]:
        """Return the ids of all batches."""
        ...

    def state(self) -> RegistryState:
        """Return the registry's state, read consistently; empty before the first import."""
        ...

    def open_import(self, batch_id: str) -> RegistryState:
        """Record an import as open, and return the new state. Opening it twice counts twice, which is harmless."""
        ...

    def close_import(self, batch_id: str) -> RegistryState:
        """Record an import as closed, and return the new state."""
        ...

    def mark_indexed(self, at: datetime | None) -> None:
        """Record when every device with a key was found to have `key-fingerprint`; None: some device lacks it."""
        ...


def save_batch(store: RegistryStore, batch: Batch) -> RegistryState:
    """Write a batch's record, open or close its import, and return the registry's new state.

    The record is written first. A process that dies between the two leaves a record that can be reverted.
    """
    store.put_batch(batch)
    return store.open_import(batch.id) if batch.state.is_open else store.close_import(batch.id)


def find_batch(store: RegistryStore, batch_id: str) -> Batch | None:
    """Return a batch's record, read consistently, or None."""
    return store.batches([batch_id]).get(batch_id)


def list_batches(store: RegistryStore) -> Sequence[Batch]:
    """Return all batches, the latest first."""
    return sorted(
        store.batches(store.batch_ids()).values(), key=lambda batch: (batch.started_at, batch.id), reverse=True
    )
