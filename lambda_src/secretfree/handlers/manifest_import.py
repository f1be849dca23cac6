"""The function of ManifestImport: opens a manifest, imports runs of its rows, and closes the account of them all."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from secretfree.adapters import clients
from secretfree.adapters.dynamodb.registry_items import timestamp
from secretfree.adapters.dynamodb.registry_table import RegistryTable
from secretfree.adapters.manifest_bucket import RESULTS, ManifestBucket, ManifestObject, ManifestRefused
from secretfree.clock import SystemClock
from secretfree.config import ImportConfig
from secretfree.contract import LogLevel, MatchPolicy
from secretfree.registry.batch import Batch, BatchState, ManifestFile, find_batch, save_batch
from secretfree.registry.decision import Outcome
from secretfree.registry.manifest import MAX_ROWS, CloudGate, ImportRow, import_rows
from secretfree.registry.row import COLUMNS_FORM, DEVICE_ID, missing_columns
from secretfree.telemetry import Telemetry

_config: Final = ImportConfig.from_environment(os.environ)
_gate: Final = CloudGate(_config.device_profile, key_optional=_config.match is MatchPolicy.UDID)
_table: Final = RegistryTable(clients.dynamodb(), _config.registry_table, key_index=_config.registry_key_index)
_bucket: Final = ManifestBucket(clients.client("s3"), _config.bucket)
_telemetry: Final = Telemetry(_config.product, level=_config.log_level)
_clock: Final = SystemClock()

MAX_LISTED: Final = 1_000_000
"""Refused rows that `refused.jsonl` lists; were there more, the children's own results still hold them all."""


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Do the step of the state machine that `event` is for.

    `{"open": <execution>}` and `{"close": <execution>}`, where the execution's state holds the S3 event, and for
    `close` also `result` or `failure`; else a child of the Distributed Map: `{"Items": [<item>, ...]}`, or one item by
    itself where the map has no ItemBatcher. An item is `{"batch", "source", "row", "fields"}`, `row` counting from 0.

    `open` answers with the format `refused` and a failure where the manifest itself is to blame, `close` with the
    import's status. What is raised is tried again by Step Functions: every step may be repeated.
    """
    if "open" in event:
        return _opened(event["open"])
    if "close" in event:
        return _close(event["close"])
    return _import(event.get("Items", [event]))


def _opened(execution: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return _open(execution)
    except ManifestRefused as refused:
        return {"format": "refused", "failure": {"Error": "ManifestRefused", "Cause": str(refused)}}


def _open(execution: Mapping[str, Any]) -> dict[str, Any]:
    manifest = _manifest(execution)
    batch_id = _batch_id(execution, manifest)
    format_name = manifest.format
    digest, header = _bucket.inspect(manifest)
    if format_name == "csv":
        _require_columns(header)
    _save_opened(batch_id, manifest, digest, enrolled_by=execution["execution"])
    _telemetry.log("manifest opened", object_key=manifest.key, state=BatchState.IMPORTING)
    return {"batch": batch_id, "key": manifest.key, "format": format_name, "sha256": digest}


def _import(items: list[dict[str, Any]]) -> dict[str, Any]:
    if len(items) > MAX_ROWS:
        raise ValueError(f"{len(items)} rows in one call; at most {MAX_ROWS}")
    rows = [ImportRow(int(item["row"]) + 1, _fields(item["fields"])) for item in items]
    imported = import_rows(
        rows, gate=_gate, table=_table, batch=items[0]["batch"], source=items[0]["source"], now=_clock.now()
    )
    return imported.document()


def _close(execution: Mapping[str, Any]) -> dict[str, Any]:
    manifest = _manifest(execution)
    prefix = f"{RESULTS}{_batch_id(execution, manifest)}/"
    account: dict[str, Any] = {
        "batch": _batch_id(execution, manifest),
        "manifest": {"key": manifest.key, "version": manifest.version},
        "execution": execution["execution"],
        "finishedAt": timestamp(_clock.now()),
    }
    if "failure" in execution:
        account |= _failed(execution["failure"])
    else:
        try:
            account |= _closed(execution, manifest, prefix)
        except ManifestRefused as refused:
            account |= _failed({"Error": "ManifestRefused", "Cause": str(refused)})
    _bucket.write_document(f"{prefix}summary.json", account)
    level = LogLevel.INFO if account["status"] == "COMPLETE" else LogLevel.ERROR
    _telemetry.log("manifest closed", level=level, object_key=manifest.key, state=account["status"])
    return account


def _closed(execution: Mapping[str, Any], manifest: ManifestObject, prefix: str) -> dict[str, Any]:
    _bucket.require_unchanged(manifest)
    counts: Counter[str] = Counter()
    _bucket.write_lines(f"{prefix}refused.jsonl", _refused_rows(execution["result"], counts))
    batch = find_batch(_table, _batch_id(execution, manifest))
    if batch is not None:
        save_batch(_table, batch.finished(BatchState.COMPLETE, _clock.now(), counts))
    return {
        "status": "COMPLETE",
        "sha256": execution["manifest"]["sha256"],
        "rows": sum(counts.values()),
        **{outcome.value: counts[outcome.value] for outcome in Outcome if outcome is not Outcome.REPLACED},
        "refusedRows": f"{prefix}refused.jsonl",
    }


def _refused_rows(result: Any, counts: Counter[str]) -> Iterator[Mapping[str, Any]]:
    """Yield what `refused.jsonl` lists, and count all rows on the way."""
    # Without a ResultWriter, or where an emulator has none, the map's own output is its children's.
    outputs = result if isinstance(result, list) else _bucket.children_results(result["ResultWriterDetails"])
    for output in outputs:
        counts.update(output["counts"])
        for row in output["refused"]:
            counts[Outcome.REFUSED.value] += 1
            if counts[Outcome.REFUSED.value] <= MAX_LISTED:
                yield row


def _manifest(execution: Mapping[str, Any]) -> ManifestObject:
    detail = execution["event"]["detail"]
    if detail["bucket"]["name"] != _bucket.name:
        raise ManifestRefused(f"an event of another bucket, {detail['bucket']['name']!r}")
    described = detail["object"]
    return ManifestObject(described["key"], described.get("version-id") or described["etag"].strip('"'))


def _batch_id(execution: Mapping[str, Any], manifest: ManifestObject) -> str:
    """The same id for the same version of an object, whenever it is run again: that makes a repetition harmless."""
    dropped = datetime.fromisoformat(execution["event"]["time"]).astimezone(UTC)
    version = hashlib.sha256(f"{_bucket.name}/{manifest.key}\n{manifest.version}".encode()).hexdigest()
    return f"{dropped:%Y%m%dT%H%M%SZ}-{version[:8]}"


def _require_columns(header: list[str]) -> None:
    missing = [name for name in missing_columns(header) if name == DEVICE_ID or not _gate.key_optional]
    if missing:
        raise ManifestRefused(f"the header lacks {' and '.join(missing)}; accepted: {COLUMNS_FORM}")


def _save_opened(batch_id: str, manifest: ManifestObject, digest: str, *, enrolled_by: str) -> None:
    known = find_batch(_table, batch_id)
    if known is not None and known.state in {BatchState.REVERTING, BatchState.REVERTED}:
        raise ManifestRefused(f"batch {batch_id} was reverted; put the file into the bucket anew to import it again")
    started_at = timestamp(_clock.now()) if known is None else known.started_at
    file = ManifestFile(manifest.name, digest, manifest.format)
    save_batch(_table, Batch(batch_id, BatchState.IMPORTING, enrolled_by, started_at, [file]))


def _fields(value: Any) -> Mapping[str, object]:
    """A line of JSON Lines may hold anything; what is no object has no column."""
    return value if isinstance(value, dict) else {}


def _failed(failure: Mapping[str, Any]) -> dict[str, Any]:
    error, cause = str(failure.get("Error", "")), str(failure.get("Cause", ""))
    return {"status": "FAILED", "error": {"error": error[:200], "cause": cause[:1_000]}}
