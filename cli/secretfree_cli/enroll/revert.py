"""Undoing a batch: its devices go, those whose key it replaced get their former item back, all else stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum

from secretfree.enrollment.batch import Batch, BatchState, members, save_batch
from secretfree.enrollment.items import EnrolledDevice, Item
from secretfree.enrollment.table import BATCH_GET_KEYS, ChangedMeanwhile, RegistryTable, chunks
from secretfree.registry import DeviceStatus

from secretfree_cli.enroll.devices import active_certificates
from secretfree_cli.enroll.importer import Progress
from secretfree_cli.enroll.ledger_view import LedgerView

_MOST_PASSES = 5
"""The index by batch is eventually consistent: a pass that finds nothing left ends it, usually the second."""


class Undone(StrEnum):
    """What became of a device of the batch."""

    REMOVED = "removed"
    RESTORED = "restored"
    """It was enrolled before, with another key, which it has again."""
    KEPT = "kept"
    """It has an active certificate."""
    CHANGED = "changed"
    """It is no longer of the batch, or was changed at that very moment."""


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
    certificate stay, unless `force`.

    Raises: CliError where there is no ledger to ask and no `force`; TableBusy, botocore's ClientError
    """
    save_batch(table, replace(batch, state=BatchState.REVERTING))
    expected = batch.counts.get("enrolled", 0) + batch.counts.get("replaced", 0)
    progress.phase("reverting", expected)
    undone: Counter[str] = Counter({outcome.value: 0 for outcome in Undone})
    kept: set[str] = set()
    with ThreadPoolExecutor(parallelism, thread_name_prefix="revert") as pool:

        def undo_all(ids: Sequence[str]) -> Sequence[tuple[str, Undone]]:
            items = table.read_items(ids)
            own = [item for item in items.values() if item.get("batch", {}).get("S") == batch.id]
            return list(pool.map(lambda item: (item["device-id"]["S"], _undo(table, ledger, item, force=force)), own))

        for _ in range(_MOST_PASSES):
            touched = 0
            for page in members(table, batch.id):
                for ids in chunks([device_id for device_id in page if device_id not in kept], BATCH_GET_KEYS):
                    for device_id, outcome in undo_all(ids):
                        undone[outcome.value] += 1
                        touched += 1
                        if outcome in {Undone.KEPT, Undone.CHANGED}:
                            kept.add(device_id)
                    progress.reached(undone.total())
            if not touched:
                break
    state = BatchState.REVERTING if undone[Undone.CHANGED] else BatchState.REVERTED
    counts = {**batch.counts, **{f"revert-{name}": number for name, number in undone.items() if number}}
    save_batch(table, batch.finished(state, datetime.now(UTC), counts))
    return dict(undone)


def _undo(table: RegistryTable, ledger: LedgerView, item: Item, *, force: bool) -> Undone:
    if not force and active_certificates(ledger, item["device-id"]["S"]):
        return Undone.KEPT
    former = item.get("replaced", {}).get("M")
    try:
        if former is None:
            table.delete_exactly(item)
            return Undone.REMOVED
        table.put_over({**former, **_block_since(item)}, item)
    except ChangedMeanwhile:
        return Undone.CHANGED
    return Undone.RESTORED


def _block_since(item: Item) -> Item:
    """What keeps a device blocked that was blocked under the batch's key: another key, the former too, is no pardon."""
    if EnrolledDevice.from_item(item).status is DeviceStatus.ALLOWED:
        return {}
    kept = {name: item[name] for name in ("blocked-reason", "blocked-at") if name in item}
    return {**kept, "status": {"S": DeviceStatus.BLOCKED.value}}
