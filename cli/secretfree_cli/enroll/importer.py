"""An import: stage every row, refuse those that contradict each other, then write in chunks and account for all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import count, dropwhile, islice
from typing import Final, Protocol

from secretfree.enrollment.decision import Verdict
from secretfree.enrollment.enroll import KeyHolders, enroll_items
from secretfree.enrollment.items import EnrolledDevice, Item, Provenance, is_device
from secretfree.enrollment.table import BATCH_GET_KEYS, KEY_INDEX, RegistryTable

from secretfree_cli.enroll.checking import check
from secretfree_cli.enroll.checkpoint import Checkpoint, StagedRow
from secretfree_cli.formats.manifest import Entry, Gate, Manifest

CHUNK: Final = BATCH_GET_KEYS
_STAGED_AT_ONCE: Final = 2_000
_RECORDED_AT_ONCE: Final = 1_000
_LOOKUPS_PER_SCANNED_ITEM: Final = 1 / 16
"""A lookup by key costs half a read unit (4 KB, eventually consistent), a scanned item of some 250 bytes a 32nd: up to
a sixteenth of the table's size in lookups is cheaper than reading the whole table."""


class Progress(Protocol):
    """Is told how an import goes on."""

    def phase(self, name: str, total: int) -> None:
        """A phase begins; `total` is in its own unit."""
        ...

    def reached(self, done: int) -> None:
        """So much of the phase's total is done."""
        ...


def stage(
    manifests: Sequence[Manifest],
    gate: Gate,
    provenance: Callable[[Manifest], Provenance],
    checkpoint: Checkpoint,
    progress: Progress,
) -> None:
    """Check every row of `manifests` and keep it in `checkpoint`, going on where an interrupted staging stopped.

    Raises: ManifestError where a manifest cannot be read as a whole; nothing was written to the table then.
    """
    if checkpoint.setting("staged"):
        return
    progress.phase("checking", sum(manifest.size for manifest in manifests))
    rows = _rows(manifests, gate, provenance, skip=checkpoint.staged(), progress=progress)
    while some := list(islice(rows, _STAGED_AT_ONCE)):
        checkpoint.stage(some)
    checkpoint.refuse_duplicates()
    checkpoint.keep("staged", value=True)


def write(
    checkpoint: Checkpoint,
    table: RegistryTable,
    progress: Progress,
    *,
    replace_reason: str | None,
    parallelism: int,
    dry_run: bool = False,
) -> None:
    """Bring every staged row without an outcome to one; with `dry_run`, to the one that it would have.

    Raises: TableBusy, botocore's ClientError; the checkpoint has what was done, a resumed import does the rest.
    """
    total = checkpoint.count_pending()
    holders = _holders(checkpoint, table, expected=total)
    progress.phase("comparing" if dry_run else "writing", total)

    def enroll(items: Sequence[Item], known: KeyHolders) -> Sequence[Verdict]:
        return enroll_items(items, table=table, holders=known, replace_reason=replace_reason, dry_run=dry_run)

    done = 0
    finished: list[tuple[int, Verdict]] = []
    with ThreadPoolExecutor(parallelism, thread_name_prefix="enroll") as pool:
        running: dict[Future[Sequence[Verdict]], Sequence[int]] = {}
        try:
            for ordinals, items in checkpoint.pending(CHUNK):
                running[pool.submit(enroll, items, holders(items))] = ordinals
                while len(running) > 2 * parallelism:
                    finished += _collect(running)
                if len(finished) >= _RECORDED_AT_ONCE:
                    done += _record(checkpoint, finished)
                    progress.reached(done)
            while running:
                finished += _collect(running)
        finally:  # also after a failure: what other threads still brought to an end is kept
            for future in running:
                future.cancel()
            for future, ordinals in running.items():
                if not future.cancelled() and future.exception() is None:
                    finished += zip(ordinals, future.result(), strict=True)
            done += _record(checkpoint, finished)
            progress.reached(done)


@dataclass(frozen=True, slots=True)
class _Known:
    """Holders that were found beforehand, for one chunk."""

    holders: Mapping[str, Collection[str]]

    def holders_of(self, fingerprints: Collection[str]) -> Mapping[str, Collection[str]]:  # noqa: ARG002 - the port
        return self.holders


def _rows(
    manifests: Sequence[Manifest],
    gate: Gate,
    provenance: Callable[[Manifest], Provenance],
    *,
    skip: int,
    progress: Progress,
) -> Iterator[StagedRow]:
    ordinals, before = count(1), 0
    for position, manifest in enumerate(manifests):
        entries = (((ordinal, position), entry) for ordinal, entry in _numbered(manifest.entries(), ordinals))
        unchecked = dropwhile(lambda placed: placed[0][0] <= skip, entries)
        for row in check(unchecked, manifest, gate, provenance(manifest)):
            yield row
            if row.ordinal % _STAGED_AT_ONCE == 0:
                progress.reached(before + manifest.consumed)
        before += manifest.size
        progress.reached(before)


def _numbered(entries: Iterator[Entry], ordinals: Iterator[int]) -> Iterator[tuple[int, Entry]]:
    for entry in entries:  # not zip, which would take an ordinal for an entry that does not come
        yield next(ordinals), entry


def _holders(checkpoint: Checkpoint, table: RegistryTable, *, expected: int) -> Callable[[Sequence[Item]], KeyHolders]:
    """Return how to find the holders of a chunk's keys: each by the index, or all from one reading of the table.

    A table without the index (existing deployments have none) leaves but the second.
    """
    if KEY_INDEX in table.indexes() and expected < table.item_count() * _LOOKUPS_PER_SCANNED_ITEM:
        return lambda _items: table
    checkpoint.start_holders()
    for page in table.scan(attributes=("device-id", "key-fingerprint", "pubkey")):
        enrolled = (EnrolledDevice.from_item(item) for item in page if is_device(item))
        checkpoint.add_holders(
            (device.fingerprint, device.device_id) for device in enrolled if device.fingerprint is not None
        )
    checkpoint.finish_holders()

    def known(items: Sequence[Item]) -> KeyHolders:
        return _Known(checkpoint.holders_of([i["key-fingerprint"]["S"] for i in items if "key-fingerprint" in i]))

    return known


def _collect(running: dict[Future[Sequence[Verdict]], Sequence[int]]) -> list[tuple[int, Verdict]]:
    """Wait for a chunk to be through, and take the results of all that are; raises what one of them raised."""
    results: list[tuple[int, Verdict]] = []
    through, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in through:
        verdicts = future.result()
        results += zip(running.pop(future), verdicts, strict=True)
    return results


def _record(checkpoint: Checkpoint, finished: list[tuple[int, Verdict]]) -> int:
    checkpoint.record(finished)
    recorded = len(finished)
    finished.clear()
    return recorded
