"""A session as one batch: each device is checked and written to the registry when it is read, or only checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from secretfree.clock import SystemClock
from secretfree.registry.admission import RowRefused
from secretfree.registry.batch import Batch, BatchState, ManifestFile, new_batch_id
from secretfree.registry.decision import Outcome
from secretfree.registry.device import EnrolledDevice, Provenance, timestamp
from secretfree.registry.enrollment import enroll_beside_others, enroll_devices
from secretfree.registry.gate import Gate
from secretfree.registry.key_holders import KeyHolders
from secretfree.registry.store import RegistryStore, save_batch

from secretfree_cli.factory.uart import DeviceReading
from secretfree_cli.importing.revert import notes_in
from secretfree_cli.manifests.manifest import Row

_WORDS: Mapping[Outcome, str] = {
    Outcome.ENROLLED: "enrolled",
    Outcome.UNCHANGED: "enrolled before",
    Outcome.INDEXED: "enrolled before, now found by its key",
}
_WORDS_OF_A_DRY_RUN: Mapping[Outcome, str] = {
    Outcome.ENROLLED: "would be enrolled",
    Outcome.UNCHANGED: "enrolled before",
    Outcome.INDEXED: "enrolled before, would be found by its key",
}


@dataclass
class EnrollmentSession:
    """Enrols devices one at a time. The first device that passes the gate opens the batch.

    `source` is the kind of source (`uart`, `scan`, `image`), `origin` its name (a port, a file). Sessions may run
    concurrently, on several production lines: a record is put only if none exists. With `dry_run`, the session reads
    the registry and returns the verdict for each device, but writes nothing and opens no batch.
    """

    store: RegistryStore
    gate: Gate
    enrolled_by: str
    source: str
    origin: str
    batch_id: str | None = None
    dry_run: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    batch: Batch | None = None
    _kept: ExitStack = field(default_factory=ExitStack)
    _holders: KeyHolders = field(init=False)

    def __post_init__(self) -> None:
        self._holders = KeyHolders(self.store, notes_in(self._kept), clock=SystemClock())

    def enroll(self, reading: DeviceReading) -> str:
        """Enrol one device and return a short text with the outcome; raises RowRefused."""
        try:
            return self._enroll(reading)
        except RowRefused:
            self.counts[Outcome.REFUSED.value] += 1
            raise

    def _enroll(self, reading: DeviceReading) -> str:
        record = self.gate.admit(Row(reading.device_id, reading.public_key))
        batch = self.batch or (self._made() if self.dry_run else self._begin())
        provenance = Provenance(batch.id, datetime.fromisoformat(batch.started_at), self.source)
        device = EnrolledDevice.newly(record, provenance)
        if self.dry_run:
            (verdict,) = enroll_devices([device], store=self.store, holders=self._holders, dry_run=True)
        else:
            (verdict,) = enroll_beside_others([device], store=self.store, holders=self._holders)
        if verdict.outcome is Outcome.REFUSED:
            raise RowRefused(verdict.reason or "", verdict.detail or "")
        self.counts[verdict.outcome.value] += 1
        self._holders.note(device.fingerprint, device.device_id)
        return (_WORDS_OF_A_DRY_RUN if self.dry_run else _WORDS)[verdict.outcome]

    def finish(self) -> None:
        """Close the batch with its counts."""
        self._kept.close()
        if self.batch is not None:
            finished = self.batch.finished(BatchState.COMPLETE, SystemClock().now(), self.counts)
            save_batch(self.store, finished)

    def _begin(self) -> Batch:
        self.batch = self._made()
        save_batch(self.store, self.batch)
        return self.batch

    def _made(self) -> Batch:
        now = SystemClock().now()
        # The output of a port or a scanner has no digest.
        origin = ManifestFile(self.origin, "", self.source)
        batch_id = self.batch_id or new_batch_id(now)
        return Batch(batch_id, BatchState.IMPORTING, self.enrolled_by, timestamp(now), [origin])


@contextmanager
def closing_batch(session: EnrollmentSession) -> Iterator[EnrollmentSession]:
    """Close the session's batch, even after an error. Enrolled devices and the batch's record are kept."""
    try:
        yield session
    finally:
        session.finish()
