"""Batches: which import brought a device, from which file, by whom; kept in the registry, where no lookup leads."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Self

from secretfree.adapters.dynamodb.registry_items import AttributeValue, Item, timestamp
from secretfree.adapters.dynamodb.registry_table import BATCH_INDEX, RegistryTable
from secretfree.registry.registry_state import RegistryState, close_import, open_import

BATCHES: Final = "#batches"
"""`batch` of every batch's record; like `batch#...`, no device id can be it: '#' is not in their alphabet."""
_PREFIX: Final = "batch#"
_BATCH_ID: Final = re.compile(r"[a-zA-Z0-9._:-]{1,64}", re.ASCII)
BATCH_ID_FORM: Final = "1 to 64 characters of a-z, A-Z, 0-9, '.', '_', ':' and '-'"


class BatchState(StrEnum):
    """How far a batch came."""

    IMPORTING = "importing"
    COMPLETE = "complete"
    REVERTING = "reverting"
    REVERTED = "reverted"

    @property
    def is_open(self) -> bool:
        """Whether devices may still be written, or given their former keys, in its name."""
        return self in {BatchState.IMPORTING, BatchState.REVERTING}

    @property
    def is_undone(self) -> bool:
        """Whether somebody wants its devices away: nothing is brought back that it brought."""
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
    """ARN of the caller (STS GetCallerIdentity), of the cloud's execution, or who `prepare-import` was told."""
    started_at: str
    files: Sequence[ManifestFile] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    finished_at: str | None = None
    replace_reason: str | None = None

    def finished(self, state: BatchState, at: datetime, counts: Mapping[str, int] | None = None) -> Self:
        """Return the batch as it is once it is through."""
        return replace(self, state=state, finished_at=timestamp(at), counts=self.counts if counts is None else counts)

    def to_item(self) -> dict[str, AttributeValue]:
        """Return the record's item."""
        item: dict[str, AttributeValue] = {
            "device-id": {"S": _PREFIX + self.id},
            "batch": {"S": BATCHES},
            "state": {"S": self.state.value},
            "enrolled-by": {"S": self.enrolled_by},
            "started-at": {"S": self.started_at},
            "files": {
                "L": [
                    {"M": {"name": {"S": file.name}, "sha256": {"S": file.sha256}, "format": {"S": file.format}}}
                    for file in self.files
                ]
            },
            "counts": {"M": {name: {"N": str(count)} for name, count in self.counts.items()}},
        }
        if self.finished_at is not None:
            item["finished-at"] = {"S": self.finished_at}
        if self.replace_reason is not None:
            item["replace-reason"] = {"S": self.replace_reason}
        return item

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Read a record."""
        return cls(
            id=item["device-id"]["S"].removeprefix(_PREFIX),
            state=BatchState(item["state"]["S"]),
            enrolled_by=item["enrolled-by"]["S"],
            started_at=item["started-at"]["S"],
            files=tuple(
                ManifestFile(file["M"]["name"]["S"], file["M"]["sha256"]["S"], file["M"]["format"]["S"])
                for file in item["files"]["L"]
            ),
            counts={name: int(count["N"]) for name, count in item["counts"]["M"].items()},
            finished_at=item["finished-at"]["S"] if "finished-at" in item else None,
            replace_reason=item["replace-reason"]["S"] if "replace-reason" in item else None,
        )


def new_batch_id(now: datetime) -> str:
    """Return an id that sorts by time and is never made twice: `20260131T093000Z-3f9a1c02`."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def is_batch_id(text: str) -> bool:
    """Whether `text` may name a batch."""
    return _BATCH_ID.fullmatch(text) is not None


def save_batch(table: RegistryTable, batch: Batch) -> RegistryState:
    """Write a batch's record over what there was of it, and tell other imports that it is open, or no longer is.

    Returns the registry's state as it is then: of an open batch, before anything is read or written in its name.
    """
    # The record first: were one cut off between the two, an open batch without a record could not even be reverted.
    table.write([batch.to_item()])
    return open_import(table, batch.id) if batch.state.is_open else close_import(table, batch.id)


def find_batch(table: RegistryTable, batch_id: str) -> Batch | None:
    """Return a batch's record, read consistently, or None."""
    return find_batches(table, [batch_id]).get(batch_id)


def find_batches(table: RegistryTable, batch_ids: Collection[str]) -> Mapping[str, Batch]:
    """Return the records of batches, read consistently; those that have none are left out."""
    batches = map(Batch.from_item, table.read_items([_PREFIX + batch_id for batch_id in batch_ids]).values())
    return {batch.id: batch for batch in batches}


def list_batches(table: RegistryTable) -> Sequence[Batch]:
    """Return all batches, the latest first."""
    ids: list[str] = []
    if BATCH_INDEX in table.indexes():
        for page in table.batch_members(BATCHES):
            ids += page
    else:
        for items in table.scan(attributes=("device-id",)):
            ids += [item["device-id"]["S"] for item in items if item["device-id"]["S"].startswith(_PREFIX)]
    batches = [Batch.from_item(item) for item in table.read_items(ids).values()]
    return sorted(batches, key=lambda batch: (batch.started_at, batch.id), reverse=True)


def members(table: RegistryTable, batch_id: str) -> Iterator[Sequence[str]]:
    """Yield pages of the ids of the devices that are of a batch, by its index or, where there is none, by a scan."""
    if BATCH_INDEX in table.indexes():
        yield from table.batch_members(batch_id)
        return
    for items in table.scan(attributes=("device-id", "batch")):
        yield [item["device-id"]["S"] for item in items if item.get("batch", {}).get("S") == batch_id]
