"""One run of `secretfree enroll files`: it opens the batch, writes the rows and closes the batch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Final

import botocore
from botocore.config import Config
from secretfree.adapters.dynamodb.ready_bodies import send_items_as_they_are
from secretfree.adapters.dynamodb.registry_store import DynamoDbRegistryStore
from secretfree.registry.batch import Batch, BatchState, ManifestFile
from secretfree.registry.decision import Outcome
from secretfree.registry.device import timestamp
from secretfree.registry.gate import Gate
from secretfree.registry.store import ChangedMeanwhile, RegistryBusy, RegistryStore, find_batch, save_batch

from secretfree_cli.importing import importer
from secretfree_cli.importing.account import SHOWN_ROWS, ImportSummary, account_for
from secretfree_cli.importing.checkpoint import Checkpoint
from secretfree_cli.importing.garbage import garbage_collected_rarely
from secretfree_cli.importing.identity import BatchIdentity, files_of, identity_of, options_of, provenance_of, size_of
from secretfree_cli.importing.report import report_at
from secretfree_cli.importing.resuming import BATCH, BEGUN, Resumption, resumable_checkpoint, scratch_checkpoint
from secretfree_cli.manifests.manifest import Manifest
from secretfree_cli.output import CliError, note
from secretfree_cli.target import Target

_USER_AGENT: Final = f"secretfree/{metadata.version('cdk-iot-secretfree')} Botocore/{botocore.__version__}"
"""A fixed user agent. Otherwise the SDK composes one twice for each call, which takes an eighth of the call's time."""
_OPENING: Final = "opening"
"""Setting of a checkpoint: see `_Opening`."""


@dataclass(frozen=True)
class ImportRequest:
    """The operator's request. `replace_reason`: None if no enrolled key may be replaced.

    `reading`: the formats' options by name, as JSON (`options.reading_of`).
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
    """Return the ARN of the credentials' owner (STS GetCallerIdentity)."""
    return str(target.client("sts").get_caller_identity()["Arn"])


def run_import(target: Target, request: ImportRequest, progress: importer.Progress) -> ImportSummary:
    """Run the import and account for every row.

    Raises: ManifestError; CliError for a checkpoint in use, a report that cannot be written, a table without capacity;
    botocore's errors. Written rows stay; running the same import again resumes it.
    """
    began = time.monotonic()
    files = files_of(request.manifests)
    store = registry_of(target, parallelism=request.parallelism, user_agent=_USER_AGENT)
    options = options_of(request.gate, request.reading, request.replace_reason)
    identity = identity_of(store, files, options, request.batch_id)
    with (
        report_at(request.report) as report,
        _checkpoint(target, store, request, identity) as checkpoint,
        garbage_collected_rarely(),
    ):
        resumed = checkpoint.setting(BATCH) is not None or identity.is_open
        if request.resume and not resumed:
            note("nothing to resume: no import of these files with these options was interrupted; this starts one")
        batch = _batch(checkpoint, target, identity, request, files)
        _enrol(store, batch, identity, request, checkpoint, progress=progress)
        summary = account_for(
            batch, checkpoint, report, time.monotonic() - began, dry_run=request.dry_run, resumed=resumed
        )
        checkpoint.discard()
    return summary


@dataclass(frozen=True, slots=True)
class _Opening:
    """The registry's state when this import was opened in it; see `RegistryState`.

    `beside_others`: others were open. `opened`: the number of imports ever opened, this one included.
    """

    beside_others: bool
    opened: int


def _enrol(
    store: RegistryStore,
    batch: Batch,
    identity: BatchIdentity,
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
            provenance=provenance_of(batch),
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
    """Open the batch before the registry is first read, or continue with an open one."""
    kept = checkpoint.setting(_OPENING)
    if kept is not None and batch.id in store.state().open:
        return _Opening(**kept)
    checkpoint.keep(BEGUN, value=True)
    state = save_batch(store, batch)
    others = [one.id for one in store.batches(state.open - {batch.id}).values() if one.state.is_open]
    if others:
        note(f"also open: {', '.join(sorted(others)[:SHOWN_ROWS])}; so the registry is read again at the end")
        note("for an interrupted one: the same `secretfree enroll` resumes it, `secretfree batch close` keeps what it")
        note("wrote, `secretfree batch revert` undoes it or resumes a revert")
    # The import was closed while it was interrupted. No other import checked for its rows since, so this one must.
    opening = _Opening(beside_others=bool(others) or kept is not None, opened=state.opened)
    checkpoint.keep(_OPENING, asdict(opening))
    return opening


def _close(store: RegistryStore, batch: Batch, identity: BatchIdentity, counts: Mapping[str, int]) -> None:
    """Close the batch. The record of an already complete batch counts the rows that this run added."""
    found = find_batch(store, batch.id)
    if found is not None and found.state.is_undone:
        raise CliError(
            f"batch {batch.id} was reverted while it was imported",
            hint=f"`secretfree batch revert {batch.id}` again undoes the rows that were written since",
        )
    if identity.known is not None and identity.is_complete:
        before = identity.known.counts
        added = (Outcome.ENROLLED, Outcome.REPLACED, Outcome.INDEXED)
        counts = {**before, **{one.value: before.get(one.value, 0) + counts[one.value] for one in added}}
    save_batch(store, batch.finished(BatchState.COMPLETE, datetime.now(UTC), counts))


def _batch(
    checkpoint: Checkpoint,
    target: Target,
    identity: BatchIdentity,
    request: ImportRequest,
    files: Sequence[ManifestFile],
) -> Batch:
    """Return the batch of an earlier run, on this or another machine, or a new one."""
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


def _checkpoint(
    target: Target, store: DynamoDbRegistryStore, request: ImportRequest, identity: BatchIdentity
) -> AbstractContextManager[Checkpoint]:
    if request.dry_run or not request.resumable:
        return scratch_checkpoint(size_of(request.manifests))
    return resumable_checkpoint(
        Resumption(target.endpoint_url, store.arn(), identity.id, identity.known is not None, request.restart)
    )
