"""The steps of the ledger's record of one issuance per device and issuer. Each step is a new version of the record."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Self

from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.chains import Chain
from secretfree.issuance.other_certificates import CertificateInUse, Trust
from secretfree.issuance.recorded import RecordedIssuance
from secretfree.issuance.states import SUCCESSORS, IssuanceState
from secretfree.issuance.tickets import Ticket
from secretfree.request.device_id import DeviceId

# Longer than any invocation lasts (API Gateway ends at 29 s, the functions a little later). So the calls of a lease's
# holder have ended when the lease expires.
LEASE: Final = timedelta(seconds=45)
# The sweeper skips an unfinished issuance for this long, because the device got a 202 and retries.
PATIENCE: Final = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Issuance(RecordedIssuance):
    """The record with its steps. Each step returns the next record, which counts once it is written."""

    @classmethod
    def first(cls, device_id: DeviceId, issuer: str, fingerprint: str, *, owner: str, now: datetime) -> Self:
        """The record of a new device, its lease held by `owner`."""
        return cls(
            device_id=device_id,
            issuer=issuer,
            fingerprint=fingerprint,
            state=IssuanceState.REQUESTING,
            generation=1,
            version=0,
            lease_owner=owner,
            due=now + LEASE,
            begun_at=now,
            requested_at=now,
        )

    def taken(self, owner: str, now: datetime) -> Self:
        """The same issuance, its lease held by the worker of another request."""
        return replace(self.held(owner, now), attempts=self.attempts + 1)

    def held(self, owner: str, now: datetime) -> Self:
        """The same issuance, its lease held by `owner`."""
        return replace(self, lease_owner=owner, due=now + LEASE)

    def postponed(self, until: datetime) -> Self:
        """The same issuance without a lease. The sweeper skips it until then."""
        return replace(self, lease_owner=None, due=until)

    def requesting(self, now: datetime) -> Self:
        """A request to the issuer follows."""
        return replace(self, requested_at=now)

    def never_requested(self) -> Self:
        """The request is known to have had no effect."""
        return replace(self, requested_at=None)

    def next_generation(self, fingerprint: str, owner: str, now: datetime) -> Self:
        """A new generation. The record keeps the old generation's certificates until they are cleared away.

        Only a certificate recorded as active, or the one that it replaces, stays valid meanwhile. A certificate that
        was only issued may lack its policy or thing, and another key has replaced it: the sweeper may delete it at any
        time.
        """
        certificate: tuple[str, ...] = () if self.certificate_id is None else (self.certificate_id,)
        superseded, obsolete = self.superseded, certificate
        superseded_until, in_use = self.superseded_until, self.in_use
        if self.state is IssuanceState.ACTIVE:
            superseded, obsolete = self._outlived()
            superseded_until, in_use = self.not_after, self.own_certificate()
        elif self.state is IssuanceState.REVOKED:
            superseded, obsolete = (), self.superseded + certificate
        same_key = fingerprint == self.fingerprint
        starts_over = same_key and self.state in {IssuanceState.REQUESTING, IssuanceState.REQUESTED}
        return replace(
            self,
            fingerprint=fingerprint,
            state=IssuanceState.REQUESTING,
            generation=self.generation + 1,
            lease_owner=owner,
            due=now + LEASE,
            begun_at=self.begun_at if starts_over else now,
            attempts=self.attempts + 1 if starts_over else 1,
            requested_at=now,
            reference=None,
            certificate_id=None,
            certificate_arn=None,
            certificate_pem=None,
            chain=None,
            not_after=None,
            verified_at=None,
            thing_ensured=False,
            replaces_key=not same_key or (self.replaces_key and not self.is_settled),
            withdrawn=False,
            renewal_requested_at=None,
            forget_after=None,
            superseded=superseded,
            superseded_until=superseded_until,
            in_use=in_use if same_key else None,
            obsolete=self.obsolete + obsolete,
            suspects=(*self.suspects, *self.unrecorded_request(), *self.abandoned_reference()),
        )

    def waiting(self, ticket: Ticket) -> Self:
        """The device waits for its turn. The sweeper skips an unfinished issuance for that long."""
        due = self.due
        if due is not None and self.lease_owner is None and not self.is_settled:
            due = max(due, ticket.at + PATIENCE)
        return replace(self, ticket=ticket, due=due)

    def with_thing(self) -> Self:
        """The thing exists. This is recorded, so that a resumed issuance does not use the quota again."""
        return replace(self, thing_ensured=True)

    def registered(self, certificate_arn: str) -> Self:
        """IoT Core has the certificate."""
        return replace(self, certificate_arn=certificate_arn)

    def requested(self, reference: str) -> Self:
        """The authority answered with the certificate's reference."""
        return replace(self._to(IssuanceState.REQUESTED), reference=reference)

    def issued(self, *, certificate_id: str, certificate_pem: str, chain: Chain | None, not_after: datetime) -> Self:
        """The certificate exists and is known."""
        return replace(
            self._to(IssuanceState.ISSUED),
            certificate_id=certificate_id,
            certificate_pem=certificate_pem,
            chain=chain,
            not_after=not_after,
        )

    def active(self, *, clear_at: datetime | None) -> Self:
        """The certificate is active. `clear_at`: when the certificates of earlier generations are deleted."""
        due = clear_at if self.superseded or self.has_leftovers else None
        return replace(
            self._to(IssuanceState.ACTIVE), lease_owner=None, due=due, in_use=None, last_reason=None, ticket=None
        )

    def verified(self, now: datetime) -> Self:
        """IoT Core reported the certificate in use as active at `now`."""
        if self.state is IssuanceState.ACTIVE:
            return replace(self, verified_at=now)
        return replace(self, in_use=None if self.in_use is None else replace(self.in_use, verified_at=now))

    def without_certificate_in_use(self) -> Self:
        """No certificate is in use any longer. The device waits for the one being issued."""
        return replace(self, in_use=None)

    def without_distrusted(self, trusts: Trust) -> Self:
        """A certificate in use whose CA is no longer trusted is dropped when this generation is active."""
        if self.in_use is None or trusts(self.in_use.reference):
            return self
        return replace(self, in_use=None, superseded_until=None)

    def unfinished(self, reason: Reason) -> Self:
        """The request ended without a certificate, for this reason."""
        return replace(self, last_reason=reason)

    def revoked(self, now: datetime) -> Self:
        """The certificate was revoked or deactivated. The certificates that it replaced are deleted too."""
        due = now if self.superseded or self.has_leftovers else None
        return replace(self._to(IssuanceState.REVOKED), lease_owner=None, due=due, in_use=None, last_reason=None)

    def withdrawn_at(self, now: datetime) -> Self:
        """The registry withdrew the device or its key: no certificate of this record may stay active.

        The write ends a lease, because the version of its worker is then outdated. That worker's calls to IoT Core may
        take effect until the lease would have expired, so the sweeper processes the record after that. A certificate
        that an operator revoked stays unchanged.
        """
        due = self.due if self.is_leased(now) and self.due is not None else now + PATIENCE
        if self.state in {IssuanceState.ISSUED, IssuanceState.ACTIVE}:
            return replace(
                self._to(IssuanceState.REVOKED),
                withdrawn=True,
                lease_owner=None,
                due=due,
                in_use=None,
                last_reason=None,
            )
        if self.state is IssuanceState.REVOKED or (self.state is IssuanceState.ABANDONED and not self.superseded):
            return self
        suspects = (*self.all_suspects, *self.abandoned_reference())
        obsolete = self.obsolete + self.superseded
        return replace(
            self._to(IssuanceState.ABANDONED),
            lease_owner=None,
            due=due if obsolete or suspects else None,
            requested_at=None,
            reference=None,
            last_reason=None,
            in_use=None,
            superseded=(),
            superseded_until=None,
            obsolete=obsolete,
            suspects=suspects,
        )

    def retired(self, forget_after: datetime) -> Self:
        """The device is retired and its certificates are deleted: the record becomes history.

        Only for a withdrawn record. The sweeper processes it once more, because a worker that was issuing meanwhile may
        have left a certificate.
        """
        if self.state not in {IssuanceState.REVOKED, IssuanceState.ABANDONED}:
            raise SecretFreeError(
                ErrorCode.INTERNAL, f"an issuance that is {self.state.value} is not retired", reason=Reason.UNEXPECTED
            )
        # Only the registry decides whether the id gets another certificate, even after an operator's revocation.
        withdrawn = self.withdrawn or self.state is IssuanceState.REVOKED
        return replace(
            self, withdrawn=withdrawn, superseded=(), superseded_until=None, obsolete=(), forget_after=forget_after
        )

    def abandoned(self, now: datetime) -> Self:
        """Rolled back.

        The generation's own certificate is scheduled for deletion. The one it would replace stays active.
        """
        suspects = (*self.suspects, *self.abandoned_reference())
        return replace(
            self._to(IssuanceState.ABANDONED),
            lease_owner=None,
            due=now if self.obsolete or suspects else None,
            suspects=suspects,
            reference=None,
            certificate_id=None,
            certificate_arn=None,
            certificate_pem=None,
            chain=None,
            not_after=None,
        )

    def renewal_requested(self, job: str, now: datetime) -> Self:
        """An operator requests a renewal of the active certificate: the device's next request begins a new generation.

        Returns the same record for a repeated request of the same job, so that a repeated command renews nothing twice.
        The mark grants nothing: the next request passes every check of a renewal.
        """
        if self.state is not IssuanceState.ACTIVE:
            raise SecretFreeError(
                ErrorCode.INTERNAL, f"an issuance that is {self.state.value} is not renewed", reason=Reason.UNEXPECTED
            )
        return self if self.renewal_job == job else replace(self, renewal_requested_at=now, renewal_job=job)

    def reopened(self, now: datetime) -> Self:
        """An operator requests a new certificate: the device's next request begins a new generation.

        An active certificate stays valid, and is looked up before it is returned again. A revoked one is removed. Only
        for a settled record.
        """
        certificate: tuple[str, ...] = () if self.certificate_id is None else (self.certificate_id,)
        in_use: CertificateInUse | None = None
        if self.state is IssuanceState.ACTIVE:
            superseded, obsolete = self._outlived()
            own = self.own_certificate()
            in_use = None if own is None else replace(own, verified_at=None)
        elif self.state is IssuanceState.REVOKED:
            superseded, obsolete = (), self.superseded + certificate
        else:
            raise SecretFreeError(
                ErrorCode.INTERNAL, f"an issuance that is {self.state.value} is not reopened", reason=Reason.UNEXPECTED
            )
        obsolete = self.obsolete + obsolete
        return replace(
            self,
            state=IssuanceState.ABANDONED,
            lease_owner=None,
            due=now if obsolete or self.suspects else None,
            begun_at=now,
            requested_at=None,
            reference=None,
            certificate_id=None,
            certificate_arn=None,
            certificate_pem=None,
            chain=None,
            not_after=None,
            last_reason=None,
            superseded=superseded,
            superseded_until=self.not_after,
            in_use=in_use,
            obsolete=obsolete,
            renewal_requested_at=None,
        )

    def _outlived(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The certificates that are superseded with this active one, and those that become obsolete.

        The oldest of the same key is kept: the device may connect with it, if it has lost the later ones. Two are
        enough, so the record does not grow.
        """
        certificate: tuple[str, ...] = () if self.certificate_id is None else (self.certificate_id,)
        kept = 0 if self.replaces_key else 1
        return self.superseded[:kept] + certificate, self.superseded[kept:]

    def connected_with(self, certificate_id: str, now: datetime) -> Self:
        """The device was seen connecting with a certificate of this record: the older ones become obsolete.

        Returns the same record if nothing changes: for another certificate, a repeated or late event, an issuance under
        way, whose lease must not be broken, or a revoked record, which the sweeper clears.
        """
        if self.state not in {IssuanceState.ACTIVE, IssuanceState.ABANDONED}:
            return self
        current = (self.certificate_id,) if self.state is IssuanceState.ACTIVE else ()
        line = (*self.superseded, *current)
        older = self.superseded[: line.index(certificate_id)] if certificate_id in line else ()
        if not older:
            return self
        superseded = self.superseded[len(older) :]
        at = now + PATIENCE
        return replace(
            self,
            superseded=superseded,
            superseded_until=self.superseded_until if superseded else None,
            obsolete=self.obsolete + older,
            due=at if self.due is None else min(self.due, at),
        )

    def without_obsolete(self, certificates: Collection[str], now: datetime) -> Self:
        """These certificates are deleted. Only for a record that is active or abandoned."""
        left = replace(self, obsolete=tuple(one for one in self.obsolete if one not in certificates))
        waits = left.state is IssuanceState.ACTIVE and bool(left.superseded)
        if left.has_leftovers or (waits and (left.replaces_key or left.superseded_until is None)):
            return left.postponed(now + PATIENCE)
        return replace(left, lease_owner=None, due=left.superseded_until if waits else None)

    def released(self, now: datetime) -> Self:
        """The lease is released.

        The device's next request resumes the issuance; after PATIENCE, the sweeper processes it.
        """
        return self.postponed(now + PATIENCE)

    def parked(self) -> Self:
        """Nothing has to be deleted, so the record has no date and waits for the next request."""
        return replace(self, lease_owner=None, due=None)

    def without_leftovers(self) -> Self:
        """The obsolete certificates, and those of unrecorded requests, are deleted."""
        return replace(self, obsolete=(), suspects=(), requested_at=None)

    def cleared(self) -> Self:
        """All certificates of earlier generations are deleted."""
        return replace(self.without_leftovers(), superseded=(), superseded_until=None, lease_owner=None, due=None)

    def _to(self, state: IssuanceState) -> Self:
        if state is not self.state and state not in SUCCESSORS[self.state]:
            raise SecretFreeError(
                ErrorCode.INTERNAL,
                f"an issuance cannot go from {self.state.value} to {state.value}",
                reason=Reason.UNEXPECTED,
            )
        return replace(self, state=state)
