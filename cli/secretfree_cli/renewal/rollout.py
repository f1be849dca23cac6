"""The rollout: marks devices in the ledger, then creates AWS IoT Jobs for up to a hundred devices each.

With the mark, the device's next request begins a renewal outside its window. It grants nothing else: that request
passes every check. The job only triggers the device's request. A device that misses it renews at its next request.

For each group of devices, in this order, each step safe to repeat:

    1  DescribeJob             a job of this name for these devices exists: they were marked and asked before
    2  ledger: who, when, why  for each device
    3  ledger: mark            by version, unless an issuance of the device is in progress
    4  CreateJob               for the marked devices

An interrupted command is repeated under the same name: it repeats the same groups, and marks no device twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final, Protocol

from secretfree.clock import Clock
from secretfree.contract import RENEWAL_OPERATION, RENEWAL_VERSION
from secretfree.issuance.ports import StaleLedgerError, UnreadableRecord
from secretfree.issuance.record import Issuance
from secretfree.issuance.states import IssuanceState

MOST_TARGETS: Final = 100
"""Maximum number of things in one job."""
MOST_PER_MINUTE: Final = 1000
"""`maximumPerMinute` of a job's rollout (AWS IoT Device Management quota)."""
JOB_NAME_FORM: Final = r"[a-zA-Z0-9_-]{1,40}"
DOCUMENT: Final = json.dumps({"operation": RENEWAL_OPERATION, "version": RENEWAL_VERSION})
IN_PROGRESS_TIMEOUT: Final = timedelta(hours=1)
"""A device that began the job and does not report within this time has failed it."""
ABORT_PERCENT: Final = 20
ABORT_LEAST: Final = 5
"""A job is cancelled at this percentage of failed devices, after this number of devices have finished."""
_JOBS_WATCHED: Final = 20
_DIGEST: Final = 16


class RolloutOutcome(StrEnum):
    """The outcome for a device."""

    ASKED = "asked"
    ALREADY_ASKED = "already-asked"
    BEING_ISSUED = "being-issued"
    """A certificate of the device is being issued now."""
    NO_CERTIFICATE = "no-active-certificate"
    UNREADABLE = "unreadable-record"


class RenewalLedger(Protocol):
    """The ledger, for the rollout."""

    def write(self, issuance: Issuance) -> Issuance:
        """As `secretfree.issuance.ports.RenewalLedger.write`."""


class Jobs(Protocol):
    """AWS IoT Jobs."""

    def status(self, job_id: str) -> str | None:
        """Return the job's status; None if it does not exist."""

    def create(self, job_id: str, device_ids: Sequence[str], *, per_minute: int) -> None:
        """Create the job for these devices. An existing job is success."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The result of one group. `job_id` is None if no device needs a job."""

    job_id: str | None
    outcomes: Mapping[str, RolloutOutcome]


class RolloutAbortedError(Exception):
    """The job `job_id` was cancelled, because too many devices failed it."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One rollout. `name`: its name, of the form `JOB_NAME_FORM`; `rate`: devices per minute.

    `records` returns a device's records to renew. `account` records who requested a renewal, and why.
    """

    name: str
    rate: int
    records: Callable[[str], Sequence[Issuance | UnreadableRecord]]
    ledger: RenewalLedger
    jobs: Jobs
    account: Callable[[Issuance, str], None]
    clock: Clock

    def ask(self, device_ids: Sequence[str]) -> Iterator[Asked]:
        """Create the jobs of all devices; yield each group after its job exists. `device_ids` must be sorted.

        Raises RolloutAbortedError before the next group; botocore's errors.
        """
        made: list[str] = []
        pause = 0.0
        size = min(MOST_TARGETS, self.rate)
        for first in range(0, len(device_ids), size):
            group = device_ids[first : first + size]
            if pause:
                self.clock.sleep(pause)
            self._require_not_aborted(made[-_JOBS_WATCHED:])
            asked = self._ask(group)
            made += [] if asked.job_id is None else [asked.job_id]
            newly = sum(outcome is RolloutOutcome.ASKED for outcome in asked.outcomes.values())
            pause = 60.0 * newly / self.rate
            yield asked

    def _require_not_aborted(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            if self.jobs.status(job_id) == "CANCELED":
                raise RolloutAbortedError(job_id)

    def _ask(self, group: Sequence[str]) -> Asked:
        digest = sha256("\n".join(group).encode()).hexdigest()
        job_id = f"{self.name}-{digest[:_DIGEST]}"
        if self.jobs.status(job_id) is not None:
            return Asked(job_id=job_id, outcomes=dict.fromkeys(group, RolloutOutcome.ALREADY_ASKED))
        outcomes = {device_id: self._mark(device_id, job_id) for device_id in group}
        targets = [device_id for device_id, outcome in outcomes.items() if outcome is RolloutOutcome.ASKED]
        if not targets:
            return Asked(job_id=None, outcomes=outcomes)
        self.jobs.create(job_id, targets, per_minute=min(self.rate, MOST_PER_MINUTE))
        return Asked(job_id=job_id, outcomes=outcomes)

    def _mark(self, device_id: str, job_id: str) -> RolloutOutcome:
        found = self.records(device_id)
        marked = [self._mark_record(record, job_id) for record in found if isinstance(record, Issuance)]
        for outcome in (RolloutOutcome.ASKED, RolloutOutcome.BEING_ISSUED):
            if outcome in marked:
                return outcome
        unreadable = any(isinstance(record, UnreadableRecord) for record in found)
        return RolloutOutcome.UNREADABLE if unreadable else RolloutOutcome.NO_CERTIFICATE

    def _mark_record(self, record: Issuance, job_id: str) -> RolloutOutcome:
        now: datetime = self.clock.now()
        if not record.is_settled or record.is_leased(now):
            return RolloutOutcome.BEING_ISSUED
        if record.state is not IssuanceState.ACTIVE:
            return RolloutOutcome.NO_CERTIFICATE
        marked = record.renewal_requested(job_id, now)
        if marked == record:  # marked by this command before an interruption
            return RolloutOutcome.ASKED
        self.account(record, job_id)
        try:
            self.ledger.write(marked)
        except StaleLedgerError:
            return RolloutOutcome.BEING_ISSUED
        return RolloutOutcome.ASKED
