"""Objects for DynamoDB's ImportTable, which creates a new table of any size from S3 without write capacity."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from secretfree.adapters.dynamodb.registry_items import Item, batch_item, device_item, indexed_item
from secretfree.adapters.dynamodb.registry_table import BATCH_INDEX, KEY_INDEX
from secretfree.registry.batch import Batch, BatchState, derived_batch_id, derived_import_id
from secretfree.registry.decision import Outcome
from secretfree.registry.device import EnrolledDevice, timestamp
from secretfree.registry.gate import Gate

from secretfree_cli.importing import importer
from secretfree_cli.importing.account import ImportSummary, account_for
from secretfree_cli.importing.garbage import garbage_collected_rarely
from secretfree_cli.importing.identity import files_of, options_of, provenance_of, size_of
from secretfree_cli.importing.report import report_at
from secretfree_cli.importing.resuming import scratch_checkpoint
from secretfree_cli.manifests.manifest import Manifest
from secretfree_cli.output import CliError

ROWS_PER_OBJECT: Final = 500_000
"""ImportTable reads at most 50,000 objects, in parallel (DynamoDB developer guide, import quotas)."""


@dataclass(frozen=True)
class PrepareRequest:
    """The manifests for ImportTable, and the `folder` for its objects. The batch's record has `enrolled_by`."""

    manifests: Sequence[Manifest]
    gate: Gate
    folder: Path
    batch_id: str | None
    enrolled_by: str
    report: Path | None = None
    reading: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


def run_prepare(request: PrepareRequest, progress: importer.Progress) -> tuple[ImportSummary, Sequence[Path]]:
    """Write the objects of a new table: every accepted row, and the batch's own record.

    Raises: ManifestError; CliError if the folder has objects of another run
    """
    began, now = time.monotonic(), datetime.now(UTC)
    request.folder.mkdir(parents=True, exist_ok=True)
    if any(request.folder.glob("part-*")):
        raise CliError(f"{request.folder} already has objects", hint="name an empty folder")
    files = files_of(request.manifests)
    import_id = derived_import_id(files, options_of(request.gate, request.reading))
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
        scratch_checkpoint(size_of(request.manifests)) as checkpoint,
        garbage_collected_rarely(),
    ):
        importer.stage(request.manifests, request.gate, checkpoint, progress)
        counts = {**checkpoint.counts(), Outcome.ENROLLED.value: checkpoint.count_pending()}
        own = [batch_item(batch.finished(BatchState.COMPLETE, now, counts)), indexed_item(now)]
        provenance = provenance_of(batch)
        rows = chain.from_iterable(checkpoint.pending(importer.CHUNK))
        devices = (
            device_item(EnrolledDevice.newly(row.record, provenance[row.file]))
            for row in rows
            if row.record is not None
        )
        objects = write_objects(chain(own, devices), request.folder)
        return account_for(batch, checkpoint, report, time.monotonic() - began, counts=counts), objects


def write_objects(items: Iterator[Item], folder: Path, *, rows: int = ROWS_PER_OBJECT) -> Sequence[Path]:
    """Write `items` as DYNAMODB_JSON lines in gzip objects. Equal items give equal bytes."""
    paths: list[Path] = []
    while some := list(islice(items, 1)):
        path = folder / f"part-{len(paths):05d}.json.gz"
        with path.open("wb") as file, gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as zipped:
            for item in some:
                zipped.write(_line(item))
            for item in islice(items, rows - 1):
                zipped.write(_line(item))
        paths.append(path)
    return paths


def import_table_request(table: str, bucket: str, prefix: str) -> Mapping[str, Any]:
    """Return the parameters of ImportTable for a registry (`aws dynamodb import-table --cli-input-json`)."""
    return {
        "S3BucketSource": {"S3Bucket": bucket, "S3KeyPrefix": prefix},
        "InputFormat": "DYNAMODB_JSON",
        "InputCompressionType": "GZIP",
        "TableCreationParameters": {
            "TableName": table,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": "S"} for name in ("device-id", "key-fingerprint", "batch")
            ],
            "KeySchema": [{"AttributeName": "device-id", "KeyType": "HASH"}],
            "GlobalSecondaryIndexes": [
                _index(KEY_INDEX, ("key-fingerprint", "HASH")),
                _index(BATCH_INDEX, ("batch", "HASH"), ("device-id", "RANGE")),
            ],
        },
    }


def recovery_request(table: str) -> Mapping[str, Any]:
    """Return the parameters of UpdateContinuousBackups, because ImportTable leaves point-in-time recovery off."""
    return {"TableName": table, "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}}


def _index(name: str, *keys: tuple[str, str]) -> Mapping[str, Any]:
    return {
        "IndexName": name,
        "KeySchema": [{"AttributeName": attribute, "KeyType": kind} for attribute, kind in keys],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }


def _line(item: Item) -> bytes:
    return json.dumps({"Item": item}, separators=(",", ":")).encode() + b"\n"
