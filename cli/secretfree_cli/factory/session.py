"""A session as one batch: each device is checked and written to the registry as it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from secretfree.adapters.dynamodb.registry_items import EnrolledDevice, Provenance, is_device, timestamp, to_item
from secretfree.adapters.dynamodb.registry_table import KEY_INDEX, RegistryTable
from secretfree.registry.admission import RowRefused
from secretfree.registry.batch import Batch, BatchState, ManifestFile, new_batch_id, save_batch
from secretfree.registry.decision import Outcome
from secretfree.registry.manifest import enroll_beside_others

from secretfree_cli.factory.uart import Reading
from secretfree_cli.manifests.manifest import Gate, Row

_WORDS: Mapping[Outcome, str] = {
    Outcome.ENROLLED: "enrolled",
    Outcome.UNCHANGED: "enrolled before",
    Outcome.INDEXED: "enrolled before, now found by its key",
}


@dataclass
class EnrollmentSession:
    """Enrols devices one at a time. The batch is begun by the first device that passes the gate, not by opening a port.

    `source` says where devices came from (`uart`, `scan`, `image`), `origin` which one (a port, a file). Sessions may
    run side by side, on several lines: an item is put only where none is.
    """

    table: RegistryTable
    gate: Gate
    enrolled_by: str
    source: str
    origin: str
    batch_id: str | None = None
    counts: Counter[str] = field(default_factory=Counter)
    batch: Batch | None = None
    _has_key_index: bool | None = None
    _scanned_holders: dict[str, set[str]] | None = None

    def enroll(self, reading: Reading) -> str:
        """Put one device into the registry, and say in a word or two what was done; raises RowRefused."""
        try:
            return self._enroll(reading)
        except RowRefused:
            self.counts[Outcome.REFUSED.value] += 1
            raise

    def _enroll(self, reading: Reading) -> str:
        record = self.gate.admit(Row(reading.device_id, reading.public_key))
        batch = self.batch or self._begin()
        item = to_item(record, Provenance(batch.id, datetime.fromisoformat(batch.started_at), self.source))
        (verdict,) = enroll_beside_others([item], self.table, holders=self)
        if verdict.outcome is Outcome.REFUSED:
            raise RowRefused(verdict.reason or "", verdict.detail or "")
        self.counts[verdict.outcome.value] += 1
        self._remember(record.device_id, reading)
        return _WORDS[verdict.outcome]

    def holders_of(self, fingerprints: Collection[str]) -> Mapping[str, Collection[str]]:
        """Return which devices hold the keys: by the index, or, where an existing table has none, by one scan."""
        if self._has_key_index is None:
            self._has_key_index = KEY_INDEX in self.table.indexes()
        if self._has_key_index:
            return self.table.holders_of(fingerprints)
        if self._scanned_holders is None:
            self._scanned_holders = _scan_holders(self.table)
        return {key: self._scanned_holders[key] for key in fingerprints if key in self._scanned_holders}

    def finish(self) -> None:
        """Close the batch with its counts."""
        if self.batch is not None:
            save_batch(self.table, self.batch.finished(BatchState.COMPLETE, datetime.now(UTC), self.counts))

    def _begin(self) -> Batch:
        now = datetime.now(UTC)
        batch_id = self.batch_id or new_batch_id(now)
        # What a port or a scanner says has no digest.
        origin = ManifestFile(self.origin, "", self.source)
        self.batch = Batch(batch_id, BatchState.IMPORTING, self.enrolled_by, timestamp(now), [origin])
        save_batch(self.table, self.batch)
        return self.batch

    def _remember(self, device_id: str, reading: Reading) -> None:
        if self._scanned_holders is not None and reading.public_key is not None:
            self._scanned_holders.setdefault(reading.public_key.fingerprint, set()).add(device_id)


@contextmanager
def closing_batch(session: EnrollmentSession) -> Iterator[EnrollmentSession]:
    """Close the session's batch however it ends: what was enrolled stays, and its account with it."""
    try:
        yield session
    finally:
        session.finish()


def _scan_holders(table: RegistryTable) -> dict[str, set[str]]:
    holders: dict[str, set[str]] = {}
    for page in table.scan(attributes=("device-id", "key-fingerprint", "pubkey")):
        for device in (EnrolledDevice.from_item(item) for item in page if is_device(item)):
            if device.fingerprint is not None:
                holders.setdefault(device.fingerprint, set()).add(device.device_id)
    return holders
