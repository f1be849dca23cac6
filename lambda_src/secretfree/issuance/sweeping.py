"""The sweeper's rules for issuances that their devices abandoned.

The sweeper never requests, activates or returns a certificate. Such steps wait for the device, whose next request
passes the authorizer again. A certificate that is already active gets its policy and thing, because its device may have
it. A revoked or deactivated one gets nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Final

from secretfree.clock import Clock
from secretfree.errors import SecretFreeError
from secretfree.issuance.model import IssuancePolicy, IssuancePorts, clear_at, superseded_until, with_answer
from secretfree.issuance.other_certificates import Suspect
from secretfree.issuance.ports import (
    CertificateRecordState,
    CertificateStatus,
    DeviceCertificate,
    RequestFailedError,
    SearchTooWideError,
    StaleLedgerError,
    StillAttachedError,
    ThrottledError,
    UnreachableError,
    UnreadableRecord,
)
from secretfree.issuance.record import LEASE, Issuance
from secretfree.issuance.states import IssuanceState

# A certificate's record outlives the certificate, as history of the device.
HISTORY_KEPT_FOR: Final = timedelta(days=90)
# After a failure that may last, a record is retried after this time, so that it is not the first at each run.
_STUCK_FOR: Final = timedelta(hours=1)
# The list of certificates may lag behind, and AWS's clock may differ. A lost certificate is searched for after this
# time.
_SETTLING: Final = timedelta(seconds=90)
# A damaged record is reported once a day, until it is repaired.
_UNREADABLE_FOR: Final = timedelta(days=1)
_DETACHING: Final = timedelta(minutes=1)
_BATCH: Final = 50


class SweepOutcome(StrEnum):
    """What the sweeper did with one issuance, or why it did nothing."""

    FINISHED = "finished"  # completed and recorded as active
    PARKED = "parked"  # no certificate at IoT Core; the device's next request continues
    ROLLED_BACK = "rolled-back"  # rolled back
    REVOKED = "revoked"  # found revoked or inactive, and left unchanged
    CLEARED = "cleared"  # certificates of earlier generations were retired
    POSTPONED = "postponed"  # too early
    OVERTAKEN = "overtaken"  # a request of the device continues it
    STUCK = "stuck"  # refused by AWS: see the log
    UNREADABLE = "unreadable"  # the ledger's record is damaged: see the log


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """The result of one run. `complete`: everything that was due is done."""

    outcomes: Counter[SweepOutcome] = field(default_factory=Counter)
    retired: int = 0
    orphans: int = 0
    complete: bool = True
    failures: tuple[str, ...] = ()


def sweep(
    *, ports: IssuancePorts, policy: IssuancePolicy, clock: Clock, deadline: float, most: int = 1000
) -> SweepReport:
    """Process the due records of one issuer until `deadline` (of `clock.monotonic()`), a throttle or `most` records."""
    return _Sweep(ports=ports, policy=policy, clock=clock, deadline=deadline).run(most)


class _Sweep:
    def __init__(self, *, ports: IssuancePorts, policy: IssuancePolicy, clock: Clock, deadline: float) -> None:
        self._ports = ports
        self._policy = policy
        self._clock = clock
        self._deadline = deadline
        # The search covers what was made before it began, so the sweep processes what was due by then.
        self._began = clock.now()
        self._search = ports.issuer.search()
        self._outcomes: Counter[SweepOutcome] = Counter()
        self._failures: list[str] = []
        self._retired = 0
        self._orphans = 0
        self._held: Issuance

    def run(self, most: int) -> SweepReport:
        complete = False
        seen: set[tuple[str, int]] = set()
        # Devices need a throttled service first, and nothing is possible without the ledger: the next run continues.
        try:
            while not complete and len(seen) < most and self._has_time():
                due = self._ports.ledger.unfinished(self._policy.issuer, due=self._began, limit=_BATCH)
                fresh = [record for record in due if _identity(record) not in seen]
                seen |= {_identity(record) for record in fresh}
                complete = not fresh
                for record in fresh:
                    if not self._has_time():
                        break
                    outcome = self._set_aside(record) if isinstance(record, UnreadableRecord) else self._swept(record)
                    self._outcomes[outcome] += 1
        except (ThrottledError, UnreachableError, SecretFreeError) as error:
            self._failures.append(_detail_of(error))
        return SweepReport(
            outcomes=self._outcomes,
            retired=self._retired,
            orphans=self._orphans,
            complete=complete,
            failures=tuple(self._failures),
        )

    def _has_time(self) -> bool:
        return self._clock.monotonic() < self._deadline

    def _set_aside(self, record: UnreadableRecord) -> SweepOutcome:
        self._failures.append(f"record {record.issuer} of {record.device_id} cannot be read: {record.defect}")
        self._ports.ledger.set_aside(record, until=self._clock.now() + _UNREADABLE_FOR)
        return SweepOutcome.UNREADABLE

    def _swept(self, record: Issuance) -> SweepOutcome:
        """Process one record under its lease, like a request."""
        too_early = self._too_early(record)
        try:
            if too_early is not None:
                self._ports.ledger.write(record.postponed(too_early))
                return SweepOutcome.POSTPONED
            # No worker needs superseded certificates, so the device does not wait for their removal.
            self._held = record if record.is_settled else self._ports.ledger.write(self._leased(record))
            return self._guarded(self._clear if record.is_settled else self._settle)
        except StaleLedgerError:
            return SweepOutcome.OVERTAKEN
        except SecretFreeError as error:
            self._failures.append(_detail_of(error))
            return SweepOutcome.STUCK

    def _guarded(self, deal: Callable[[], SweepOutcome]) -> SweepOutcome:
        """Run `deal` on the record.

        After a failure, postpone the record, so that it is not the first at the next run.
        """
        try:
            return deal()
        except StillAttachedError:
            self._ports.ledger.write(self._held.postponed(self._clock.now() + _DETACHING))
            return SweepOutcome.POSTPONED
        except (SecretFreeError, SearchTooWideError) as error:
            self._failures.append(_detail_of(error))
            held = self._held
            if isinstance(error, SecretFreeError) and not held.is_settled:
                held = held.unfinished(error.reason)
            self._ports.ledger.write(held.postponed(self._clock.now() + _STUCK_FOR))
            return SweepOutcome.STUCK
        except (ThrottledError, UnreachableError):
            self._ports.ledger.write(self._held.released(self._clock.now()))
            raise

    def _settle(self) -> SweepOutcome:
        if self._held.state is IssuanceState.REQUESTING:
            return self._roll_back_request()
        if self._held.state is IssuanceState.REQUESTED:
            return self._settle_requested()
        return self._settle_issued()

    def _leased(self, record: Issuance) -> Issuance:
        return record.held(self._ports.owner(), self._clock.now())

    def _too_early(self, record: Issuance) -> datetime | None:
        """The time before which the record must not be processed; None: process it now."""
        ripe = [suspect.requested_at + self._ripening() for suspect in record.all_suspects]
        return max(ripe) if ripe and max(ripe) > self._began else None

    def _ripening(self) -> timedelta:
        """While the token is valid, the device's next request continues this generation."""
        return max(LEASE + _SETTLING, self._ports.issuer.repeatable_for)

    def _roll_back_request(self) -> SweepOutcome:
        """No certificate is known. An unrecorded one is removed, and the next request begins a new generation."""
        self._remove_leftovers()
        return self._write(self._held.without_leftovers().abandoned(self._clock.now()), SweepOutcome.ROLLED_BACK)

    def _settle_requested(self) -> SweepOutcome:
        """Registration and recording run in parallel: IoT Core may have a certificate that the record lacks."""
        certificate = self._collected(self._held.reference)
        if certificate is None or self._ports.things.describe(certificate.certificate_id) is None:
            return self._park()
        self._held = self._ports.ledger.write(with_answer(self._held, certificate))
        return self._settle_issued()

    def _park(self) -> SweepOutcome:
        """IoT Core does not have the certificate: the device's next request continues."""
        self._remove_leftovers()
        return self._write(self._held.without_leftovers().parked(), SweepOutcome.PARKED)

    def _settle_issued(self) -> SweepOutcome:
        certificate_id = self._held.certificate_id or ""
        registered = self._ports.things.describe(certificate_id)
        if registered is None:
            return self._park()
        distrusted = self._held.is_distrusted(self._policy.trusts)
        if registered.status is CertificateStatus.ACTIVE and not distrusted:
            return self._finish(registered.certificate_arn)
        if registered.status is CertificateStatus.REVOKED or (self._ports.issuer.installs_active and not distrusted):
            revoked = self._held.revoked(self._clock.now())
            return self._write(revoked, SweepOutcome.REVOKED, certificate=CertificateRecordState.REVOKED)
        self._ports.things.retire(self._held.device_id, certificate_id)
        return self._roll_back_request()

    def _finish(self, certificate_arn: str) -> SweepOutcome:
        """The certificate is active: the device may have it and be connected with it."""
        device_id = self._held.device_id
        self._ports.things.ensure_thing(device_id)
        for attachment in self._ports.things.attachments(device_id, certificate_arn):
            attachment()
        due = clear_at(self._held, self._clock.now())
        active = self._held.with_thing().active(clear_at=due)
        return self._write(active, SweepOutcome.FINISHED, certificate=CertificateRecordState.ACTIVE)

    def _clear(self) -> SweepOutcome:
        """Retire the certificates of earlier generations, except the one that a rolled-back one would replace.

        A certificate that the registry withdrew is revoked once more: a worker that was issuing at that moment may
        have registered or activated it since, and that worker's lease has expired by now.
        """
        if self._held.withdrawn and self._held.certificate_id is not None:
            self._ports.things.revoke(self._held.certificate_id)
        if self._held.state is IssuanceState.ABANDONED:
            self._remove_leftovers()
            return self._write(self._held.without_leftovers().parked(), SweepOutcome.CLEARED)
        now = self._clock.now()
        end = superseded_until(self._held)
        if self._held.state is IssuanceState.ACTIVE and self._held.superseded and end is not None and end > now:
            self._remove_leftovers()
            return self._write(self._held.without_leftovers().postponed(end), SweepOutcome.CLEARED)
        self._remove_leftovers(self._held.superseded)
        return self._write(self._held.cleared(), SweepOutcome.CLEARED)

    def _remove_leftovers(self, superseded: Sequence[str] = ()) -> None:
        """Remove the leftovers and `superseded`.

        A search may outlast the lease, and another request may have used what it found. So the lease is taken again
        before a found certificate is changed; this fails if another worker has it.
        """
        self._retire((*self._held.obsolete, *superseded))
        removals = [removal for suspect in self._held.all_suspects for removal in self._removals(suspect)]
        if removals and not self._held.is_settled:
            self._held = self._ports.ledger.write(self._leased(self._held))
        self._orphans += sum(removal() for removal in removals)

    def _removals(self, suspect: Suspect) -> Sequence[Callable[[], bool]]:
        """The removals of unrecorded certificates that a request may have made at IoT Core.

        A reference belongs only to this ledger, because its token names the deployment: its certificate is retired. A
        search may find a certificate of another ledger, so it is discarded only if nothing is attached to it.
        """
        known = self._held.known_certificates
        if suspect.reference is not None:
            certificate = self._collected(suspect.reference)
            if certificate is None or certificate.certificate_id in known:
                return []
            if self._ports.things.describe(certificate.certificate_id) is None:
                return []
            return [partial(self._retired_orphan, certificate.certificate_id)]
        since, until = suspect.requested_at, suspect.requested_at + LEASE
        found = self._search.find(suspect.fingerprint, since=since, until=until, known=known)
        return [partial(self._ports.things.discard, certificate.certificate_id) for certificate in found]

    def _retired_orphan(self, certificate_id: str) -> bool:
        self._ports.things.retire(self._held.device_id, certificate_id)
        return True

    def _collected(self, reference: str | None) -> DeviceCertificate | None:
        """The certificate behind `reference`; None if it is not ready or was refused."""
        if reference is None:
            return None
        try:
            return self._ports.issuer.collect(reference)
        except RequestFailedError:
            return None

    def _retire(self, certificates: Iterable[str]) -> None:
        """Retire all of them, then raise StillAttachedError if one is still being detached."""
        forget_after = self._clock.now() + HISTORY_KEPT_FOR
        attached: StillAttachedError | None = None
        for certificate_id in certificates:
            try:
                self._ports.things.retire(self._held.device_id, certificate_id)
            except StillAttachedError as error:
                attached = error
                continue
            self._ports.ledger.close_certificate(self._held.device_id, certificate_id, forget_after=forget_after)
            self._retired += 1
        if attached is not None:
            raise attached

    def _write(
        self, record: Issuance, outcome: SweepOutcome, *, certificate: CertificateRecordState | None = None
    ) -> SweepOutcome:
        self._ports.ledger.write(record, certificate=certificate)
        return outcome


def _identity(record: Issuance | UnreadableRecord) -> tuple[str, int]:
    return record.device_id, record.version if isinstance(record, Issuance) else 0


def _detail_of(error: Exception) -> str:
    return error.detail if isinstance(error, SecretFreeError) else str(error)
