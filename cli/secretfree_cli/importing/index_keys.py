"""Adds `key-fingerprint` to records of an existing deployment, so that a lookup by key finds them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from secretfree.clock import SystemClock
from secretfree.registry.device import EnrolledDevice
from secretfree.registry.key_holders import record_completeness
from secretfree.registry.store import ChangedMeanwhile, RegistryStore

from secretfree_cli.importing.importer import Progress

_READ = ("device-id", "pubkey", "key-fingerprint", "status", "batch")
"""The attributes that a conditional change compares, so that no record gets another key's fingerprint."""


@dataclass
class Indexing:
    """The result: numbers of devices, and the ids of those that need attention."""

    devices: int = 0
    indexed: int = 0
    """They lacked a fingerprint and have one now, or would get one without `dry_run`."""
    keyless: int = 0
    """Enrolled without a key, for match policy UDID: no lookup by key finds them."""
    unreadable: list[str] = field(default_factory=list)
    """Their key cannot be read, or is not the one of their fingerprint; the runtime refuses them."""
    changed: list[str] = field(default_factory=list)
    """Another writer changed them at the same time."""

    def document(self) -> Mapping[str, object]:
        """Return it for `--json`."""
        return {
            "devices": self.devices,
            "indexed": self.indexed,
            "keyless": self.keyless,
            "unreadable": self.unreadable,
            "changed": self.changed,
        }


def index_keys(store: RegistryStore, progress: Progress, *, dry_run: bool = False, parallelism: int = 8) -> Indexing:
    """Read the whole registry, add the missing fingerprints, and record whether none is missing.

    Safe to repeat, and with concurrent writers: a record is changed only if it still has the key that was read.

    Raises: the store's errors; added fingerprints stay, and another run adds the rest
    """
    done = Indexing()
    progress.phase("indexing", max(store.size(), 1))

    def add(device: EnrolledDevice) -> bool:
        if dry_run:
            return True
        try:
            store.record_fingerprint(device)
        except ChangedMeanwhile:
            return False
        return True

    with ThreadPoolExecutor(parallelism, thread_name_prefix="index") as pool:
        for devices in store.devices(only=_READ, consistent=True):
            done.devices += len(devices)
            done.keyless += sum(not one.holds_key and not one.fingerprint_recorded for one in devices)
            done.unreadable += [one.device_id for one in devices if one.fingerprint is None and one.holds_key]
            lacking = [one for one in devices if not one.key_is_indexed]
            for device, added in zip(lacking, pool.map(add, lacking), strict=True):
                if added:
                    done.indexed += 1
                else:
                    done.changed.append(device.device_id)
            progress.reached(done.devices)
    if not dry_run:
        record_completeness(store, len(done.changed), clock=SystemClock())
    return done
