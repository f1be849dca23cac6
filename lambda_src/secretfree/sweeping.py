"""The sweeper's rules: what becomes of an issuance that no device came back for.

It never asks for a certificate, never activates one and hands none out: what needs that waits for the device, whose
next request passes the authorizer again. A certificate that is active already gets its policy and thing, since its
device may have it; one that was taken out of use gets nothing, and a device blocked before it had its own never will.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from secretfree.clock import Clock
from secretfree.errors import SecretFreeError
from secretfree.identity import DeviceId
from secretfree.issuance import IssuancePolicy, Ports, clear_at
from secretfree.ledger import LEASE, Issuance, IssuanceState
from secretfree.ports import (
    CertificateRecordState,
    CertificateStatus,
    SearchTooWideError,
    StaleLedgerError,
    ThrottledError,
    UnreachableError,
)

# A certificate's record is kept after the certificate is deleted, for whoever asks what a device once had.
_HISTORY_KEPT_FOR: Final = timedelta(days=90)
# What fails for a reason that waiting may not mend is looked at again after this time, so that it does not stand
# before all others at each run.
_STUCK_FOR: Final = timedelta(hours=1)
# The list of certificates may lag behind, and AWS's clock differ: a lost one is looked for only after this.
_SETTLING: Final = timedelta(seconds=90)
_BATCH: Final = 50


class Outcome(StrEnum):
    """What the sweeper did with one issuance, or why it did not."""

    FINISHED = "finished"  # it was all in place, or nearly; the record says so now
    PARKED = "parked"  # nothing at IoT Core; goes on with the device's next request
    ROLLED_BACK = "rolled-back"  # nothing left of it
    REVOKED = "revoked"  # found out of use, and left so
    CLEARED = "cleared"  # certificates of earlier generations were retired
    POSTPONED = "postponed"  # too early
    OVERTAKEN = "overtaken"  # the device came back meanwhile
    STUCK = "stuck"  # refused by AWS: see the log


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """What one run did. `complete`: nothing that was due is left."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    retired: int = 0
    orphans: int = 0
    complete: bool = True
    failures: tuple[str, ...] = ()


def sweep(*, ports: Ports, policy: IssuancePolicy, clock: Clock, deadline: float, most: int = 1000) -> SweepReport:
    """Go through what is due at one issuer, until `deadline` (of `clock.monotonic()`), a throttle or `most` records."""
    return _Sweep(ports=ports, policy=policy, clock=clock, deadline=deadline).run(most)


class _Sweep:
    def __init__(self, *, ports: Ports, policy: IssuancePolicy, clock: Clock, deadline: float) -> None:
        self._ports = ports
        self._policy = policy
        self._clock = clock
        self._deadline = deadline
        self._outcomes: Counter[Outcome] = Counter()
        self._failures: list[str] = []
        self._retired = 0
        self._orphans = 0

    def run(self, most: int) -> SweepReport:
        complete = False
        seen: set[tuple[str, int]] = set()
        # A throttled service has devices waiting: the sweep goes on another time.
        try:
            while not complete and len(seen) < most and self._has_time():
                due = self._ports.ledger.unfinished(self._policy.issuer, due=self._clock.now(), limit=_BATCH)
                fresh = [record for record in due if (record.device_id, record.version) not in seen]
                seen |= {(record.device_id, record.version) for record in fresh}
                complete = not fresh
                for record in fresh:
                    if not self._has_time():
                        break
                    self._outcomes[self._swept(record)] += 1
        except (ThrottledError, UnreachableError) as error:
            self._failures.append(str(error))
        return SweepReport(
            outcomes=self._outcomes,
            retired=self._retired,
            orphans=self._orphans,
            complete=complete,
            failures=tuple(self._failures),
        )

    def _has_time(self) -> bool:
        return self._clock.monotonic() < self._deadline

    def _swept(self, record: Issuance) -> Outcome:
        """Deal with one record under its lease, as a request would."""
        too_early = self._too_early(record)
        try:
            if too_early is not None:
                self._ports.ledger.write(record.postponed(too_early))
                return Outcome.POSTPONED
            if record.is_settled:  # nobody works on what is superseded, so the device is not kept waiting for it
                return self._clear(record)
            return self._settle(self._ports.ledger.write(record.held(self._ports.owner(), self._clock.now())))
        except StaleLedgerError:
            return Outcome.OVERTAKEN

    def _settle(self, held: Issuance) -> Outcome:
        try:
            if held.state is IssuanceState.REQUESTING:
                return self._roll_back_request(held)
            if held.state is IssuanceState.REQUESTED:
                return self._park(held)
            return self._settle_issued(held)
        except (SecretFreeError, SearchTooWideError) as error:
            return self._stuck(held, error)
        except (ThrottledError, UnreachableError):
            self._ports.ledger.write(held.released(self._clock.now()))
            raise

    def _too_early(self, record: Issuance) -> datetime | None:
        """When this may be dealt with; None: now."""
        ripe = [suspect.requested_at + self._ripening() for suspect in record.all_suspects]
        return max(ripe) if ripe and max(ripe) > self._clock.now() else None

    def _ripening(self) -> timedelta:
        """While the token still holds, the device's next request continues this very generation."""
        return max(LEASE + _SETTLING, self._ports.issuer.repeatable_for)

    def _roll_back_request(self, held: Issuance) -> Outcome:
        """No certificate is known. One may exist that nobody knows: it goes, and the next request begins anew."""
        return self._write(self._without_leftovers(held).abandoned(self._clock.now()), Outcome.ROLLED_BACK)

    def _park(self, held: Issuance) -> Outcome:
        """IoT Core knows nothing of it: the device's next request goes on from here, whenever that is."""
        return self._write(self._without_leftovers(held).parked(), Outcome.PARKED)

    def _settle_issued(self, held: Issuance) -> Outcome:
        registered = self._ports.things.describe(held.certificate_id or "")
        if registered is None:
            return self._park(held)
        if registered.status is CertificateStatus.ACTIVE:
            return self._finish(held, registered.certificate_arn)
        if registered.status is CertificateStatus.REVOKED or self._ports.issuer.installs_active:
            revoked = held.revoked(self._clock.now())
            return self._write(revoked, Outcome.REVOKED, certificate=CertificateRecordState.REVOKED)
        self._ports.things.retire(held.device_id, held.certificate_id or "")
        return self._roll_back_request(held)

    def _finish(self, held: Issuance, certificate_arn: str) -> Outcome:
        """The certificate is active: the device may have it, and be connected with it."""
        self._ports.things.ensure_thing(held.device_id)
        for attachment in self._ports.things.attachments(held.device_id, certificate_arn):
            attachment()
        active = held.with_thing().active(clear_at=clear_at(held, self._clock.now()))
        return self._write(active, Outcome.FINISHED, certificate=CertificateRecordState.ACTIVE)

    def _clear(self, record: Issuance) -> Outcome:
        """Retire what earlier generations left; what a rolled-back one was to replace stays good."""
        try:
            left = self._without_leftovers(record)
            if record.state is IssuanceState.ABANDONED:
                return self._write(left.parked(), Outcome.CLEARED)
            self._retire(record.device_id, record.superseded)
            return self._write(left.cleared(), Outcome.CLEARED)
        except (SecretFreeError, SearchTooWideError) as error:
            return self._stuck(record, error)

    def _without_leftovers(self, record: Issuance) -> Issuance:
        """`record`, what may go at any time being gone."""
        self._retire(record.device_id, record.obsolete)
        for suspect in record.all_suspects:
            orphans = self._ports.issuer.find_unrecorded(
                suspect.fingerprint,
                since=suspect.requested_at,
                until=suspect.requested_at + LEASE,
                known=record.known_certificates,
            )
            for orphan in orphans:
                self._ports.things.retire(record.device_id, orphan.certificate_id)
                self._orphans += 1
        return record.without_leftovers()

    def _retire(self, device_id: DeviceId, certificates: Iterable[str]) -> None:
        forget_after = self._clock.now() + _HISTORY_KEPT_FOR
        for certificate_id in certificates:
            self._ports.things.retire(device_id, certificate_id)
            self._ports.ledger.close_certificate(device_id, certificate_id, forget_after=forget_after)
            self._retired += 1

    def _write(
        self, record: Issuance, outcome: Outcome, *, certificate: CertificateRecordState | None = None
    ) -> Outcome:
        self._ports.ledger.write(record, certificate=certificate)
        return outcome

    def _stuck(self, record: Issuance, error: SecretFreeError | SearchTooWideError) -> Outcome:
        self._failures.append(error.detail if isinstance(error, SecretFreeError) else str(error))
        self._ports.ledger.write(record.postponed(self._clock.now() + _STUCK_FOR))
        return Outcome.STUCK
