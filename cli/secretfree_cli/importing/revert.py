"""Reverts a batch: removes its devices, and restores the former record of each device whose key it replaced."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

from secretfree.adapters.dynamodb.registry_table import BATCH_GET_KEYS, EXACT_CHANGES, chunks
from secretfree.clock import SystemClock
from secretfree.registry.batch import Batch, BatchState
from secretfree.registry.device import EnrolledDevice
from secretfree.registry.key_holders import KeyHolders
from secretfree.registry.store import RegistryStore, list_batches, save_batch

from secretfree_cli.devices.enrolled import active_certificates
from secretfree_cli.devices.ledger_view import LedgerView
from secretfree_cli.importing.checkpoint import Checkpoint
from secretfree_cli.importing.former_records import Former, FormerRecords
from secretfree_cli.importing.importer import Progress

_MOST_PASSES: Final = 5
"""The index by batch is eventually consistent: a pass that finds no device ends the revert, usually the second one."""


class Undone(StrEnum):
    """The outcome for a device of the batch."""

    REMOVED = "removed"
    RESTORED = "restored"
    """It was enrolled before with another key, which is restored."""
    REMOVED_FORGOTTEN = "removed-former-forgotten"
    """It was enrolled before, but after many replacements its former key is no longer kept."""
    KEPT = "kept"
    """It has an active certificate."""
    FORMER_KEY_TAKEN = "former-key-taken"
    """Another device now has its former key, so the device stays unchanged."""
    UNREADABLE = "unreadable"
    """Its record, or a former one, cannot be read, so the device stays unchanged."""
    CHANGED = "changed"
    """It no longer belongs to the batch, or was changed at the same time."""
    REPLACED_SINCE = "replaced-since"
    """A later batch replaced its key. The new key stays until that batch is reverted too."""


STAYING: Final = (Undone.KEPT, Undone.FORMER_KEY_TAKEN, Undone.UNREADABLE, Undone.CHANGED)
"""Outcomes of devices that still belong to the batch."""


@dataclass
class Reverted:
    """The number of devices by `Undone`, and the ids of those that cannot be read."""

    counts: Counter[str] = field(default_factory=lambda: Counter({outcome.value: 0 for outcome in Undone}))
    unreadable: list[str] = field(default_factory=list)


def revert(
    store: RegistryStore,
    ledger: LedgerView,
    batch: Batch,
    progress: Progress,
    *,
    force: bool = False,
    parallelism: int = 8,
) -> Reverted:
    """Revert `batch` and return the outcomes of its devices. Safe to repeat and to resume.

    Only records that still belong to the batch are changed, including blocked devices: they are removed, or get their
    former key back and stay blocked. Devices with an active certificate stay, unless `force`. A record of a reverted
    batch is not restored. An unreadable record stays unchanged.

    Imports that overlap with the revert detect it and read the registry again when they end (`RegistryState`). An
    import that gives another device a key that is restored here later, and ends before that, is not detected.

    Raises: CliError if there is no ledger and no `force`; RegistryBusy, the store's errors
    """
    save_batch(store, replace(batch, state=BatchState.REVERTING))
    progress.phase("reverting", batch.counts.get("enrolled", 0) + batch.counts.get("replaced", 0))
    reverted = Reverted()
    undone, staying = reverted.counts, set[str]()
    with _holders(store) as holders, ThreadPoolExecutor(parallelism, thread_name_prefix="revert") as pool:
        formers = FormerRecords(store, holders)
        undo = partial(_undo, store, formers, pool, batch, ledger=None if force else ledger)
        for _ in range(_MOST_PASSES):
            touched = 0
            for page in store.members(batch.id):
                for ids in chunks([device_id for device_id in page if device_id not in staying], BATCH_GET_KEYS):
                    for device_id, outcome in undo(ids).items():
                        undone[outcome.value] += 1
                        touched += 1
                        if outcome in STAYING:
                            staying.add(device_id)
                        if outcome is Undone.UNREADABLE:
                            reverted.unreadable.append(device_id)
                    progress.reached(undone.total())
            if not touched:
                break
    undone[Undone.REPLACED_SINCE.value] = sum(_has_former_of(batch, device) for device in _replaced_since(store, batch))
    state = BatchState.REVERTING if undone[Undone.CHANGED] else BatchState.REVERTED
    counts = {**batch.counts, **{f"revert-{name}": number for name, number in undone.items() if number}}
    save_batch(store, batch.finished(state, datetime.now(UTC), counts))
    return reverted


def _undo(
    store: RegistryStore,
    formers: FormerRecords,
    pool: Executor,
    batch: Batch,
    ids: Sequence[str],
    *,
    ledger: LedgerView | None,
) -> Mapping[str, Undone]:
    """Undo those of `ids` that belong to the batch. Without a ledger, certificates are not checked."""
    own = [device for device in store.read(ids).values() if device.batch == batch.id]
    has_certificate = pool.map(partial(_is_certified, ledger), own) if ledger else [False] * len(own)
    outcomes: dict[str, Undone] = {}
    undoing: list[tuple[EnrolledDevice, EnrolledDevice | None]] = []
    for device, former, certified in zip(own, formers.of(own), has_certificate, strict=True):
        outcomes[device.device_id] = _outcome(former, has_certificate=certified)
        if outcomes[device.device_id] not in STAYING:
            undoing.append((device, former.record))
    for changed in pool.map(store.give_way, chunks(undoing, EXACT_CHANGES)):
        outcomes |= dict.fromkeys(changed, Undone.CHANGED)
    return outcomes


def _outcome(former: Former, *, has_certificate: bool) -> Undone:
    """The outcome for a device, if its record does not change before the write."""
    if former.unreadable:
        return Undone.UNREADABLE
    if has_certificate:
        return Undone.KEPT
    if former.taken_by is not None:
        return Undone.FORMER_KEY_TAKEN
    if former.record is None:
        return Undone.REMOVED_FORGOTTEN if former.forgotten else Undone.REMOVED
    return Undone.RESTORED


def _is_certified(ledger: LedgerView, device: EnrolledDevice) -> bool:
    return bool(active_certificates(ledger, device.device_id))


def _replaced_since(store: RegistryStore, batch: Batch) -> Iterator[EnrolledDevice]:
    """Yield the devices that may have replaced a key of the batch: those of later batches with replacements."""
    if not store.has_batch_index():
        for page in store.devices(only=("device-id", "replaced")):
            yield from page
        return
    for later in list_batches(store):
        if later.replace_reason is not None and later.id != batch.id and later.started_at >= batch.started_at:
            for ids in store.members(later.id):
                yield from store.read(ids).values()


def _has_former_of(batch: Batch, device: EnrolledDevice) -> bool:
    return any(record.batch == batch.id for record in device.former)


@contextmanager
def _holders(store: RegistryStore) -> Iterator[KeyHolders]:
    """Return the lookup of the holders of former keys, of which there are few or none."""
    with ExitStack() as kept:
        yield KeyHolders(store, notes_in(kept), clock=SystemClock())


def notes_in(kept: ExitStack) -> Callable[[], Checkpoint]:
    """Return a factory of files for the holders of a whole registry. `kept` removes them."""

    def notes() -> Checkpoint:
        folder = kept.enter_context(tempfile.TemporaryDirectory(prefix="secretfree-"))
        return kept.enter_context(Checkpoint(Path(folder, "holders")))

    return notes
