"""The steps of an import in the cloud: open a manifest, import its rows call by call, close the account of them all."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Final, Protocol

from secretfree.clock import Clock
from secretfree.contract import ManifestFolder
from secretfree.registry.batch import Batch, BatchState, ManifestFile
from secretfree.registry.decision import Outcome
from secretfree.registry.device import Provenance, timestamp
from secretfree.registry.gate import Gate
from secretfree.registry.id_shapes import IdShapes
from secretfree.registry.key_holders import count_unindexed, index_is_complete, record_completeness
from secretfree.registry.manifest import MAX_ROWS, RowsImported, import_rows
from secretfree.registry.row import COLUMNS_FORM, DEVICE_ID, missing_columns
from secretfree.registry.store import RegistryStore, find_batch, save_batch

MANIFESTS: Final = ManifestFolder.MANIFESTS.value
RESULTS: Final = ManifestFolder.RESULTS.value
FORMATS: Final[Mapping[str, str]] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""Maps a file name's suffix to the format."""
MAX_LISTED: Final = 1_000_000
"""Maximum number of refused rows in `refused.jsonl`. The children's own results list all of them."""


class ManifestRefused(Exception):  # noqa: N818 - the name is what Step Functions shows as the execution's error
    """A manifest that is refused as a whole. None of its rows was imported."""


@dataclass(frozen=True, slots=True)
class ManifestObject:
    """One version of an object, from its event. `version` is the version id, or the ETag without versioning."""

    key: str
    version: str

    @property
    def name(self) -> str:
        """The file's base name."""
        return PurePosixPath(self.key).name

    @property
    def format(self) -> str:
        """The format by the name's suffix; raises ManifestRefused."""
        suffix = PurePosixPath(self.key).suffix.lower()
        if not self.key.startswith(MANIFESTS) or suffix not in FORMATS:
            raise ManifestRefused(f"{self.key[:200]!r}; accepted: {MANIFESTS}NAME with {', '.join(FORMATS)}")
        return FORMATS[suffix]


class ManifestStore(Protocol):
    """The store of manifests and results."""

    @property
    def name(self) -> str:
        """The bucket's name, which an event must have."""
        ...

    def inspect(self, manifest: ManifestObject) -> tuple[str, list[str]]:
        """Read the object once; return its SHA-256 in hex and, for CSV, the names in its header.

        Raises: ManifestRefused if it is too large, has no header, or was overwritten since its event.
        """
        ...

    def require_unchanged(self, manifest: ManifestObject) -> None:
        """Raise ManifestRefused if the object was overwritten, because the rows may be of either version."""
        ...

    def children_results(self, location: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        """Yield the outputs of all calls that imported rows; `location` is the map's `ResultWriterDetails`."""
        ...

    def write_document(self, key: str, document: Mapping[str, Any]) -> None:
        """Write one JSON document."""
        ...

    def write_lines(self, key: str, documents: Iterable[Mapping[str, Any]]) -> None:
        """Write JSON Lines with constant memory."""
        ...


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of the state machine: the object's event, and the results of earlier steps."""

    id: str
    bucket: str
    manifest: ManifestObject
    dropped_at: datetime
    result: Any = None
    """Output of the map: its children's outputs, or their location."""
    sha256: str | None = None
    failure: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Execution:
        """Read the state machine's state."""
        detail = state["event"]["detail"]
        described = detail["object"]
        version = described.get("version-id") or described["etag"].strip('"')
        return cls(
            id=state["execution"],
            bucket=detail["bucket"]["name"],
            manifest=ManifestObject(described["key"], version),
            dropped_at=datetime.fromisoformat(state["event"]["time"]).astimezone(UTC),
            result=state.get("result"),
            sha256=state.get("manifest", {}).get("sha256"),
            failure=state.get("failure"),
        )

    @property
    def batch_id(self) -> str:
        """The batch's id. It depends only on the version of the object, so a repetition is harmless."""
        version = hashlib.sha256(f"{self.bucket}/{self.manifest.key}\n{self.manifest.version}".encode()).hexdigest()
        return f"{self.dropped_at:%Y%m%dT%H%M%SZ}-{version[:8]}"


@dataclass(frozen=True, slots=True)
class ManifestImport:
    """The steps of the import. Each may be repeated."""

    store: RegistryStore
    manifests: ManifestStore
    gate: Gate
    clock: Clock

    def open(self, execution: Execution) -> dict[str, Any]:
        """Check the manifest as a whole and open its batch; return the input of the map. Raises ManifestRefused."""
        manifest = self._manifest(execution)
        format_name = manifest.format
        digest, header = self.manifests.inspect(manifest)
        if format_name == "csv":
            self._require_columns(header)
        self._require_indexed()
        self._save_opened(execution, ManifestFile(manifest.name, digest, format_name))
        return {"batch": execution.batch_id, "key": manifest.key, "format": format_name, "sha256": digest}

    def import_items(self, items: Sequence[Mapping[str, Any]]) -> RowsImported:
        """Import the rows of one call. Raises ValueError for more rows than the map is configured to pass."""
        if len(items) > MAX_ROWS:
            raise ValueError(f"{len(items)} rows in one call; at most {MAX_ROWS}")
        return import_rows(
            {int(item["row"]) + 1: _fields(item["fields"]) for item in items},
            gate=self.gate,
            store=self.store,
            holders=self.store,
            provenance=Provenance(items[0]["batch"], self.clock.now(), items[0]["source"]),
        )

    def close(self, execution: Execution) -> dict[str, Any]:
        """Write the results and close the batch; return the import's account."""
        prefix = f"{RESULTS}{execution.batch_id}/"
        account: dict[str, Any] = {
            "batch": execution.batch_id,
            "manifest": {"key": execution.manifest.key, "version": execution.manifest.version},
            "execution": execution.id,
            "finishedAt": timestamp(self.clock.now()),
        }
        if execution.failure is not None:
            account |= _failed(execution.failure)
        else:
            try:
                account |= self._closed(execution, prefix)
            except ManifestRefused as refused:
                account |= _failed({"Error": "ManifestRefused", "Cause": str(refused)})
        self.manifests.write_document(f"{prefix}summary.json", account)
        return account

    def _closed(self, execution: Execution, prefix: str) -> dict[str, Any]:
        self.manifests.require_unchanged(self._manifest(execution))
        counts: Counter[str] = Counter()
        ids = IdShapes()
        self.manifests.write_lines(f"{prefix}refused.jsonl", self._refused_rows(execution.result, counts, ids))
        batch = find_batch(self.store, execution.batch_id)
        if batch is not None and not batch.state.is_undone:
            save_batch(self.store, batch.finished(BatchState.COMPLETE, self.clock.now(), counts))
        return {
            "status": "COMPLETE",
            "sha256": execution.sha256,
            "rows": sum(counts.values()),
            **{outcome.value: counts[outcome.value] for outcome in Outcome if outcome is not Outcome.REPLACED},
            "warnings": ids.warnings(),
            "refusedRows": f"{prefix}refused.jsonl",
        }

    def _refused_rows(self, result: Any, counts: Counter[str], ids: IdShapes) -> Iterator[Mapping[str, Any]]:
        """Yield the refused rows for `refused.jsonl`, and count all rows and the shapes of their ids."""
        # Without a ResultWriter, which an emulator may lack, the map's output is that of its children.
        outputs = result if isinstance(result, list) else self.manifests.children_results(result["ResultWriterDetails"])
        for output in outputs:
            counts.update(output["counts"])
            ids.merge(output.get("ids", ()))  # Absent in a result from before an update of the function.
            for row in output["refused"]:
                counts[Outcome.REFUSED.value] += 1
                if counts[Outcome.REFUSED.value] <= MAX_LISTED:
                    yield row

    def _manifest(self, execution: Execution) -> ManifestObject:
        if execution.bucket != self.manifests.name:
            raise ManifestRefused(f"an event of another bucket, {execution.bucket!r}")
        return execution.manifest

    def _require_columns(self, header: list[str]) -> None:
        missing = [name for name in missing_columns(header) if name == DEVICE_ID or not self.gate.key_optional]
        if missing:
            raise ManifestRefused(f"the header lacks {' and '.join(missing)}; accepted: {COLUMNS_FORM}")

    def _require_indexed(self) -> None:
        """Refuse a registry whose index by key lacks keys, because the rows' calls read only the index."""
        if index_is_complete(self.store):
            return
        if not self.store.has_key_index():
            raise ManifestRefused("the registry has no index by key that can be queried")
        unindexed = count_unindexed(self.store)
        record_completeness(self.store, unindexed, clock=self.clock)
        if unindexed:
            raise ManifestRefused(
                f"{unindexed} devices of the registry lack key-fingerprint, so that their keys would not be found; "
                "`secretfree index-keys` adds it"
            )

    def _save_opened(self, execution: Execution, file: ManifestFile) -> None:
        batch_id = execution.batch_id
        known = find_batch(self.store, batch_id)
        if known is not None and known.state.is_undone:
            raise ManifestRefused(f"batch {batch_id} was reverted; upload the file again to import it again")
        started_at = timestamp(self.clock.now()) if known is None else known.started_at
        save_batch(self.store, Batch(batch_id, BatchState.IMPORTING, execution.id, started_at, [file]))


def _fields(value: Any) -> Mapping[str, object]:
    """The columns of a line. A line of JSON Lines that is not an object has none."""
    return value if isinstance(value, dict) else {}


def _failed(failure: Mapping[str, Any]) -> dict[str, Any]:
    error, cause = str(failure.get("Error", "")), str(failure.get("Cause", ""))
    return {"status": "FAILED", "error": {"error": error[:200], "cause": cause[:1_000]}}
