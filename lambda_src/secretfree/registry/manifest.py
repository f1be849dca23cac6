"""The import in the cloud: enrols one call's rows while other calls run, and accounts for each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from secretfree.registry.admission import EnrollmentRecord, Refusal, RowRefused
from secretfree.registry.decision import Outcome
from secretfree.registry.device import EnrolledDevice, Provenance
from secretfree.registry.enrollment import enroll_beside_others
from secretfree.registry.gate import Gate
from secretfree.registry.id_shapes import IdShapes
from secretfree.registry.key_holders import HolderLookup
from secretfree.registry.key_material.keys import refusing_rows
from secretfree.registry.row import read_columns
from secretfree.registry.store import RegistryStore

MAX_ROWS: Final = 500
"""Maximum number of rows in one call.

If all are refused, in 350 bytes each, the answer fits into Step Functions' 256 KiB.
"""
_MAX_DETAIL: Final = 160
_MAX_SHOWN_ID: Final = 64


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was not enrolled, as the results object lists it."""

    number: int
    device_id: str | None
    reason: str
    detail: str

    def document(self) -> dict[str, Any]:
        """Return it as JSON, in ASCII of a bounded length, because some values come from the file."""
        shown = None if self.device_id is None else _bounded(self.device_id, _MAX_SHOWN_ID)
        return {
            "row": self.number,
            "deviceId": shown,
            "reason": self.reason,
            "detail": _bounded(self.detail, _MAX_DETAIL),
        }


@dataclass(frozen=True, slots=True)
class RowsImported:
    """The outcomes of one call's rows. Each row is in one of `counts` (by outcome) or in `refused`."""

    counts: Mapping[str, int]
    refused: Sequence[RefusedRow]
    ids: IdShapes = field(default_factory=IdShapes, compare=False)

    def document(self) -> dict[str, Any]:
        """Return it as JSON: the output of a child of the Distributed Map."""
        return {
            "counts": dict(self.counts),
            "refused": [row.document() for row in self.refused],
            "ids": self.ids.document(),
        }


def import_rows(
    rows: Mapping[int, Mapping[str, object]],
    *,
    gate: Gate,
    store: RegistryStore,
    holders: HolderLookup,
    provenance: Provenance,
) -> RowsImported:
    """Enrol `rows`, columns by row number (from 1), of the manifest that `provenance` names.

    Safe to repeat and to run beside other rows of the same or another manifest: a record is put only if none exists,
    and records that this batch already wrote count as before. If two of `rows` contradict each other, both are refused.
    If rows of different calls do, the one that is written first stays and the other is refused.

    Raises: RegistryBusy, and the store's errors; repeat the call then.
    """
    admitted, refused = _admit(rows, gate)
    ids = _shapes(admitted, refused)
    unambiguous, contradicting = _without_contradictions(admitted)
    refused += contradicting
    devices = {number: EnrolledDevice.newly(record, provenance) for number, record in unambiguous}
    enrolled = enroll_beside_others(list(devices.values()), store=store, holders=holders)
    verdicts = dict(zip(devices, enrolled, strict=True))
    counts: Counter[str] = Counter()
    for number, verdict in verdicts.items():
        if verdict.outcome is Outcome.REFUSED:
            device_id, reason = verdict.device.device_id, verdict.reason or ""
            refused.append(RefusedRow(number, device_id, reason, verdict.detail or ""))
        else:
            counts[verdict.outcome.value] += 1
    return RowsImported(counts, sorted(refused, key=lambda row: row.number), ids)


def _admit(
    rows: Mapping[int, Mapping[str, object]], gate: Gate
) -> tuple[list[tuple[int, EnrollmentRecord]], list[RefusedRow]]:
    admitted: list[tuple[int, EnrollmentRecord]] = []
    refused: list[RefusedRow] = []
    for number, fields in rows.items():
        try:
            with refusing_rows(Refusal.MALFORMED_ROW, "the row cannot be read"):
                admitted.append((number, gate.admit(read_columns(fields))))
        except RowRefused as refusal:
            given = fields.get("device-id")
            shown = given if isinstance(given, str) and given else None
            refused.append(RefusedRow(number, shown, refusal.reason, refusal.detail))
    return admitted, refused


def _shapes(admitted: Iterable[tuple[int, EnrollmentRecord]], refused: Iterable[RefusedRow]) -> IdShapes:
    ids = IdShapes()
    for number, record in admitted:
        ids.add(number, record.device_id, admitted=True)
    for row in refused:
        if row.device_id is not None:
            ids.add(row.number, row.device_id, admitted=False)
    return ids


def _without_contradictions(
    admitted: Sequence[tuple[int, EnrollmentRecord]],
) -> tuple[list[tuple[int, EnrollmentRecord]], list[RefusedRow]]:
    """Refuse rows that give one device two keys or one key to two devices; of equal rows, keep the first."""
    keys_of = _grouped((record.device_id, record.fingerprint) for _, record in admitted)
    devices_of = _grouped((record.fingerprint, record.device_id) for _, record in admitted)
    kept: list[tuple[int, EnrollmentRecord]] = []
    refused: list[RefusedRow] = []
    seen: dict[str, int] = {}
    for number, record in admitted:
        fingerprint = record.fingerprint
        if len(keys_of[record.device_id]) > 1:
            reason, detail = Refusal.DUPLICATE_DEVICE_ID, "rows of this manifest give the device different keys"
        elif fingerprint is not None and len(devices_of[fingerprint]) > 1:
            reason, detail = Refusal.DUPLICATE_KEY, "rows of this manifest give the key to different devices"
        elif record.device_id in seen:
            reason, detail = Refusal.DUPLICATE_ROW, f"the same as row {seen[record.device_id]}, which counts"
        else:
            seen[record.device_id] = number
            kept.append((number, record))
            continue
        refused.append(RefusedRow(number, record.device_id, reason.value, detail))
    return kept, refused


def _grouped(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, set[Any]]:
    groups: dict[Any, set[Any]] = {}
    for key, value in pairs:
        groups.setdefault(key, set()).add(value)
    return groups


def _bounded(text: str, length: int) -> str:
    return text.encode("ascii", "backslashreplace")[:length].decode("ascii")
