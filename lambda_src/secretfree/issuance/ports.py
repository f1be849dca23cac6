"""The ports of issuing: certificate issuers, thing registry and ledger, and how each may fail."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from secretfree.issuance.chains import Chain
from secretfree.issuance.record import Issuance
from secretfree.issuance.tickets import TicketQueue
from secretfree.request.csr import VerifiedCsr
from secretfree.request.device_id import DeviceId


class ThrottledError(Exception):
    """The service throttled the call, which had no effect."""


class UnreachableError(Exception):
    """No answer, or an unclear one. The call may have had its effect."""


class CertificateRevokedError(Exception):
    """The certificate was revoked or deactivated by another party. It stays so."""


class RequestFailedError(Exception):
    """The authority refused to issue this certificate for good. A new generation may succeed."""


class SearchTooWideError(Exception):
    """Too many certificates would have to be read to find a lost one. An immediate retry does not help."""


class StillAttachedError(Exception):
    """IoT Core has not finished detaching. The certificate is inactive and can be deleted later."""


class StaleLedgerError(Exception):
    """The record changed since it was read: another worker holds the lease. `current` is the record as it is now."""

    def __init__(self, current: Issuance | None) -> None:
        super().__init__("the ledger's record is newer than this worker's")
        self.current = current


class CertificateStatus(StrEnum):
    """The states of a certificate at IoT Core that issuing distinguishes."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    REVOKED = "REVOKED"


@dataclass(frozen=True, kw_only=True)
class DeviceCertificate:
    """A certificate as an issuer returns it.

    `certificate_id`: lower-case hex SHA-256 of its DER, IoT Core's id. `certificate_arn`: IoT Core's, once it is known.
    """

    certificate_id: str
    certificate_pem: str
    chain: Chain | None
    not_after: datetime
    certificate_arn: str | None = None


@dataclass(frozen=True, kw_only=True)
class CertificateOrder:
    """An order to an issuer: the device, its verified request, and the idempotency token of this generation."""

    device_id: DeviceId
    csr: VerifiedCsr
    token: str


@dataclass(frozen=True, kw_only=True)
class RegisteredCertificate:
    """A certificate as IoT Core has it."""

    certificate_arn: str
    status: CertificateStatus


class CertificateIssuer(Protocol):
    """An issuer of certificates. Every method may raise ThrottledError or UnreachableError."""

    @property
    def repeatable_for(self) -> timedelta:
        """How long after the first `request` with a token another one returns the same certificate; zero: never."""
        ...

    @property
    def installs_active(self) -> bool:
        """Whether `install` activates a certificate. If so, an inactive certificate was deactivated later."""
        ...

    @property
    def copies_subject(self) -> bool:
        """Whether a certificate gets the subject of the request instead of one from the policy."""
        ...

    def request(self, order: CertificateOrder) -> str | DeviceCertificate:
        """Request a certificate. Returns its reference, for `collect`, or the certificate itself."""
        ...

    def collect(self, reference: str) -> DeviceCertificate | None:
        """The requested certificate, or None while it is being issued; RequestFailedError if that failed for good."""
        ...

    def search(self) -> "UnrecordedSearch":
        """A search for unrecorded certificates. It lists each certificate once, for all calls of `find` together."""
        ...

    def install(self, certificate: DeviceCertificate, *, resumed: bool) -> str:
        """Register the certificate with IoT Core and return its ARN; safe to repeat.

        `resumed`: an earlier invocation may have registered it. Raises CertificateRevokedError if it was revoked or
        deactivated.
        """
        ...

    def activate(self, certificate_id: str) -> None:
        """Activate the certificate, if `install` has not; safe to repeat."""
        ...


class UnrecordedSearch(Protocol):
    """Finds certificates that a lost `request` may have made, among those made before its first `find`."""

    def find(
        self, fingerprint: str, *, since: datetime, until: datetime, known: Collection[str]
    ) -> Sequence[DeviceCertificate]:
        """Inactive certificates of this issuer for this key, made in that time, except `known`.

        Another ledger may have requested one of them. So no found certificate is ever used, and it may be discarded
        only if nothing is attached to it. Raises SearchTooWideError.
        """
        ...


class ThingRegistry(Protocol):
    """IoT Core's side of a device. Every method may be repeated, and raises ThrottledError or UnreachableError."""

    def ensure_thing(self, device_id: DeviceId) -> None:
        """Create the thing if it is missing; SecretFreeError (`conflict`) if a thing of another type has the name."""
        ...

    def attachments(self, device_id: DeviceId, certificate_arn: str) -> Sequence[Callable[[], None]]:
        """The independent calls that attach certificate, thing, policy and groups to each other."""
        ...

    def describe(self, certificate_id: str) -> RegisteredCertificate | None:
        """The certificate as IoT Core has it, or None."""
        ...

    def retire(self, device_id: DeviceId, certificate_id: str) -> None:
        """Deactivate, detach and delete a certificate that the ledger records; a missing one is success.

        SecretFreeError (`conflict`) if another product line's policy is attached: the certificate stays unchanged.
        Raises StillAttachedError if only the deletion remains.
        """
        ...

    def revoke(self, certificate_id: str) -> bool:
        """Set a certificate that the ledger records to REVOKED from any state. Returns whether IoT Core has it."""
        ...

    def discard(self, certificate_id: str) -> bool:
        """Delete a certificate if it is inactive and attached to nothing. Returns whether it is gone."""
        ...


@dataclass(frozen=True, kw_only=True)
class UnreadableRecord:
    """A record of the ledger that is damaged. `defect` describes the damage, for the log."""

    device_id: str
    issuer: str
    defect: str


class CertificateRecordState(StrEnum):
    """State of a `certificate#` record."""

    ACTIVE = "active"
    SUPERSEDED = "superseded"
    REVOKED = "revoked"


class Ledger(Protocol):
    """The ledger of what was issued. Every method raises ThrottledError or UnreachableError."""

    def write(self, issuance: Issuance, *, certificate: CertificateRecordState | None = None) -> Issuance:
        """Store `issuance` if its `version` is still the stored one (0: there is none), and return it as stored.

        With `certificate`, the current certificate's own record is written in the same transaction. Raises
        StaleLedgerError. Repeating a write that succeeded unnoticed is success.
        """
        ...

    def read(self, device_id: DeviceId, issuer: str) -> Issuance | None:
        """The device's record, read consistently."""
        ...

    def chain_text(self, digest: str) -> str | None:
        """The text of a chain that a record names; None if its item is missing or damaged."""
        ...

    def keep_chain(self, chain: Chain) -> None:
        """Store a chain's text, if it is not stored. `write` does so for a certificate that becomes active."""
        ...

    def bind(self, device_id: DeviceId, fingerprint: str) -> bool:
        """Bind the first key seen to the device; False if another key is bound."""
        ...

    def unfinished(self, issuer: str, *, due: datetime, limit: int) -> Sequence["Issuance | UnreadableRecord"]:
        """Issuances whose lease or date has passed, oldest first, unreadable records included."""
        ...

    def set_aside(self, record: "UnreadableRecord", *, until: datetime) -> None:
        """Have `unfinished` skip an unreadable record until then."""
        ...

    def close_certificate(self, device_id: DeviceId, certificate_id: str, *, forget_after: datetime) -> None:
        """Mark a certificate's record as superseded; it may be deleted after `forget_after`."""
        ...


class TicketCounter(Protocol):
    """The counter behind an issuer's tickets. Every method raises ThrottledError or UnreachableError."""

    def read(self) -> TicketQueue | None:
        """The current queue; None if there was none yet."""
        ...

    def take(self) -> TicketQueue:
        """Give one more number: the returned queue's `given`."""
        ...

    def miss(self) -> TicketQueue:
        """Count one more turn that AWS throttled, and return the queue."""
        ...

    def change(self, seen: TicketQueue | None, queue: TicketQueue) -> bool:
        """Store all of `queue` but `given`, unless another step was made since `seen`; whether it was stored."""
        ...
