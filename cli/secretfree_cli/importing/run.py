"""One run of `secretfree enroll files`: its batch, its checkpoint, its accounts."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from itertools import chain, count, islice
from pathlib import Path
from types import MappingProxyType
from typing import Final

import botocore
from botocore.config import Config
from secretfree.adapters.dynamodb.ready_bodies import send_items_as_they_are
from secretfree.adapters.dynamodb.registry_items import batch_item, device_item, indexed_item
from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.registry.batch import Batch, BatchState, ManifestFile, derived_batch_id, derived_import_id
from secretfree.registry.decision import Outcome
from secretfree.registry.device import EnrolledDevice, Provenance, timestamp
from secretfree.registry.store import ChangedMeanwhile, RegistryBusy, RegistryStore, find_batch, save_batch

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

    `reading` are the formats' options by their names, as JSON: `options.reading_of`.
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
    """Devices of the registry whose key the index does not have; 0 also where the registry was not read."""

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


def registry_of(target: Target, *, parallelism: int = 8, user_agent: str | None = None) -> DynamoDbRegistryStore:
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
    return DynamoDbRegistryStore.of(client, target.registry_table)


def caller_arn(target: Target) -> str:
    """Return who the credentials belong to (STS GetCallerIdentity)."""
    return str(target.client("sts").get_caller_identity()["Arn"])


def run_import(target: Target, request: ImportRequest, progress: importer.Progress) -> ImportSummary:
    """Do what `request` says and account for every row.

    Raises: ManifestError; CliError for a checkpoint in the way, a report that cannot be written, a table without
        capacity; botocore's errors. Whatever was written before stays; the same import, run again, resumes.
    """
    began = time.monotonic()
    files = _files(request.manifests)
    store = registry_of(target, parallelism=request.parallelism, user_agent=_USER_AGENT)
    identity = _identity(store, request, files)
    with (
        report_at(request.report) as report,
        _checkpoint(target, store, request, identity) as checkpoint,
        _garbage_collected_rarely(),
    ):
        resumed = checkpoint.setting(BATCH) is not None or identity.is_open
        if request.resume and not resumed:
            note("nothing to resume: no import of these files with these options was interrupted; this starts one")
        batch = _batch(checkpoint, target, identity, request, files)
        _enrol(store, batch, identity, request, checkpoint, progress=progress)
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
    reading: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


def run_prepare(request: PrepareRequest, progress: importer.Progress) -> tuple[ImportSummary, Sequence[Path]]:
    """Write the objects of a new table: every row that nothing speaks against, and the batch's own record.

    Raises: ManifestError; CliError where the folder holds objects of another run
    """
    began, now = time.monotonic(), datetime.now(UTC)
    request.folder.mkdir(parents=True, exist_ok=True)
    if any(request.folder.glob("part-*")):
        raise CliError(f"{request.folder} holds objects already", hint="name an empty folder")
    files = _files(request.manifests)
    import_id = derived_import_id(files, _options(request.gate, request.reading))
    batch = Batch(
        id=request.batch_id or derived_batch_id(import_id),
        state=BatchState.IMPORTING,
        enrolled_by=request.enrolled_by,
        started_at=timestamp(now),
        files=files,
        import_id=import_id,
    )
    with (
        report_at(request.report) as report,
        scratch_checkpoint(_size(request.manifests)) as checkpoint,
        _garbage_collected_rarely(),
    ):
        importer.stage(request.manifests, request.gate, checkpoint, progress)
        counts = {**checkpoint.counts(), Outcome.ENROLLED.value: checkpoint.count_pending()}
        own = [batch_item(batch.finished(BatchState.COMPLETE, now, counts)), indexed_item(now)]
        provenance = _provenance(batch)
        rows = chain.from_iterable(checkpoint.pending(importer.CHUNK))
        devices = (
            device_item(EnrolledDevice.newly(row.record, provenance[row.file]))
            for row in rows
            if row.record is not None
        )
        objects = write_objects(chain(own, devices), request.folder)
        return _account(batch, checkpoint, report, time.monotonic() - began, counts=counts), objects


@contextmanager
def _garbage_collected_rarely() -> Iterator[None]:
    """Have the collector, here and in the checking processes, pass over what the libraries hold, and come rarely.

    Rows come and go by the hundred thousand and leave no cycles behind; looking for some takes a tenth of an import.
    """
    if gc.get_freeze_count():  # a caller has done it already
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
class _Identity:
    """Which batch an import is. `known` is its record, where an earlier run, here or elsewhere, has left one."""

    id: str
    import_id: str
    known: Batch | None

    @property
    def is_open(self) -> bool:
        """Whether an earlier run was interrupted, or still runs."""
        return self.known is not None and self.known.state is BatchState.IMPORTING

    @property
    def is_complete(self) -> bool:
        """Whether an earlier run imported all of it."""
        return self.known is not None and self.known.state is BatchState.COMPLETE


@dataclass(frozen=True, slots=True)
class _Opening:
    """How the registry stood when this import was opened in it; see `RegistryState`.

    `beside_others`: others were open. `opened`: how many imports had been opened, this one included.
    """

    beside_others: bool
    opened: int


def _enrol(
    store: RegistryStore,
    batch: Batch,
    identity: _Identity,
    request: ImportRequest,
    checkpoint: Checkpoint,
    *,
    progress: importer.Progress,
) -> None:
    importer.stage(request.manifests, request.gate, checkpoint, progress)
    opening = None if request.dry_run else _open(store, batch, checkpoint)
    try:
        importer.write(
            checkpoint,
            store,
            progress,
            provenance=_provenance(batch),
            replace_reason=request.replace_reason,
            reverting=_being_reverted(store),
            parallelism=request.parallelism,
            complete=identity.is_complete,
            dry_run=request.dry_run,
        )
        if opening is not None:
            if opening.beside_others or store.state().opened != opening.opened:
                importer.settle(checkpoint, store, progress, batch_id=batch.id, parallelism=request.parallelism)
            _close(store, batch, identity, checkpoint.counts())
    except (RegistryBusy, ChangedMeanwhile) as error:
        capacity = "raise the table's capacity, then " if isinstance(error, RegistryBusy) else ""
        raise CliError(str(error), hint=f"{capacity}run the same command again: it resumes") from error


def _being_reverted(store: RegistryStore) -> frozenset[str]:
    """Return the batches that are being reverted; their devices are about to be removed."""
    open_batches = store.batches(store.state().open).values()
    return frozenset(batch.id for batch in open_batches if batch.state is BatchState.REVERTING)


def _open(store: RegistryStore, batch: Batch, checkpoint: Checkpoint) -> _Opening:
    """Open the batch before the first look at the registry, or continue with it as it was opened."""
    kept = checkpoint.setting(_OPENING)
    if kept is not None and batch.id in store.state().open:
        return _Opening(**kept)
    checkpoint.keep(BEGUN, value=True)
    state = save_batch(store, batch)
    others = [one.id for one in store.batches(state.open - {batch.id}).values() if one.state.is_open]
    if others:
        note(f"also open: {', '.join(sorted(others)[:_SHOWN_ROWS])}; so the registry is read again at the end")
        note("for an interrupted one: the same `secretfree enroll` resumes it, `secretfree batch close` keeps what it")
        note("wrote, `secretfree batch revert` undoes it or resumes a revert")
    # One that was closed while it was interrupted: no other import looked for its rows since, so this one has to.
    opening = _Opening(beside_others=bool(others) or kept is not None, opened=state.opened)
    checkpoint.keep(_OPENING, asdict(opening))
    return opening


def _close(store: RegistryStore, batch: Batch, identity: _Identity, counts: Mapping[str, int]) -> None:
    """Close the batch. The record of a batch that was complete before counts what this run added to it."""
    found = find_batch(store, batch.id)
    if found is not None and found.state.is_undone:
        raise CliError(
            f"batch {batch.id} was reverted while it was imported",
            hint=f"`secretfree batch revert {batch.id}` once more undoes what was written since",
        )
    if identity.known is not None and identity.is_complete:
        before = identity.known.counts
        added = (Outcome.ENROLLED, Outcome.REPLACED, Outcome.INDEXED)
        counts = {**before, **{one.value: before.get(one.value, 0) + counts[one.value] for one in added}}
    save_batch(store, batch.finished(BatchState.COMPLETE, datetime.now(UTC), counts))


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


def _identity(store: RegistryStore, request: ImportRequest, files: Sequence[ManifestFile]) -> _Identity:
    """Return which batch the import is.

    That of an interrupted run of it, the named one, or the one of these files and options that was not reverted.
    """
    import_id = derived_import_id(files, _options(request.gate, request.reading, request.replace_reason))
    unfinished = _unfinished(store, files, import_id)
    if unfinished is not None:
        if request.batch_id not in {None, unfinished.id}:
            raise CliError(f"this import is not finished in batch {unfinished.id}", hint="omit --batch to resume it")
        return _Identity(unfinished.id, import_id, unfinished)
    if request.batch_id is not None:
        known = find_batch(store, request.batch_id)
        if known is not None and (known.state.is_undone or known.import_id != import_id):
            why = "was reverted" if known.state.is_undone else "is of other files or options"
            raise CliError(f"there is a batch {known.id!r} already, which {why}", hint="name another, or omit --batch")
        return _Identity(request.batch_id, import_id, known)
    for attempt in count(1):
        known = find_batch(store, batch_id := derived_batch_id(import_id, attempt=attempt))
        if known is None or not known.state.is_undone:
            return _Identity(batch_id, import_id, known)
    raise AssertionError("count does not end")


def _unfinished(store: RegistryStore, files: Sequence[ManifestFile], import_id: str) -> Batch | None:
    """Return the batch of an interrupted run of this import, here or elsewhere.

    Raises CliError where these files were read with other options: both imports' keys would be mixed.
    """
    digests = sorted(file.sha256 for file in files)
    for batch in store.batches(store.state().open).values():
        if batch.state is BatchState.IMPORTING and batch.import_id == import_id:
            return batch
        same_files = sorted(file.sha256 for file in batch.files) == digests
        if batch.state is BatchState.IMPORTING and same_files and batch.import_id is not None:
            raise CliError(
                f"an import of these files with other options (batch {batch.id}) is not finished",
                hint=f"run it again with the options that it had, or undo it: `secretfree batch revert {batch.id}`",
            )
    return None


def _options(gate: Gate, reading: Mapping[str, object], replace_reason: str | None = None) -> Mapping[str, object]:
    """Return what decides how rows are read and judged, by options' names."""
    return {
        "--device-profile": gate.profile.value,
        "match policy": gate.key_optional,
        "--replace and --reason": replace_reason,
        **reading,
    }


def _batch(
    checkpoint: Checkpoint, target: Target, identity: _Identity, request: ImportRequest, files: Sequence[ManifestFile]
) -> Batch:
    """Return the batch as this run opens it: as an earlier run, here or elsewhere, began it, or new."""
    kept, known = checkpoint.setting(BATCH), identity.known
    if known is not None:
        if kept is None and identity.is_open:
            note(f"batch {known.id} of these files, begun {known.started_at} by {known.enrolled_by}, is not finished")
            note("this continues it")
        batch = replace(known, state=BatchState.IMPORTING)
    else:
        batch = Batch(
            id=identity.id,
            state=BatchState.IMPORTING,
            enrolled_by=caller_arn(target),
            started_at=timestamp(datetime.now(UTC)),
            files=files,
            replace_reason=request.replace_reason,
            import_id=identity.import_id,
        )
    checkpoint.keep(BATCH, batch.id)
    return batch


def _files(manifests: Sequence[Manifest]) -> tuple[ManifestFile, ...]:
    return tuple(ManifestFile(encodable(one.name), one.digest(), one.format) for one in manifests)


def _provenance(batch: Batch) -> Sequence[Provenance]:
    """Return where the devices of each of the batch's files come from."""
    began = datetime.fromisoformat(batch.started_at)
    return [Provenance(batch.id, began, file.format) for file in batch.files]


def _size(manifests: Sequence[Manifest]) -> int:
    return sum(manifest.size for manifest in manifests)


def _checkpoint(
    target: Target, store: DynamoDbRegistryStore, request: ImportRequest, identity: _Identity
) -> AbstractContextManager[Checkpoint]:
    if request.dry_run or not request.resumable:
        return scratch_checkpoint(_size(request.manifests))
    return resumable_checkpoint(
        Resumption(target.endpoint_url, store.arn(), identity.id, identity.known is not None, request.restart)
    )
