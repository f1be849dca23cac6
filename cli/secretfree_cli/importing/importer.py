"""An import: stage every row, refuse those that contradict each other, then write in chunks and account for all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import Final, Protocol

from secretfree.adapters.dynamodb.registry_items import EnrolledDevice, Item, Provenance
from secretfree.adapters.dynamodb.registry_table import BATCH_GET_KEYS, ChangedMeanwhile, RegistryTable
from secretfree.registry.decision import Verdict
from secretfree.registry.enrollment import KeyHolders, enroll_items

from secretfree_cli.importing.checking import check
from secretfree_cli.importing.checkpoint import Checkpoint, PendingRow, StagedRow, WrittenRow
from secretfree_cli.importing.key_holders import index_is_complete, put_down, read_holders
from secretfree_cli.importing.replaced_items import Former, FormerItems
from secretfree_cli.manifests.manifest import Gate, Manifest

CHUNK: Final = BATCH_GET_KEYS
UNINDEXED: Final = "unindexed"
"""Setting of a checkpoint: how many devices of the registry the index by key does not lead to."""
_STAGED_AT_ONCE: Final = 2_000
_RECORDED_AT_ONCE: Final = 1_000
_LOOKUPS_PER_SCANNED_ITEM: Final = 1 / 8
"""A lookup by key costs half a read unit (4 KB, eventually consistent), an item of some 250 bytes that is scanned
consistently a 16th: up to an eighth of the table's size in lookups is cheaper than reading the whole table."""
_TAKE_BACK_ATTEMPTS: Final = 5


class Progress(Protocol):
    """Is told how an import goes on."""

    def phase(self, name: str, total: int) -> None:
        """A phase begins; `total` is in its own unit."""
        ...

    def reached(self, done: int) -> None:
        """So much of the phase's total is done."""
        ...


def stage(manifests: Sequence[Manifest], gate: Gate, checkpoint: Checkpoint, progress: Progress) -> None:
    """Check every row of `manifests` and keep it in `checkpoint`, going on where an interrupted staging stopped.

    Raises: ManifestError where a manifest cannot be read as a whole; nothing was written to the table then.
    """
    if checkpoint.setting("staged"):
        return
    progress.phase("checking", sum(manifest.size for manifest in manifests))
    rows = _rows(manifests, gate, skip=checkpoint.staged(), progress=progress)
    while some := list(islice(rows, _STAGED_AT_ONCE)):
        checkpoint.stage(some)
    checkpoint.refuse_duplicates()
    checkpoint.keep("staged", value=True)


def write(
    checkpoint: Checkpoint,
    table: RegistryTable,
    progress: Progress,
    *,
    provenance: Sequence[Provenance],
    replace_reason: str | None,
    reverting: Collection[str],
    parallelism: int,
    dry_run: bool = False,
) -> None:
    """Bring every staged row without an outcome to one; with `dry_run`, to the one that it would have.

    `provenance` is of the manifests, by their positions; they are all of one batch. For `reverting` see `decide`.

    Raises: TableBusy, botocore's ClientError; the checkpoint has what was done, a resumed import does the rest.
    """
    total = checkpoint.count_pending()
    if not total:
        return
    holders = _holders(checkpoint, table, progress, expected=total, dry_run=dry_run)
    progress.phase("comparing" if dry_run else "writing", total)

    def enroll(rows: Sequence[PendingRow], known: KeyHolders) -> Sequence[Verdict]:
        items = [row.record.item(provenance[row.file]) for row in rows]
        return enroll_items(
            items,
            table=table,
            holders=known,
            replace_reason=replace_reason,
            reverting=reverting,
            dry_run=dry_run,
        )

    done = 0
    finished: list[tuple[int, Verdict]] = []
    with ThreadPoolExecutor(parallelism, thread_name_prefix="enroll") as pool:
        running = _Chunks()
        try:
            for rows in checkpoint.pending(CHUNK):
                running.add(pool.submit(enroll, rows, holders(rows)), [row.ordinal for row in rows])
                while len(running) > 2 * parallelism:
                    finished += running.next_results()
                if len(finished) >= _RECORDED_AT_ONCE:
                    done += _record(checkpoint, finished)
                    progress.reached(done)
            while running:
                finished += running.next_results()
        finally:
            finished += running.last_results()
            done += _record(checkpoint, finished)
            progress.reached(done)


def settle(
    checkpoint: Checkpoint, table: RegistryTable, progress: Progress, *, batch_id: str, parallelism: int
) -> None:
    """Look at the whole table once more, and take back what this import wrote of keys that another device holds too.

    For an import beside which others were open (`registry_state`): its first look is as old as its beginning. Of two
    devices with one key both may be taken back, each by its own import; rows that contradict each other in one file
    are all refused as well.

    Raises: TableBusy, ChangedMeanwhile, botocore's ClientError; a resumed import does the rest.
    """
    progress.phase("rechecking", max(table.item_count(), 1))
    put_down(table, read_holders(checkpoint, table, progress.reached))
    checkpoint.refuse_contested()
    formers = FormerItems(table, checkpoint)
    with ThreadPoolExecutor(parallelism, thread_name_prefix="take-back") as pool:
        while rows := checkpoint.to_take_back(CHUNK):
            items = table.read_items([row.device_id for row in rows])
            ours = [
                (row, items[row.device_id]) for row in rows if _is_as_written(items.get(row.device_id), row, batch_id)
            ]
            given = formers.of([item for _, item in ours])
            taking = [
                pool.submit(_take_back, table, row, item, former, batch_id)
                for (row, item), former in zip(ours, given, strict=True)
            ]
            for one in taking:
                one.result()
            checkpoint.taken_back(rows)


class _Chunks:
    """The chunks under way, each with the ordinals of its rows."""

    def __init__(self) -> None:
        self._ordinals: dict[Future[Sequence[Verdict]], Sequence[int]] = {}
        self._through: SimpleQueue[Future[Sequence[Verdict]]] = SimpleQueue()

    def __len__(self) -> int:
        return len(self._ordinals)

    def add(self, chunk: Future[Sequence[Verdict]], ordinals: Sequence[int]) -> None:
        self._ordinals[chunk] = ordinals
        chunk.add_done_callback(self._through.put)

    def next_results(self) -> Iterator[tuple[int, Verdict]]:
        """Wait for a chunk to be through and take its rows out; raises what was raised in it."""
        chunk = self._through.get()
        verdicts = chunk.result()
        return zip(self._ordinals.pop(chunk), verdicts, strict=True)

    def last_results(self) -> Iterator[tuple[int, Verdict]]:
        """After a failure: begin no other chunk, and wait for what the threads still bring to an end."""
        for chunk in self._ordinals:
            chunk.cancel()
        for chunk, ordinals in self._ordinals.items():
            if not chunk.cancelled() and chunk.exception() is None:
                yield from zip(ordinals, chunk.result(), strict=True)


@dataclass(frozen=True, slots=True)
class _Known:
    """Holders that were found beforehand, for one chunk."""

    holders: Mapping[str, Collection[str]]

    def holders_of(self, fingerprints: Collection[str]) -> Mapping[str, Collection[str]]:  # noqa: ARG002 - the port
        return self.holders


def _rows(manifests: Sequence[Manifest], gate: Gate, *, skip: int, progress: Progress) -> Iterator[StagedRow]:
    before, first = 0, 1
    for position, manifest in enumerate(manifests):
        entries = manifest.entries()
        passed_over = sum(1 for _ in islice(entries, max(0, skip + 1 - first)))
        first += passed_over
        for row in check(entries, manifest, gate, first=first, file=position):
            yield row
            first = row.ordinal + 1
            if row.ordinal % _STAGED_AT_ONCE == 0:
                progress.reached(before + manifest.consumed)
        before += manifest.size
        progress.reached(before)


def _holders(
    checkpoint: Checkpoint, table: RegistryTable, progress: Progress, *, expected: int, dry_run: bool
) -> Callable[[Sequence[PendingRow]], KeyHolders]:
    """Return how to find the holders of a chunk's keys: each by the index, or all from one reading of the table.

    The index serves only where it is known to have every key. A table of an existing deployment may have no index, or
    items without `key-fingerprint`, which the index passes over: there the whole table is read, however few the rows,
    so that the answer does not depend on their number.
    """
    size = table.item_count()
    if expected < size * _LOOKUPS_PER_SCANNED_ITEM and index_is_complete(table):
        return lambda _rows: table
    progress.phase("reading", max(size, 1))
    read = read_holders(checkpoint, table, progress.reached)
    checkpoint.keep(UNINDEXED, read.unindexed)
    if not dry_run:
        put_down(table, read)

    def known(rows: Sequence[PendingRow]) -> KeyHolders:
        fingerprints = [row.record.fingerprint for row in rows if row.record.fingerprint is not None]
        return _Known(checkpoint.holders_of(fingerprints))

    return known


def _is_as_written(item: Item | None, row: WrittenRow, batch_id: str) -> bool:
    if item is None or item.get("batch", {}).get("S") != batch_id:
        return False
    return EnrolledDevice.from_item(item).fingerprint == row.fingerprint


def _take_back(table: RegistryTable, row: WrittenRow, item: Item, former: Former, batch_id: str) -> None:
    """Take an item back. Somebody may change it just then, by blocking its device: as long as it is ours, it goes."""
    for _ in range(_TAKE_BACK_ATTEMPTS):
        try:
            if former.item is None or former.taken_by is not None:
                table.delete_exactly(item)
            else:
                table.put_over(former.item, item)
        except ChangedMeanwhile:
            found = table.read_items([row.device_id]).get(row.device_id)
            if found is None or not _is_as_written(found, row, batch_id):
                return
            item, former = found, former.under(found)
        else:
            return
    raise ChangedMeanwhile(f"device {row.device_id!a} is changed over and over by somebody else")


def _record(checkpoint: Checkpoint, finished: list[tuple[int, Verdict]]) -> int:
    checkpoint.record(finished)
    recorded = len(finished)
    finished.clear()
    return recorded
