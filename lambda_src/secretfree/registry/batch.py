"""Batches: which import enrolled a device, from which files, by whom."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Self

from secretfree.registry.device import timestamp

_BATCH_ID: Final = re.compile(r"[a-zA-Z0-9._:-]{1,64}", re.ASCII)
BATCH_ID_FORM: Final = "1 to 64 characters of a-z, A-Z, 0-9, '.', '_', ':' and '-'"


class BatchState(StrEnum):
    """The states of a batch."""

    IMPORTING = "importing"
    COMPLETE = "complete"
    REVERTING = "reverting"
    REVERTED = "reverted"
    UNREADABLE = "unreadable"
    """The batch's record cannot be read, so commands refuse it."""

    @property
    def is_open(self) -> bool:
        """Whether the batch may still write devices or restore their former keys."""
        return self in {BatchState.IMPORTING, BatchState.REVERTING}

    @property
    def is_undone(self) -> bool:
        """Whether its devices are being or were removed. A revert of another batch does not restore them."""
        return self in {BatchState.REVERTING, BatchState.REVERTED}


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A file that a batch came from: its base name, its bytes' SHA-256 in hex, and its format's name."""

    name: str
    sha256: str
    format: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One import."""

    id: str
    state: BatchState
    enrolled_by: str
    """ARN of the caller (STS GetCallerIdentity) or of the cloud import's execution, or a name (`prepare-import`)."""
    started_at: str
    files: Sequence[ManifestFile] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    finished_at: str | None = None
    replace_reason: str | None = None
    import_id: str | None = None
    """Digest of the files and of the options of their import; None for a batch without files."""

    def finished(self, state: BatchState, at: datetime, counts: Mapping[str, int] | None = None) -> Self:
        """Return the batch in its final state."""
        return replace(self, state=state, finished_at=timestamp(at), counts=self.counts if counts is None else counts)


def new_batch_id(now: datetime) -> str:
    """Return a unique id that sorts by time: `20260131T093000Z-3f9a1c02`."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def derived_import_id(files: Sequence[ManifestFile], options: Mapping[str, object]) -> str:
    """Return the id of the import of these files with these options, the same on every machine and at every time.

    So running an import again resumes it. The files' names and order do not matter. `options` are JSON values.
    """
    content = {"files": sorted(file.sha256 for file in files), "options": options}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def derived_batch_id(import_id: str, *, attempt: int = 1) -> str:
    """Return the id of an import's batch. `attempt`: 1 plus the number of its reverted batches."""
    return f"import-{import_id}" if attempt == 1 else f"import-{import_id}.{attempt}"


def is_batch_id(text: str) -> bool:
    """Whether `text` has the form of a batch id."""
    return _BATCH_ID.fullmatch(text) is not None
