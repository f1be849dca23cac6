"""One run of `secretfree enroll`: its batch, its checkpoint, its accounts."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Final

from botocore.config import Config
from secretfree.enrollment.batch import Batch, BatchState, ManifestFile, find_batch, new_batch_id, save_batch
from secretfree.enrollment.decision import Outcome
from secretfree.enrollment.items import Provenance, timestamp
from secretfree.enrollment.table import RegistryTable, TableBusy
from secretfree.enrollment.wire import send_items_as_they_are

from secretfree_cli.enroll import importer
from secretfree_cli.enroll.checkpoint import Checkpoint, RefusedRow
from secretfree_cli.enroll.prepare import write_objects
from secretfree_cli.formats.manifest import Gate, Manifest
from secretfree_cli.local.state import StateFolder, find_project
from secretfree_cli.output import CliError, ExitCode
from secretfree_cli.target import Target

_SHOWN_REFUSALS: Final = 10
_IN_MEMORY: Final = 1024 * 1024
"""Bytes of manifests up to which a run that is not to be resumed keeps its rows in memory."""


@dataclass(frozen=True)
class ImportRequest:
    """What an operator asked for. `replace_reason` None means that no enrolled key may be replaced."""

    manifests: Sequence[Manifest]
    gate: Gate
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
            "files": [asdict(file) for file in self.files],
            "seconds": round(self.seconds, 3),
        }


def registry_of(target: Target, *, parallelism: int = 8) -> RegistryTable:
    """Return the target's registry, with a client that keeps a connection for each of `parallelism` threads."""
    config = Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "max_attempts": 5},
        max_pool_connections=parallelism + 2,
    )
    client = target.session.client("dynamodb", endpoint_url=target.endpoint_url, config=config)
    send_items_as_they_are(client)
    return RegistryTable(client, target.registry_table)


def caller_arn(target: Target) -> str:
    """Return who the credentials belong to (STS GetCallerIdentity)."""
    return str(target.client("sts").get_caller_identity()["Arn"])


def run_import(target: Target, request: ImportRequest, progress: importer.Progress) -> ImportSummary:
    """Do what `request` says and account for every row.

    Raises: ManifestError, CliError (a checkpoint in the way, a table without capacity), botocore's errors. Whatever was
        written before stays; the checkpoint stays too, for `resume`.
    """
    began = time.monotonic()
    files = tuple(ManifestFile(m.name, m.digest(), m.format) for m in request.manifests)
    table = registry_of(target, parallelism=request.parallelism)
    with _checkpoint(target, request, files) as checkpoint:
        resumed = checkpoint.setting("batch") is not None
        batch = _batch(checkpoint, target, request, files)
        _enrol(table, batch, request, checkpoint, progress)
        if request.report is not None:
            write_report(request.report, checkpoint.refused(), files)
        summary = _summary(
            batch,
            checkpoint,
            checkpoint.counts(),
            time.monotonic() - began,
            dry_run=request.dry_run,
            resumed=resumed,
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
    files = tuple(ManifestFile(m.name, m.digest(), m.format) for m in request.manifests)
    batch = Batch(
        id=request.batch_id or new_batch_id(now),
        state=BatchState.IMPORTING,
        enrolled_by=request.enrolled_by,
        started_at=timestamp(now),
        files=files,
    )
    with _scratch_checkpoint(request.manifests) as checkpoint:
        importer.stage(
            request.manifests,
            request.gate,
            lambda manifest: Provenance(batch.id, now, manifest.format),
            checkpoint,
            progress,
        )
        counts = {**checkpoint.counts(), Outcome.ENROLLED.value: checkpoint.count_pending()}
        record = batch.finished(BatchState.COMPLETE, now, counts).to_item()
        objects = write_objects(chain([record], checkpoint.items()), request.folder)
        if request.report is not None:
            write_report(request.report, checkpoint.refused(), files)
        return _summary(batch, checkpoint, counts, time.monotonic() - began), objects


def refusal_document(row: RefusedRow, files: Sequence[ManifestFile]) -> dict[str, object]:
    """Return a refused row as the report has it."""
    document: dict[str, object] = {"file": files[row.file].name, "line": row.line}
    if row.member is not None:
        document["member"] = row.member
    return {**document, "deviceId": row.device_id, "reason": row.reason, "detail": row.detail}


def write_report(path: Path, refused: Iterator[RefusedRow], files: Sequence[ManifestFile]) -> None:
    """Write every refused row, one JSON document a line; an empty file means that none was."""
    with path.open("w", encoding="utf-8") as report:
        for row in refused:
            report.write(json.dumps(refusal_document(row, files)) + "\n")


def _enrol(
    table: RegistryTable, batch: Batch, request: ImportRequest, checkpoint: Checkpoint, progress: importer.Progress
) -> None:
    started = datetime.fromisoformat(batch.started_at)
    importer.stage(
        request.manifests,
        request.gate,
        lambda manifest: Provenance(batch.id, started, manifest.format),
        checkpoint,
        progress,
    )
    if not request.dry_run:
        save_batch(table, batch)
    try:
        importer.write(
            checkpoint,
            table,
            progress,
            replace_reason=request.replace_reason,
            parallelism=request.parallelism,
            dry_run=request.dry_run,
        )
    except TableBusy as error:
        raise CliError(str(error), hint="raise the table's capacity, then run it again with --resume") from error
    if not request.dry_run:
        save_batch(table, batch.finished(BatchState.COMPLETE, datetime.now(UTC), checkpoint.counts()))


def _summary(
    batch: Batch,
    checkpoint: Checkpoint,
    counts: Mapping[str, int],
    seconds: float,
    *,
    dry_run: bool = False,
    resumed: bool = False,
) -> ImportSummary:
    return ImportSummary(
        batch=batch.id,
        dry_run=dry_run,
        resumed=resumed,
        counts=counts,
        refusals=checkpoint.refusals_by_reason(),
        first_refused=[refusal_document(row, batch.files) for row in islice(checkpoint.refused(), _SHOWN_REFUSALS)],
        files=batch.files,
        seconds=seconds,
    )


def _batch(checkpoint: Checkpoint, target: Target, request: ImportRequest, files: Sequence[ManifestFile]) -> Batch:
    kept = checkpoint.setting("batch")
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
    checkpoint.keep("batch", asdict(batch))
    return batch


@contextmanager
def _checkpoint(target: Target, request: ImportRequest, files: Sequence[ManifestFile]) -> Iterator[Checkpoint]:
    if request.dry_run or not request.resumable:
        with _scratch_checkpoint(request.manifests) as scratch:
            yield scratch
        return
    path = checkpoint_path(target, request, files)
    if path.exists() and not (request.resume or request.restart):
        raise CliError(
            "an import of these files into this table was cut off before",
            hint="--resume goes on with it; --restart forgets it and begins another batch",
        )
    if request.restart:
        Checkpoint.remove(path)
    try:
        checkpoint = Checkpoint(path)
    except sqlite3.OperationalError as error:
        raise CliError(f"{path} is in use: another import of these files runs ({error})") from error
    with checkpoint:
        yield checkpoint


@contextmanager
def _scratch_checkpoint(manifests: Sequence[Manifest]) -> Iterator[Checkpoint]:
    """One that nobody will go on with."""
    if sum(manifest.size for manifest in manifests) <= _IN_MEMORY:
        with Checkpoint(None) as checkpoint:
            yield checkpoint
        return
    with tempfile.TemporaryDirectory(prefix="secretfree-") as folder, Checkpoint(Path(folder, "rows")) as checkpoint:
        yield checkpoint


def checkpoint_path(target: Target, request: ImportRequest, files: Sequence[ManifestFile]) -> Path:
    """Return where the checkpoint lies of an import of these very files into this very table in this very way."""
    what = {
        "endpoint": target.endpoint_url,
        "region": target.region,
        "table": target.registry_table,
        "files": [asdict(file) for file in files],
        "profile": request.gate.profile.value,
        "replace": request.replace_reason,
        "batch": request.batch_id,
    }
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return StateFolder(find_project()).root / "enrollment" / f"{digest[:32]}.sqlite"
