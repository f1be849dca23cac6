"""One run of `secretfree enroll files`: its batch, its checkpoint, its accounts."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import Final

import botocore
from botocore.config import Config
from secretfree.adapters.dynamodb.ready_bodies import send_items_as_they_are
from secretfree.adapters.dynamodb.registry_items import Provenance, timestamp
from secretfree.adapters.dynamodb.registry_table import ChangedMeanwhile, RegistryTable, TableBusy
from secretfree.registry.batch import (
    Batch,
    BatchState,
    ManifestFile,
    find_batch,
    find_batches,
    new_batch_id,
    save_batch,
)
from secretfree.registry.decision import Outcome
from secretfree.registry.registry_state import indexed_item, read_state

from secretfree_cli.importing import importer
from secretfree_cli.importing.checking import encodable
from secretfree_cli.importing.checkpoint import Checkpoint
from secretfree_cli.importing.prepare import write_objects
from secretfree_cli.importing.report import Report, report_at, row_document
from secretfree_cli.importing.resuming import BATCH, BEGUN, Resumption, resumable_checkpoint, scratch_checkpoint
from secretfree_cli.manifests.manifest import Gate, Manifest
from secretfree_cli.output import CliError, ExitCode, note
from secretfree_cli.target import Target

_SHOWN_ROWS: Final = 10
_OBJECTS_PER_COLLECTION: Final = 20_000
_USER_AGENT: Final = f"secretfree/{metadata.version('cdk-iot-secretfree')} Botocore/{botocore.__version__}"
"""Of the many calls of an import. Left to itself, the SDK composes one twice a call, in an eighth of its time."""
_OPENING: Final = "opening"
"""Setting of a checkpoint: see `_Opening`."""


@dataclass(frozen=True)
class ImportRequest:
    """What an operator asked for. `replace_reason` None means that no enrolled key may be replaced.

    `reading` is what the formats were told, by options' names, as JSON: `options.reading_of`.
    """

    manifests: Sequence[Manifest]
    gate: Gate
    reading: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    batch_id: str | None = None
    replace_reason: str | None = None
    dry_run: bool = False
    resume: bool = False
    restart: bool = False
    parallelism: int = 8
    report: Path | None = None
    resumable: bool = True


@dataclass(frozen=True)
class ImportSummary:
    """What a run did, over all the times that it was resumed; with `dry_run`, what it would have done."""

    batch: str
    dry_run: bool
    resumed: bool
    counts: Mapping[str, int]
    refusals: Mapping[str, int]
    first_refused: Sequence[Mapping[str, object]]
    files: Sequence[ManifestFile]
    seconds: float
    passed_over: int = 0
    """Devices that are enrolled, but have other attributes there than their rows say."""
    first_passed_over: Sequence[Mapping[str, object]] = ()
    unindexed: int = 0
    """Devices of the registry whose key the index does not know; 0 also where nobody looked."""

    @property
    def rows(self) -> int:
        """How many rows the manifests had."""
        return sum(self.counts.values())

    @property
    def exit_code(self) -> ExitCode:
        """0 if every row was taken, 5 if none, 3 for anything between."""
        refused = self.counts[Outcome.REFUSED]
        if not refused:
            return ExitCode.OK
        return ExitCode.REFUSED if refused == self.rows else ExitCode.PARTLY_REFUSED

    def document(self) -> dict[str, object]:
        """Return it for `--json`."""
        return {
            "batch": self.batch,
            "dryRun": self.dry_run,
            "resumed": self.resumed,
            "rows": self.rows,
            **self.counts,
            "refusals": dict(self.refusals),
            "firstRefused": list(self.first_refused),
            "otherAttributes": self.passed_over,
            "firstOtherAttributes": list(self.first_passed_over),
            "withoutFingerprint": self.unindexed,
            "files": [asdict(file) for file in self.files],
            "seconds": round(self.seconds, 3),
        }


def registry_of(target: Target, *, parallelism: int = 8, user_agent: str | None = None) -> RegistryTable:
    """Return the target's registry, with a client that keeps a connection for each of `parallelism` threads."""
    config = Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "max_attempts": 5},
        max_pool_connections=parallelism + 2,
        user_agent=user_agent,
    )
    client = target.session.client("dynamodb", endpoint_url=target.endpoint_url, config=config)
    send_items_as_they_are(client)
    return RegistryTable(client, target.registry_table)


def caller_arn(target: Target) -> str:
    """Return who the credentials belong to (STS GetCallerIdentity)."""
    return str(target.client("sts").get_caller_identity()["Arn"])


def run_import(target: Target, request: ImportRequest, progress: importer.Progress) -> ImportSummary:
    """Do what `request` says and account for every row.

    Raises: ManifestError; CliError for a checkpoint in the way, a report that cannot be written, a table without
        capacity; botocore's errors. Whatever was written before stays; the checkpoint stays too, for `resume`.
    """
    began = time.monotonic()
    files = _files(request.manifests)
    table = registry_of(target, parallelism=request.parallelism, user_agent=_USER_AGENT)
    with (
        report_at(request.report) as report,
        _checkpoint(target, table, request, files) as checkpoint,
        _garbage_collected_rarely(),
    ):
        resumed = checkpoint.setting(BATCH) is not None
        if request.resume and not resumed:
            _tell_of_another_begin(table, files)
        batch = _batch(checkpoint, target, request, files)
        if resumed:
            _require_resumable(table, batch, checkpoint)
        _enrol(table, batch, request, checkpoint, progress)
        summary = _account(
            batch, checkpoint, report, time.monotonic() - began, dry_run=request.dry_run, resumed=resumed
        )
        checkpoint.discard()
    return summary


@dataclass(frozen=True)
class PrepareRequest:
    """What is to be made ready for ImportTable, in `folder`; `enrolled_by` goes into the batch's record."""

    manifests: Sequence[Manifest]
    gate: Gate
    folder: Path
    batch_id: str | None
    enrolled_by: str
    report: Path | None = None


def run_prepare(request: PrepareRequest, progress: importer.Progress) -> tuple[ImportSummary, Sequence[Path]]:
    """Write the objects of a new table: every row that nothing speaks against, and the batch's own record.

    Raises: ManifestError; CliError where the folder holds objects of another run
    """
    began, now = time.monotonic(), datetime.now(UTC)
    request.folder.mkdir(parents=True, exist_ok=True)
    if any(request.folder.glob("part-*")):
        raise CliError(f"{request.folder} holds objects already", hint="name an empty folder")
    files = _files(request.manifests)
    batch = Batch(
        id=request.batch_id or new_batch_id(now),
        state=BatchState.IMPORTING,
        enrolled_by=request.enrolled_by,
        started_at=timestamp(now),
        files=files,
    )
    with (
        report_at(request.report) as report,
        scratch_checkpoint(_size(request.manifests)) as checkpoint,
        _garbage_collected_rarely(),
    ):
        importer.stage(request.manifests, request.gate, checkpoint, progress)
        counts = {**checkpoint.counts(), Outcome.ENROLLED.value: checkpoint.count_pending()}
        own = [batch.finished(BatchState.COMPLETE, now, counts).to_item(), indexed_item(now)]
        provenance = _provenance(batch)
        rows = chain.from_iterable(checkpoint.pending(importer.CHUNK))
        devices = (row.record.item(provenance[row.file]) for row in rows)
        objects = write_objects(chain(own, devices), request.folder)
        return _account(batch, checkpoint, report, time.monotonic() - began, counts=counts), objects


@contextmanager
def _garbage_collected_rarely() -> Iterator[None]:
    """Have the collector, here and in the checking processes, pass over what the libraries hold, and come rarely.

    Rows come and go by the hundred thousand and leave no cycles behind; looking for some takes a tenth of an import.
    """
    if gc.get_freeze_count():  # somebody around this one has seen to it
        yield
        return
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_OBJECTS_PER_COLLECTION, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


@dataclass(frozen=True, slots=True)
class _Opening:
    """How the registry stood when this import was opened in it; see `registry_state`.

    `beside_others`: others were open. `opened`: how many imports there had been, this one included.
    """

    beside_others: bool
    opened: int


def _enrol(
    table: RegistryTable, batch: Batch, request: ImportRequest, checkpoint: Checkpoint, progress: importer.Progress
) -> None:
    importer.stage(request.manifests, request.gate, checkpoint, progress)
    opening = None if request.dry_run else _open(table, batch, checkpoint)
    try:
        importer.write(
            checkpoint,
            table,
            progress,
            provenance=_provenance(batch),
            replace_reason=request.replace_reason,
            reverting=_being_reverted(table),
            parallelism=request.parallelism,
            dry_run=request.dry_run,
        )
        if opening is not None:
            _close(table, batch, opening, checkpoint, progress, parallelism=request.parallelism)
    except TableBusy as error:
        raise CliError(str(error), hint="raise the table's capacity, then run it again with --resume") from error
    except ChangedMeanwhile as error:
        raise CliError(str(error), hint="run it again with --resume") from error


def _being_reverted(table: RegistryTable) -> frozenset[str]:
    """Return the batches whose revert is not through; what still is of one is going to go."""
    open_batches = find_batches(table, read_state(table).open).values()
    return frozenset(batch.id for batch in open_batches if batch.state is BatchState.REVERTING)


def _open(table: RegistryTable, batch: Batch, checkpoint: Checkpoint) -> _Opening:
    """Open the batch before the first look at the table, or go on with it as it was opened."""
    kept = checkpoint.setting(_OPENING)
    if kept is not None and batch.id in read_state(table).open:
        return _Opening(**kept)
    checkpoint.keep(BEGUN, value=True)
    state = save_batch(table, batch)
    others = [one.id for one in find_batches(table, state.open - {batch.id}).values() if one.state.is_open]
    if others:
        note(f"open beside this one: {', '.join(sorted(others)[:_SHOWN_ROWS])}; so the table is read again at the end")
        note("for one that was cut off: --resume goes on with an import, `secretfree batch close` keeps what it wrote,")
        note("`secretfree batch revert` undoes it, or goes on with a revert")
    # One that somebody closed while it was cut off: nobody looked for its rows since, so it has to.
    opening = _Opening(beside_others=bool(others) or kept is not None, opened=state.opened)
    checkpoint.keep(_OPENING, asdict(opening))
    return opening


def _close(
    table: RegistryTable,
    batch: Batch,
    opening: _Opening,
    checkpoint: Checkpoint,
    progress: importer.Progress,
    *,
    parallelism: int,
) -> None:
    """Close the batch after the last look at the table, which only an import beside others has to take."""
    if opening.beside_others or read_state(table).opened != opening.opened:
        importer.settle(checkpoint, table, progress, batch_id=batch.id, parallelism=parallelism)
    found = find_batch(table, batch.id)
    if found is not None and found.state.is_undone:
        raise CliError(
            f"batch {batch.id} was reverted while it was imported",
            hint=f"`secretfree batch revert {batch.id}` once more undoes what was written since",
        )
    save_batch(table, batch.finished(BatchState.COMPLETE, datetime.now(UTC), checkpoint.counts()))


def _account(
    batch: Batch,
    checkpoint: Checkpoint,
    report: Report | None,
    seconds: float,
    *,
    counts: Mapping[str, int] | None = None,
    dry_run: bool = False,
    resumed: bool = False,
) -> ImportSummary:
    if report is not None:
        report.write(checkpoint.refused(), batch.files)
    return ImportSummary(
        batch=batch.id,
        dry_run=dry_run,
        resumed=resumed,
        counts=checkpoint.counts() if counts is None else counts,
        refusals=checkpoint.refusals_by_reason(),
        first_refused=[row_document(row, batch.files) for row in islice(checkpoint.refused(), _SHOWN_ROWS)],
        files=batch.files,
        seconds=seconds,
        passed_over=checkpoint.count_passed_over(),
        first_passed_over=[row_document(row, batch.files) for row in islice(checkpoint.passed_over(), _SHOWN_ROWS)],
        unindexed=checkpoint.setting(importer.UNINDEXED) or 0,
    )


def _batch(checkpoint: Checkpoint, target: Target, request: ImportRequest, files: Sequence[ManifestFile]) -> Batch:
    kept = checkpoint.setting(BATCH)
    if kept is not None:
        return Batch(
            **{**kept, "state": BatchState(kept["state"]), "files": [ManifestFile(**f) for f in kept["files"]]}
        )
    now = datetime.now(UTC)
    batch = Batch(
        id=request.batch_id or new_batch_id(now),
        state=BatchState.IMPORTING,
        enrolled_by=caller_arn(target),
        started_at=timestamp(now),
        files=files,
        replace_reason=request.replace_reason,
    )
    if request.batch_id and find_batch(registry_of(target), request.batch_id) is not None:
        raise CliError(f"there is a batch {request.batch_id!r} already", hint="leave --batch out, or name another")
    checkpoint.keep(BATCH, asdict(batch))
    return batch


def _require_resumable(table: RegistryTable, batch: Batch, checkpoint: Checkpoint) -> None:
    """Raise CliError where what the checkpoint says was written is no longer there, or is to go."""
    if checkpoint.setting(_OPENING) is None:  # nothing was written yet
        return
    found = find_batch(table, batch.id)
    anew = "--restart forgets it and begins another batch"
    if found is None:
        raise CliError(f"this table has no batch {batch.id}: it is not the table that was written to", hint=anew)
    if found.state.is_undone:
        raise CliError(f"batch {batch.id}, which was cut off, has been reverted since", hint=anew)


def _tell_of_another_begin(table: RegistryTable, files: Sequence[ManifestFile]) -> None:
    """Tell of batches of these very files that are open in the registry: begun by another user, or another machine."""
    digests = [file.sha256 for file in files]
    for batch in find_batches(table, read_state(table).open).values():
        if batch.state is BatchState.IMPORTING and [file.sha256 for file in batch.files] == digests:
            note(f"batch {batch.id} of these files, begun {batch.started_at} by {batch.enrolled_by}, is not finished")
            note(f"unless it still runs there: `secretfree batch revert {batch.id}` undoes it")


def _files(manifests: Sequence[Manifest]) -> tuple[ManifestFile, ...]:
    return tuple(ManifestFile(encodable(one.name), one.digest(), one.format) for one in manifests)


def _provenance(batch: Batch) -> Sequence[Provenance]:
    """Return where the devices of each of the batch's files come from."""
    began = datetime.fromisoformat(batch.started_at)
    return [Provenance(batch.id, began, file.format) for file in batch.files]


def _size(manifests: Sequence[Manifest]) -> int:
    return sum(manifest.size for manifest in manifests)


def _checkpoint(
    target: Target, table: RegistryTable, request: ImportRequest, files: Sequence[ManifestFile]
) -> AbstractContextManager[Checkpoint]:
    if request.dry_run or not request.resumable:
        return scratch_checkpoint(_size(request.manifests))
    return resumable_checkpoint(
        Resumption(
            what={"endpoint": target.endpoint_url, "table": table.arn(), "files": [asdict(file) for file in files]},
            way={
                "--device-profile": request.gate.profile.value,
                "match policy": request.gate.key_optional,
                "--replace and --reason": request.replace_reason,
                **request.reading,
            },
            batch_id=request.batch_id,
            resume=request.resume,
            restart=request.restart,
        )
    )
