"""Finds the devices that hold a key, for imports of files, the bench, scanners and the cloud."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from secretfree.clock import Clock
from secretfree.registry.store import RegistryStore

_READ = ("device-id", "key-fingerprint", "pubkey")


class HolderLookup(Protocol):
    """Finds the devices that hold a key."""

    def holders_of(self, fingerprints: Collection[str]) -> Mapping[str, Collection[str]]:
        """Return the holders by key; keys without a holder are left out."""
        ...


class HolderNotes(Protocol):
    """Keeps the holders from one reading of the whole registry. For one thread."""

    def start_holders(self) -> None:
        """Forget all."""
        ...

    def add_holders(self, held: Iterable[tuple[str, str]]) -> None:
        """Keep pairs of fingerprint and device id."""
        ...

    def finish_holders(self) -> None:
        """Index the kept pairs."""
        ...

    def holders_of(self, fingerprints: Collection[str]) -> Mapping[str, Collection[str]]:
        """Return the holders by key; keys without a holder are left out."""
        ...


@dataclass(frozen=True, slots=True)
class KnownHolders:
    """Holders that were looked up beforehand."""

    found: Mapping[str, Collection[str]]

    def holders_of(self, fingerprints: Collection[str]) -> Mapping[str, Collection[str]]:  # noqa: ARG002 - the port
        """Return them."""
        return self.found


class KeyHolders:
    """Finds the holders of keys: by the index where it is complete, else by one reading of the whole registry.

    The index is used only if it is known to have every key. A table of an existing deployment may have no index, or
    records without `key-fingerprint`, which the index lacks. Then the whole registry is read, whatever the number of
    rows. For one thread.
    """

    def __init__(
        self,
        store: RegistryStore,
        notes: Callable[[], HolderNotes],
        *,
        clock: Clock,
        reached: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`notes` creates the store for a reading; `reached` is called with the number of devices read."""
        self._store = store
        self._make_notes = notes
        self._clock = clock
        self._reached = reached
        self._notes: HolderNotes | None = None
        self._by_index: bool | None = None
        self.unindexed = 0
        """Number of devices with a key that are missing in the index, as far as a reading found any."""

    @property
    def by_index(self) -> bool:
        """Whether the index is used."""
        if self._by_index is None:
            self._by_index = index_is_complete(self._store)
        return self._by_index

    def holders_of(self, fingerprints: Collection[str]) -> Mapping[str, Collection[str]]:
        """Return the holders by key; keys without a holder are left out."""
        return self.lookup_for(fingerprints).holders_of(fingerprints) if fingerprints else {}

    def lookup_for(self, fingerprints: Collection[str]) -> HolderLookup:
        """Return a lookup of these keys for other threads."""
        if self.by_index:
            return self._store
        return KnownHolders(self._read().holders_of(fingerprints))

    def note(self, fingerprint: str | None, device_id: str) -> None:
        """Add a holder that was enrolled after the reading."""
        if self._notes is not None and fingerprint is not None:
            self._notes.add_holders([(fingerprint, device_id)])

    def read_now(self) -> None:
        """Read the whole registry now, even where the index is complete."""
        self._by_index = False
        self._read()

    def record_completeness(self) -> None:
        """Record in the registry whether its index has every key, if the reading found a change."""
        if self._notes is not None:
            record_completeness(self._store, self.unindexed, clock=self._clock)

    def _read(self) -> HolderNotes:
        if self._notes is None:
            self._notes = self._make_notes()
            self.unindexed = _read_holders(self._store, self._notes, self._reached)
        return self._notes


def index_is_complete(store: RegistryStore) -> bool:
    """Whether the index by key exists and is known to have every device that holds one."""
    return store.has_key_index() and store.state().is_indexed


def record_completeness(store: RegistryStore, unindexed: int, *, clock: Clock) -> None:
    """Record in the registry whether its index has every key, given the number of devices that are missing in it."""
    known = store.state().is_indexed
    if known and unindexed:
        store.mark_indexed(None)
    elif not known and not unindexed:
        store.mark_indexed(clock.now())


def count_unindexed(store: RegistryStore) -> int:
    """Read the whole registry and return the number of devices with a key that are missing in the index."""
    pages = store.devices(only=_READ, consistent=True)
    return sum(not device.key_is_indexed for page in pages for device in page)


def _read_holders(store: RegistryStore, notes: HolderNotes, reached: Callable[[int], None]) -> int:
    notes.start_holders()
    read = unindexed = 0
    for page in store.devices(only=_READ, consistent=True):
        notes.add_holders((one.fingerprint, one.device_id) for one in page if one.fingerprint is not None)
        unindexed += sum(not device.key_is_indexed for device in page)
        read += len(page)
        reached(read)
    notes.finish_holders()
    return unindexed
