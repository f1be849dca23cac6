"""Undoing a batch: its devices go, those whose key it replaced get their former item back, all else stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum

from secretfree.adapters.dynamodb.registry_items import Item
from secretfree.adapters.dynamodb.registry_table import (
    BATCH_GET_KEYS,
    BATCH_INDEX,
    ChangedMeanwhile,
    RegistryTable,
    chunks,
)
from secretfree.registry.batch import Batch, BatchState, list_batches, members, save_batch

from secretfree_cli.devices.enrolled import active_certificates
from secretfree_cli.devices.ledger_view import LedgerView
from secretfree_cli.importing.importer import Progress
from secretfree_cli.importing.key_holders import Holders
from secretfree_cli.importing.replaced_items import Former, FormerItems, replaced_items

_MOST_PASSES = 5
"""The index by batch is eventually consistent: a pass that finds nothing left ends it, usually the second."""


class Undone(StrEnum):
    """What became of a device of the batch."""

    REMOVED = "removed"
    RESTORED = "restored"
    """It was enrolled before, with another key, which it has again."""
    KEPT = "kept"
    """It has an active certificate."""
    FORMER_KEY_TAKEN = "former-key-taken"
    """Its former key is another device's by now: it stays as the batch left it."""
    CHANGED = "changed"
    """It is no longer of the batch, or was changed at that very moment."""
    REPLACED_SINCE = "replaced-since"
    """A later batch gave it another key: it stays with that one, and goes, too, if that batch is reverted."""


STAYING = (Undone.KEPT, Undone.FORMER_KEY_TAKEN, Undone.CHANGED)
"""Those that are of the batch as before."""


def revert(
    table: RegistryTable,
    ledger: LedgerView,
    batch: Batch,
    progress: Progress,
    *,
    force: bool = False,
    parallelism: int = 8,
) -> Mapping[str, int]:
    """Undo `batch` and return how many devices it was for each `Undone`. Safe to repeat, and to go on with.

    Only items that still are of the batch are touched. Blocking is no change of that: a device that the batch brought
    goes even if it was blocked since, and one that gets its former key back stays blocked. Devices with an active
    certificate stay, unless `force`. What a batch brought that was itself reverted does not come back.

    Imports that run at the same time learn of it and look again when they end (`registry_state`). One that gives
    another device a key that comes back here, and ends before that, is not noticed.

    Raises: CliError where there is no ledger to ask and no `force`; TableBusy, botocore's ClientError
    """
    save_batch(table, replace(batch, state=BatchState.REVERTING))
    expected = batch.counts.get("enrolled", 0) + batch.counts.get("replaced", 0)
    progress.phase("reverting", expected)
    undone: Counter[str] = Counter({outcome.value: 0 for outcome in Undone})
    kept: set[str] = set()
    with Holders(table) as holders, ThreadPoolExecutor(parallelism, thread_name_prefix="revert") as pool:
        formers = FormerItems(table, holders)

        def undo_all(ids: Sequence[str]) -> Sequence[tuple[str, Undone]]:
            items = table.read_items(ids)
            own = [item for item in items.values() if item.get("batch", {}).get("S") == batch.id]
            undoing = [
                (item["device-id"]["S"], pool.submit(_undo, table, ledger, item, former, force=force))
                for item, former in zip(own, formers.of(own), strict=True)
            ]
            return [(device_id, one.result()) for device_id, one in undoing]

        for _ in range(_MOST_PASSES):
            touched = 0
            for page in members(table, batch.id):
                for ids in chunks([device_id for device_id in page if device_id not in kept], BATCH_GET_KEYS):
                    for device_id, outcome in undo_all(ids):
                        undone[outcome.value] += 1
                        touched += 1
                        if outcome in STAYING:
                            kept.add(device_id)
                    progress.reached(undone.total())
            if not touched:
                break
    undone[Undone.REPLACED_SINCE.value] = sum(_came_with(batch, item) for item in _replacements_since(table, batch))
    state = BatchState.REVERTING if undone[Undone.CHANGED] else BatchState.REVERTED
    counts = {**batch.counts, **{f"revert-{name}": number for name, number in undone.items() if number}}
    save_batch(table, batch.finished(state, datetime.now(UTC), counts))
    return dict(undone)


def _undo(table: RegistryTable, ledger: LedgerView, item: Item, former: Former, *, force: bool) -> Undone:
    if not force and active_certificates(ledger, item["device-id"]["S"]):
        return Undone.KEPT
    if former.taken_by is not None:
        return Undone.FORMER_KEY_TAKEN
    try:
        if former.item is None:
            table.delete_exactly(item)
            return Undone.REMOVED
        table.put_over(former.item, item)
    except ChangedMeanwhile:
        return Undone.CHANGED
    return Undone.RESTORED


def _replacements_since(table: RegistryTable, batch: Batch) -> Iterator[Item]:
    """Yield the items that may have replaced one of the batch: those of later batches that replaced any."""
    if BATCH_INDEX not in table.indexes():
        for page in table.scan(attributes=("device-id", "replaced")):
            yield from page
        return
    for later in list_batches(table):
        if later.replace_reason is not None and later.id != batch.id and later.started_at >= batch.started_at:
            for ids in table.batch_members(later.id):
                yield from table.read_items(ids).values()


def _came_with(batch: Batch, item: Item) -> bool:
    return any(former.get("batch", {}).get("S") == batch.id for former in replaced_items(item))
