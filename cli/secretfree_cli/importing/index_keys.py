"""Adding `key-fingerprint` to items of an existing deployment, so that a lookup by key leads to them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from secretfree.adapters.dynamodb.registry_items import EnrolledDevice, is_device
from secretfree.adapters.dynamodb.registry_table import ChangedMeanwhile, RegistryTable

from secretfree_cli.importing.importer import Progress
from secretfree_cli.importing.key_holders import TableRead, put_down

_READ = ("device-id", "pubkey", "key-fingerprint", "status", "batch")
"""What a conditional change compares, so that no key is given another's fingerprint."""


@dataclass
class Indexing:
    """What was found and done: numbers of devices, and the ids of those that somebody has to look at."""

    devices: int = 0
    indexed: int = 0
    """They lacked their fingerprint and have it now; in a dry run, would have it."""
    keyless: int = 0
    """Enrolled without a key, for match policy UDID: there is nothing to find them by."""
    unreadable: list[str] = field(default_factory=list)
    """Their key cannot be read, or is not the one of their fingerprint; the runtime refuses them."""
    changed: list[str] = field(default_factory=list)
    """Somebody changed them at that moment."""

    def document(self) -> Mapping[str, object]:
        """Return it for `--json`."""
        return {
            "devices": self.devices,
            "indexed": self.indexed,
            "keyless": self.keyless,
            "unreadable": self.unreadable,
            "changed": self.changed,
        }


def index_keys(table: RegistryTable, progress: Progress, *, dry_run: bool = False, parallelism: int = 8) -> Indexing:
    """Read the whole table, add the fingerprints that are missing, and put down that none is, if so.

    Safe to repeat, and beside anything: an item is changed only while it has the key that was read.

    Raises: botocore's ClientError; what was added stays, and another run adds the rest
    """
    done = Indexing()
    read = 0
    progress.phase("indexing", max(table.item_count(), 1))

    def add(device: EnrolledDevice) -> bool:
        if dry_run:
            return True
        try:
            table.update(device.item, {"key-fingerprint": {"S": device.fingerprint}})
        except ChangedMeanwhile:
            return False
        return True

    with ThreadPoolExecutor(parallelism, thread_name_prefix="index") as pool:
        for page in table.scan(attributes=_READ, consistent=True):
            devices = [EnrolledDevice.from_item(item) for item in page if is_device(item)]
            done.devices += len(devices)
            done.keyless += sum("pubkey" not in one.item and not one.has_fingerprint_attribute for one in devices)
            done.unreadable += [one.device_id for one in devices if one.fingerprint is None and "pubkey" in one.item]
            lacking = [one for one in devices if one.fingerprint is not None and not one.has_fingerprint_attribute]
            for device, added in zip(lacking, pool.map(add, lacking), strict=True):
                if added:
                    done.indexed += 1
                else:
                    done.changed.append(device.device_id)
            read += len(page)
            progress.reached(read)
    if not dry_run:
        put_down(table, TableRead(unindexed=len(done.changed)))
    return done
