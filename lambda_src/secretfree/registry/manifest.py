"""The import in the cloud: a run of rows, enrolled beside others that run at the same moment, and accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from secretfree.adapters.dynamodb.registry_items import Item, Provenance, to_item
from secretfree.adapters.dynamodb.registry_table import ChangedMeanwhile, RegistryTable
from secretfree.registry.admission import EnrollmentRecord, Refusal, RowRefused, admit
from secretfree.registry.decision import Outcome, Verdict, decide
from secretfree.registry.enrollment import KeyHolders
from secretfree.registry.row import read_columns
from secretfree.request.device_profile import DeviceProfile

PARALLEL_CALLS: Final = 10
"""Connections that one client keeps to one host (botocore's `max_pool_connections`)."""
MAX_ROWS: Final = 500
"""Rows of one call: were each refused, in some 350 bytes, the answer would stay within Step Functions' 256 KiB."""
_MAX_DETAIL: Final = 160
_MAX_SHOWN_ID: Final = 64

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ImportRow:
    """One row of a manifest: its number, from 1, and its columns."""

    number: int
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was not enrolled, as the results object tells it."""

    number: int
    device_id: str | None
    reason: str
    detail: str

    def document(self) -> dict[str, Any]:
        """Return it as JSON, in ASCII of a bounded length, since the file chose some of it."""
        shown = None if self.device_id is None else _bounded(self.device_id, _MAX_SHOWN_ID)
        return {
            "row": self.number,
            "deviceId": shown,
            "reason": self.reason,
            "detail": _bounded(self.detail, _MAX_DETAIL),
        }


@dataclass(frozen=True, slots=True)
class RowsImported:
    """What became of a run of rows. Each is in one of `counts` (by outcome) or in `refused`."""

    counts: Mapping[str, int]
    refused: Sequence[RefusedRow]

    def document(self) -> dict[str, Any]:
        """Return it as JSON: the output of a child of the Distributed Map."""
        return {"counts": dict(self.counts), "refused": [row.document() for row in self.refused]}


@dataclass(frozen=True, slots=True)
class CloudGate:
    """The gate as this stack has it: its device profile, and whether its match policy lets a row come without a key."""

    profile: DeviceProfile
    key_optional: bool

    def admit(self, fields: Mapping[str, object]) -> EnrollmentRecord:
        """Return the record that the columns make; raises RowRefused."""
        columns = read_columns(fields)
        return admit(
            columns.device_id,
            columns.public_key,
            profile=self.profile,
            status=columns.status,
            fingerprint=columns.fingerprint,
            attributes=columns.attributes,
            key_optional=self.key_optional,
        )


def import_rows(
    rows: Sequence[ImportRow], *, gate: CloudGate, table: RegistryTable, batch: str, source: str, now: datetime
) -> RowsImported:
    """Enrol `rows` of the manifest that is the batch `batch`.

    Safe to repeat and to run beside other rows of the same or another manifest: an item is put only where none is, and
    what this batch wrote before counts again as it did then. Where two of `rows` contradict each other, neither is
    taken; where rows of different calls do, the one that is written first stays and the other is refused.

    Raises: botocore's ClientError and TableBusy when the table cannot be reached; repeat the call then.
    """
    admitted, refused = _admit(rows, gate)
    unambiguous, contradicting = _without_contradictions(admitted)
    refused += contradicting
    provenance = Provenance(batch, now, source)
    items = {number: to_item(record, provenance) for number, record in unambiguous}
    verdicts = dict(zip(items, enroll_beside_others(list(items.values()), table, holders=table), strict=True))
    counts: Counter[str] = Counter()
    for number, verdict in verdicts.items():
        if verdict.outcome is Outcome.REFUSED:
            device_id, reason = verdict.item["device-id"]["S"], verdict.reason or ""
            refused.append(RefusedRow(number, device_id, reason, verdict.detail or ""))
        else:
            counts[verdict.outcome.value] += 1
    return RowsImported(counts, sorted(refused, key=lambda row: row.number))


def enroll_beside_others(items: Sequence[Item], table: RegistryTable, *, holders: KeyHolders) -> Sequence[Verdict]:
    """Enrol `items` (no id or key twice) while others may enrol too, and return a verdict for each, in their order.

    An item is put only where none is, at one write a device, where `enroll.enroll_items` puts 25 in one call and leaves
    a window between its reading and its writing. No enrolled key is replaced.

    Raises: botocore's ClientError and TableBusy; repeat the call then.
    """
    verdicts = _decide(items, table, holders)
    carried_out = list(_parallel(lambda verdict: _carry_out(verdict, table, holders), verdicts))
    lost = [position for position, verdict in enumerate(carried_out) if verdict is None]
    if lost:  # another call was faster: what it wrote decides, and a second loss is beyond two honest imports
        again = _decide([items[position] for position in lost], table, holders)
        for position, verdict in zip(lost, again, strict=True):
            carried_out[position] = _carry_out(verdict, table, holders) or _changed_again(verdict)
    return [verdict for verdict in carried_out if verdict is not None]


def _admit(rows: Sequence[ImportRow], gate: CloudGate) -> tuple[list[tuple[int, EnrollmentRecord]], list[RefusedRow]]:
    admitted: list[tuple[int, EnrollmentRecord]] = []
    refused: list[RefusedRow] = []
    for row in rows:
        try:
            admitted.append((row.number, gate.admit(row.fields)))
        except RowRefused as refusal:
            given = row.fields.get("device-id")
            shown = given if isinstance(given, str) and given else None
            refused.append(RefusedRow(row.number, shown, refusal.reason, refusal.detail))
    return admitted, refused


def _without_contradictions(
    admitted: Sequence[tuple[int, EnrollmentRecord]],
) -> tuple[list[tuple[int, EnrollmentRecord]], list[RefusedRow]]:
    """Leave out rows that give one device two keys or one key to two devices; of equal rows keep the first."""
    keys_of = _grouped((record.device_id, _fingerprint(record)) for _, record in admitted)
    devices_of = _grouped((_fingerprint(record), record.device_id) for _, record in admitted)
    kept: list[tuple[int, EnrollmentRecord]] = []
    refused: list[RefusedRow] = []
    seen: dict[str, int] = {}
    for number, record in admitted:
        fingerprint = _fingerprint(record)
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


def _decide(items: Sequence[Item], table: RegistryTable, holders: KeyHolders) -> Sequence[Verdict]:
    enrolled = table.read([item["device-id"]["S"] for item in items])
    held = _parallel(lambda item: _holders(item, holders), items)
    return [
        decide(item, enrolled.get(item["device-id"]["S"]), others) for item, others in zip(items, held, strict=True)
    ]


def _carry_out(verdict: Verdict, table: RegistryTable, holders: KeyHolders) -> Verdict | None:
    """Write what the verdict says; None if the item is no longer what was decided upon."""
    try:
        if verdict.outcome is Outcome.ENROLLED and not verdict.already_written:
            table.put_new(verdict.item)
            return _unless_key_was_taken(verdict, table, holders)
        if verdict.outcome is Outcome.INDEXED and verdict.previous is not None:
            table.update(verdict.previous.item, {"key-fingerprint": verdict.item["key-fingerprint"]})
    except ChangedMeanwhile:
        return None
    return verdict


def _unless_key_was_taken(verdict: Verdict, table: RegistryTable, holders: KeyHolders) -> Verdict:
    """Take the item back if another device came with the same key at the same moment; that one does likewise.

    The index is eventually consistent, so this narrows the window to its lag, usually well below a second. It does not
    close it: the runtime refuses a key that leads to two devices where it looks up by key.
    """
    others = sorted(_holders(verdict.item, holders) - {verdict.item["device-id"]["S"]})
    if not others:
        return verdict
    table.delete_exactly(verdict.item)
    return Verdict(
        Outcome.REFUSED, verdict.item, reason=Refusal.KEY_OF_OTHER_DEVICE.value, detail=f"{others[0]} has the same key"
    )


def _holders(item: Item, holders: KeyHolders) -> set[str]:
    if "key-fingerprint" not in item:
        return set()
    fingerprint = item["key-fingerprint"]["S"]
    return set(holders.holders_of([fingerprint]).get(fingerprint, ()))


def _changed_again(verdict: Verdict) -> Verdict:
    detail = "its item was changed by another import at the same time; import it again"
    return Verdict(Outcome.REFUSED, verdict.item, reason="changed-meanwhile", detail=detail)


def _parallel(call: Callable[[T], R], work: Sequence[T]) -> Sequence[R]:
    with ThreadPoolExecutor(PARALLEL_CALLS) as pool:
        return list(pool.map(call, work))


def _fingerprint(record: EnrollmentRecord) -> str | None:
    return None if record.public_key is None else record.public_key.fingerprint


def _grouped(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, set[Any]]:
    groups: dict[Any, set[Any]] = {}
    for key, value in pairs:
        groups.setdefault(key, set()).add(value)
    return groups


def _bounded(text: str, length: int) -> str:
    return text.encode("ascii", "backslashreplace")[:length].decode("ascii")
