"""An import: stages every row, refuses contradicting ones, writes the others in chunks, and accounts for all."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import Final, Protocol

from secretfree.adapters.dynamodb.registry_table import BATCH_GET_KEYS
from secretfree.clock import SystemClock
from secretfree.registry.decision import Verdict
from secretfree.registry.device import EnrolledDevice, Provenance
from secretfree.registry.enrollment import enroll_devices
from secretfree.registry.gate import Gate
from secretfree.registry.key_holders import HolderLookup, KeyHolders
from secretfree.registry.store import ChangedMeanwhile, RegistryStore

from secretfree_cli.importing.checking import check, encodable
from secretfree_cli.importing.checkpoint import Checkpoint, StagedRow
from secretfree_cli.importing.former_records import Former, FormerRecords
from secretfree_cli.manifests.manifest import Manifest

CHUNK: Final = BATCH_GET_KEYS
UNINDEXED: Final = "unindexed"
"""Setting of a checkpoint: number of devices in the registry that the index by key lacks."""
REMARKS: Final = "remarks"
"""Setting of a checkpoint: remarks of the summary about the manifests."""
NOT_READ: Final = "not-read"
"""Setting of a checkpoint: the files and folders that were not read, each with its folder."""
_STAGED_AT_ONCE: Final = 2_000
_RECORDED_AT_ONCE: Final = 1_000
_LOOKUPS_PER_SCANNED_ITEM: Final = 1 / 8
"""A lookup by key costs half a read unit (4 KB, eventually consistent). A consistent scan costs a 16th for an item of
some 250 bytes. So lookups for up to an eighth of the table's items are cheaper than reading the whole table."""
_TAKE_BACK_ATTEMPTS: Final = 5


class Progress(Protocol):
    """Shows the progress of an import."""

    def phase(self, name: str, total: int) -> None:
        """Begin a phase; `total` is in the phase's own unit."""
        ...

    def reached(self, done: int) -> None:
        """Show the completed part of the total."""
        ...


def stage(manifests: Sequence[Manifest], gate: Gate, checkpoint: Checkpoint, progress: Progress) -> None:
    """Check every row of `manifests` and store it in `checkpoint`, after the last row of an interrupted staging.

    Raises: ManifestError if a manifest cannot be read. Then nothing was written to the table.
    """
    if checkpoint.setting("staged"):
        return
    progress.phase("checking", sum(manifest.size for manifest in manifests))
    rows = _rows(manifests, gate, skip=checkpoint.staged(), progress=progress)
    while some := list(islice(rows, _STAGED_AT_ONCE)):
        checkpoint.stage(some)
    checkpoint.refuse_duplicates()
    checkpoint.keep(REMARKS, [remark for manifest in manifests for remark in manifest.remarks])
    checkpoint.keep(NOT_READ, [encodable(name) for manifest in manifests for name in manifest.not_read])
    checkpoint.keep("staged", value=True)


def write(
    checkpoint: Checkpoint,
    store: RegistryStore,
    progress: Progress,
    *,
    provenance: Sequence[Provenance],
    replace_reason: str | None,
    reverting: Collection[str],
    parallelism: int,
    complete: bool = False,
    dry_run: bool = False,
) -> None:
    """Give every staged row its outcome; with `dry_run`, the expected one.

    `provenance` is that of each manifest; all are of one batch. For `reverting` and `complete` see `decide`.

    Raises: RegistryBusy, the store's errors. The checkpoint keeps the progress; a resumed import continues there.
    """
    total = checkpoint.count_pending()
    if not total:
        return
    holders = _holders(checkpoint, store, progress, expected=total, dry_run=dry_run)
    progress.phase("comparing" if dry_run else "writing", total)

    def enroll(rows: Sequence[StagedRow], known: HolderLookup) -> Sequence[Verdict]:
        return enroll_devices(
            [EnrolledDevice.newly(row.record, provenance[row.file]) for row in rows if row.record is not None],
            store=store,
            holders=known,
            replace_reason=replace_reason,
            reverting=reverting,
            complete=complete,
            dry_run=dry_run,
        )

    done = 0
    finished: list[tuple[int, Verdict]] = []
    with ThreadPoolExecutor(parallelism, thread_name_prefix="enroll") as pool:
        running = _Chunks()
        try:
            for rows in checkpoint.pending(CHUNK):
                lookup = holders.lookup_for(_fingerprints(rows))
                running.add(pool.submit(enroll, rows, lookup), [row.ordinal for row in rows])
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
    checkpoint: Checkpoint, store: RegistryStore, progress: Progress, *, batch_id: str, parallelism: int
) -> None:
    """Read the whole registry again, and remove written rows whose key another device holds too.

    For an import that overlapped with others (`RegistryState`), because its first reading is outdated. Of two devices
    with one key, both may be removed, each by its own import. Contradicting rows of one file are all refused as well.

    Raises: RegistryBusy, ChangedMeanwhile, the store's errors; a resumed import does the rest.
    """
    progress.phase("rechecking", max(store.size(), 1))
    holders = KeyHolders(store, lambda: checkpoint, clock=SystemClock(), reached=progress.reached)
    holders.read_now()
    holders.record_completeness()
    checkpoint.refuse_contested()
    formers = FormerRecords(store, checkpoint)
    with ThreadPoolExecutor(parallelism, thread_name_prefix="take-back") as pool:
        while rows := checkpoint.to_take_back(CHUNK):
            found = store.read([row.device_id or "" for row in rows])
            ours = [
                (row, device)
                for row in rows
                if (device := found.get(row.device_id or "")) is not None and _is_as_written(device, row, batch_id)
            ]
            given = formers.of([device for _, device in ours])
            taking = [
                pool.submit(_take_back, store, row, device, former, batch_id)
                for (row, device), former in zip(ours, given, strict=True)
            ]
            for one in taking:
                one.result()
            checkpoint.taken_back(rows)


class _Chunks:
    """The chunks in progress, each with the ordinals of its rows."""

    def __init__(self) -> None:
        self._ordinals: dict[Future[Sequence[Verdict]], Sequence[int]] = {}
        self._through: SimpleQueue[Future[Sequence[Verdict]]] = SimpleQueue()

    def __len__(self) -> int:
        return len(self._ordinals)

    def add(self, chunk: Future[Sequence[Verdict]], ordinals: Sequence[int]) -> None:
        self._ordinals[chunk] = ordinals
        chunk.add_done_callback(self._through.put)

    def next_results(self) -> Iterator[tuple[int, Verdict]]:
        """Wait for a chunk and return its rows; raises the chunk's exception."""
        chunk = self._through.get()
        verdicts = chunk.result()
        return zip(self._ordinals.pop(chunk), verdicts, strict=True)

    def last_results(self) -> Iterator[tuple[int, Verdict]]:
        """After a failure, cancel the chunks that have not begun and return the rows of the others."""
        for chunk in self._ordinals:
            chunk.cancel()
        for chunk, ordinals in self._ordinals.items():
            if not chunk.cancelled() and chunk.exception() is None:
                yield from zip(ordinals, chunk.result(), strict=True)


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
    checkpoint: Checkpoint, store: RegistryStore, progress: Progress, *, expected: int, dry_run: bool
) -> KeyHolders:
    """Return the lookup of the rows' keys: the index if that is cheaper, otherwise one read of the table."""
    size = store.size()
    holders = KeyHolders(store, lambda: checkpoint, clock=SystemClock(), reached=progress.reached)
    if expected < size * _LOOKUPS_PER_SCANNED_ITEM and holders.by_index:
        return holders
    progress.phase("reading", max(size, 1))
    holders.read_now()
    checkpoint.keep(UNINDEXED, holders.unindexed)
    if not dry_run:
        holders.record_completeness()
    return holders


def _fingerprints(rows: Sequence[StagedRow]) -> Sequence[str]:
    records = (row.record for row in rows)
    return [one.fingerprint for one in records if one is not None and one.fingerprint is not None]


def _is_as_written(device: EnrolledDevice, row: StagedRow, batch_id: str) -> bool:
    written = None if row.record is None else row.record.fingerprint
    return device.batch == batch_id and device.fingerprint == written


def _take_back(store: RegistryStore, row: StagedRow, device: EnrolledDevice, former: Former, batch_id: str) -> None:
    """Revert a record, even if its device is blocked at the same time."""
    for _ in range(_TAKE_BACK_ATTEMPTS):
        try:
            if former.record is None or former.taken_by is not None:
                store.remove(device)
            else:
                store.put_over(former.record, device)
        except ChangedMeanwhile:
            found = store.read([device.device_id]).get(device.device_id)
            if found is None or not _is_as_written(found, row, batch_id):
                return
            device, former = found, former.under(found)
        else:
            return
    raise ChangedMeanwhile(f"device {row.device_id!a} is repeatedly changed by another writer")


def _record(checkpoint: Checkpoint, finished: list[tuple[int, Verdict]]) -> int:
    checkpoint.record(finished)
    recorded = len(finished)
    finished.clear()
    return recorded
