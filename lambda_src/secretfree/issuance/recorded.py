"""The ledger's record of one issuance per device and issuer: its fields, and what follows from them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from secretfree.errors import Reason
from secretfree.issuance.chains import Chain
from secretfree.issuance.other_certificates import CertificateInUse, Suspect, Trust
from secretfree.issuance.renewal import renewal_start
from secretfree.issuance.states import IssuanceState, Standing
from secretfree.issuance.tickets import Ticket
from secretfree.request.device_id import DeviceId


@dataclass(frozen=True, kw_only=True)
class RecordedIssuance:
    """The ledger's record of a device at one issuer.

    - `version`: the fencing token. A write is conditional on the version that was read, so that a worker presumed dead
      cannot write after another has taken over.
    - `lease_owner`: the worker that has the lease, or None.
    - `due`: when a held lease expires, or when the sweeper processes the record. None when nothing is left to do.
    - `certificate_arn`: known once AWS IoT Core has the certificate.
    - `verified_at`: when AWS IoT Core was last seen to have the certificate active.
    - `superseded`: certificates that this generation replaces, the oldest first. Each stays valid until the device
      connects with a later one, at most until `superseded_until`. With `replaces_key` they have another key, and stay
      valid until this generation's certificate is active.
    - `obsolete`: certificates that the sweeper deletes at any time.
    - `in_use`: the superseded certificate that the device gets until this generation is active.
    - `last_reason`: why the last request did not finish. None after one has finished.
    - `ticket`: the device's place in the queue of tickets.
    - `withdrawn`: the registry withdrew the device or its key, and the certificate was revoked with it. The registry
      alone decides whether another certificate follows.
    - `renewal_requested_at`: when an operator requested a renewal of the active certificate. The next issuance clears
      it.
    - `renewal_job`: the job that last requested such a renewal.
    - `forget_after`: until when the record of a retired device is kept as history.
    """

    device_id: DeviceId
    issuer: str
    fingerprint: str
    state: IssuanceState
    generation: int
    version: int
    lease_owner: str | None
    due: datetime | None
    begun_at: datetime
    attempts: int = 1
    admission: datetime | None = None
    requested_at: datetime | None = None
    reference: str | None = None
    certificate_id: str | None = None
    certificate_arn: str | None = None
    certificate_pem: str | None = None
    chain: Chain | None = None
    not_after: datetime | None = None
    verified_at: datetime | None = None
    thing_ensured: bool = False
    replaces_key: bool = False
    withdrawn: bool = False
    last_reason: Reason | None = None
    ticket: Ticket | None = None
    in_use: CertificateInUse | None = None
    superseded: tuple[str, ...] = ()
    superseded_until: datetime | None = None
    obsolete: tuple[str, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    renewal_requested_at: datetime | None = None
    renewal_job: str | None = None
    forget_after: datetime | None = None

    def token(self, deployment: str) -> str:
        """Idempotency token of this generation: alphanumeric, at most 36 characters (IssueCertificate).

        `deployment` distinguishes this ledger from others. Without it, two ledgers on one CA would get one certificate
        for the same device and key, and each would delete the other's.
        """
        text = "\n".join((deployment, self.device_id, self.fingerprint, self.issuer, str(self.generation)))
        return sha256(text.encode()).hexdigest()[:36]

    @property
    def is_settled(self) -> bool:
        """Whether this generation has no further steps."""
        return self.state in {IssuanceState.ACTIVE, IssuanceState.REVOKED, IssuanceState.ABANDONED}

    @property
    def known_certificates(self) -> frozenset[str]:
        """Every certificate that this record accounts for."""
        return frozenset(self.superseded + self.obsolete) | ({self.certificate_id} if self.certificate_id else set())

    def standing(self, fingerprint: str, *, now: datetime, renewal_window: timedelta, trusts: Trust) -> Standing:
        """What a request with the key `fingerprint` may do at `now`.

        A revoked certificate stays revoked, even after its CA is no longer trusted.
        """
        if self.is_leased(now):
            return Standing.WAIT
        if self.fingerprint != fingerprint or self.state is IssuanceState.ABANDONED:
            return Standing.NEXT_GENERATION
        if self.state is IssuanceState.REVOKED:
            return Standing.NEXT_GENERATION if self.withdrawn else Standing.REFUSE
        distrusted = self.is_distrusted(trusts)
        if self.state is not IssuanceState.ACTIVE:
            expired = self.not_after is not None and now >= self.not_after
            return Standing.NEXT_GENERATION if expired or distrusted else Standing.RESUME
        if distrusted:
            return Standing.REPLACE
        return Standing.RENEW if self._is_to_be_renewed(now, renewal_window) else Standing.SERVE

    def _is_to_be_renewed(self, now: datetime, renewal_window: timedelta) -> bool:
        if self.renewal_requested_at is not None or self.not_after is None:
            return self.renewal_requested_at is not None
        return now >= renewal_start(self.not_after, self.fingerprint, renewal_window)

    def is_distrusted(self, trusts: Trust) -> bool:
        """Whether this generation's certificate is from a CA that is no longer trusted."""
        return self.state is not IssuanceState.REQUESTING and not trusts(self.reference)

    def certificate_in_use(self, fingerprint: str, now: datetime, trusts: Trust) -> CertificateInUse | None:
        """The certificate for the key `fingerprint` at `now`, even while another one is being issued."""
        kept = self.own_certificate() if self.state is IssuanceState.ACTIVE else self.in_use
        good = kept is not None and self.fingerprint == fingerprint and now < kept.not_after
        return kept if good and kept is not None and trusts(kept.reference) else None

    def own_certificate(self) -> CertificateInUse | None:
        """The certificate of this generation, if it is known."""
        if self.certificate_id is None or self.certificate_pem is None or self.not_after is None:
            return None
        return CertificateInUse(
            certificate_id=self.certificate_id,
            certificate_pem=self.certificate_pem,
            chain=self.chain,
            not_after=self.not_after,
            verified_at=self.verified_at or self.begun_at,
            reference=self.reference,
        )

    @property
    def ends_at(self) -> datetime | None:
        """The end of the certificate that the device connects with, even while another one is being issued."""
        if self.state is IssuanceState.ACTIVE:
            return self.not_after
        return None if self.in_use is None else self.in_use.not_after

    def is_leased(self, now: datetime) -> bool:
        """Whether a worker may still be working on it."""
        return self.lease_owner is not None and self.due is not None and now < self.due

    @property
    def has_leftovers(self) -> bool:
        """Whether certificates of earlier generations have to be deleted."""
        return bool(self.obsolete or self.suspects)

    @property
    def is_empty(self) -> bool:
        """Whether nothing at the CA or at IoT Core depends on it, as for a device without a record."""
        if self.superseded or self.has_leftovers:
            return False
        is_parked = self.due is None and self.requested_at is None and self.in_use is None
        return self.state is IssuanceState.ABANDONED or (self.state is IssuanceState.REQUESTING and is_parked)

    @property
    def all_suspects(self) -> tuple[Suspect, ...]:
        """Earlier unrecorded requests and this generation's own, if any."""
        return (*self.suspects, *self.unrecorded_request())

    def unrecorded_request(self) -> tuple[Suspect, ...]:
        """This generation's request while its answer is not recorded."""
        if self.state is IssuanceState.REQUESTING and self.requested_at is not None:
            return (Suspect(fingerprint=self.fingerprint, requested_at=self.requested_at),)
        return ()

    def abandoned_reference(self) -> tuple[Suspect, ...]:
        """This generation's certificate if only its reference is recorded. It may be registered nevertheless."""
        if self.state is IssuanceState.REQUESTED and self.reference is not None:
            requested_at = self.requested_at or self.begun_at
            return (Suspect(fingerprint=self.fingerprint, requested_at=requested_at, reference=self.reference),)
        return ()
