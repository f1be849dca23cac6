"""The issuing policy, the bundle of ports, and the answers for a device."""

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from secretfree.contract import MatchPolicy
from secretfree.errors import ErrorCode, Reason, SecretFreeError, not_authorized
from secretfree.issuance.chains import Chain
from secretfree.issuance.other_certificates import CertificateInUse
from secretfree.issuance.ports import CertificateIssuer, DeviceCertificate, Ledger, ThingRegistry
from secretfree.issuance.rates import (
    ISSUANCE_RATE,
    AdmissionRate,
    Chance,
    Congestion,
    PollPolicy,
    RetryAfterPolicy,
    RetryPolicy,
)
from secretfree.issuance.record import Issuance
from secretfree.issuance.renewal import renewal_start
from secretfree.issuance.signing_time import SigningTime
from secretfree.issuance.states import IssuanceState
from secretfree.issuance.turns import Turns
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.registry.entry import RegistryReader
from secretfree.request.csr import VerifiedCsr

StageTimer: TypeAlias = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True, kw_only=True)
class IssuancePolicy:
    """The deployed settings of one issuer.

    `issuer`: its name, unique in a product line. `deployment`: unique to the ledger in the account. `authorities`: the
    names of the CAs whose certificates devices get; empty if the issuer names no CAs.
    """

    issuer: str
    deployment: str
    renewal_window: timedelta
    match: MatchPolicy = MatchPolicy.UDID_AND_PUBLIC_KEY
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    poll: PollPolicy = field(default_factory=PollPolicy)
    retry_after: RetryAfterPolicy = field(default_factory=RetryAfterPolicy)
    admission: AdmissionRate = ISSUANCE_RATE
    authorities: tuple[str, ...] = ()

    def trusts(self, reference: str | None) -> bool:
        """Whether the certificate with this reference is from a trusted CA. The reference begins with the CA's name."""
        if not self.authorities:
            return True
        return reference is not None and reference.startswith(tuple(f"{one}/" for one in self.authorities))


@dataclass(frozen=True, kw_only=True)
class IssuancePorts:
    """The ports of the pipeline and the sweeper.

    `executor` runs independent calls in parallel. `chance` is uniform in [0, 1). `owner` returns a new name for this
    worker at each call. `stage` measures the time of a block under the name of a step: request, collect, install,
    attach.
    """

    issuer: CertificateIssuer
    things: ThingRegistry
    ledger: Ledger
    registry: RegistryReader
    executor: Executor
    congestion: Congestion
    turns: Turns
    chance: Chance
    owner: Callable[[], str]
    stage: StageTimer = nullcontext
    signing_time: SigningTime = field(default_factory=SigningTime)


@dataclass(frozen=True, kw_only=True)
class IssuedCertificate:
    """The answer to the device.

    `renew_after`: the start of its renewal window. `reused`: the certificate was issued before. `instead_of`: why this
    request did not issue the next certificate, if that was due.
    """

    certificate_pem: str
    chain_pem: str | None
    certificate_id: str
    thing_name: str
    not_after: datetime
    renew_after: datetime
    reused: bool
    instead_of: "NotReady | Exception | None" = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class NotReady:
    """Accepted, not ready: the device retries after `retry_after` seconds. `detail` is for the log."""

    retry_after: int
    reason: Reason
    detail: str | None = None


IssuanceAnswer: TypeAlias = IssuedCertificate | NotReady


def require_same_request(authorized: AuthorizedDevice, csr: VerifiedCsr) -> None:
    """Refuse a CSR other than the authorized one."""
    if csr.digest != authorized.csr_digest or csr.public_key.fingerprint != authorized.fingerprint:
        raise SecretFreeError(
            ErrorCode.INVALID_REQUEST,
            "the request's CSR is not the one that was authorized",
            reason=Reason.DIGEST_MISMATCH,
        )


def issued_certificate(record: Issuance, *, renewal_window: timedelta) -> IssuedCertificate:
    """The device's answer from `record`, in which a certificate was issued."""
    certificate = recorded_answer(record)
    if isinstance(certificate, str):
        raise TypeError(certificate)
    return IssuedCertificate(
        certificate_pem=certificate.certificate_pem,
        chain_pem=None if certificate.chain is None else certificate.chain.pem,
        certificate_id=certificate.certificate_id,
        thing_name=record.device_id,
        not_after=certificate.not_after,
        renew_after=renewal_start(certificate.not_after, record.fingerprint, renewal_window),
        reused=False,
    )


def certificate_again(
    record: Issuance,
    fingerprint: str,
    *,
    now: datetime,
    policy: IssuancePolicy,
    chain_of: Callable[[CertificateInUse], Chain | None],
) -> IssuedCertificate | None:
    """The valid certificate of the key `fingerprint` in `record` at `now`, or None.

    While the next one is due or being issued, `renew_after` is not later than `now`, so that the device retries.
    `chain_of` gives a certificate's chain with its text.
    """
    certificate = record.certificate_in_use(fingerprint, now, policy.trusts)
    if certificate is None:
        return None
    chain = chain_of(certificate)
    start = renewal_start(certificate.not_after, fingerprint, policy.renewal_window)
    waits = record.state is not IssuanceState.ACTIVE or record.renewal_requested_at is not None
    return IssuedCertificate(
        certificate_pem=certificate.certificate_pem,
        chain_pem=None if chain is None else chain.pem,
        certificate_id=certificate.certificate_id,
        thing_name=record.device_id,
        not_after=certificate.not_after,
        renew_after=min(start, now.replace(microsecond=0)) if waits else start,
        reused=True,
    )


def recorded_answer(record: Issuance) -> str | DeviceCertificate:
    """The issuer's answer according to `record`: a reference, or the certificate itself."""
    if record.state is IssuanceState.REQUESTED and record.reference is not None:
        return record.reference
    if record.certificate_id is None or record.certificate_pem is None or record.not_after is None:
        raise incomplete_record(record.state)
    return DeviceCertificate(
        certificate_id=record.certificate_id,
        certificate_pem=record.certificate_pem,
        chain=record.chain,
        not_after=record.not_after,
        certificate_arn=record.certificate_arn,
    )


def incomplete_record(state: IssuanceState) -> SecretFreeError:
    """The failure for a ledger record that lacks a field which its state requires."""
    return SecretFreeError(
        ErrorCode.INTERNAL, f"the ledger's record is incomplete for {state.value}", reason=Reason.UNEXPECTED
    )


def with_answer(record: Issuance, answer: str | DeviceCertificate) -> Issuance:
    """`record` with the issuer's answer: a reference or the certificate itself."""
    if isinstance(answer, str):
        return record.requested(answer)
    return record.issued(
        certificate_id=answer.certificate_id,
        certificate_pem=answer.certificate_pem,
        chain=answer.chain,
        not_after=answer.not_after,
    )


def superseded_until(record: Issuance) -> datetime | None:
    """Until when the certificates that `record` supersedes stay valid; None if the registry now has another key.

    A certificate of the same key stays valid until its end, because a copied request can begin a renewal while the
    device is connected with the old certificate.
    """
    return None if record.replaces_key else record.superseded_until


def clear_at(record: Issuance, now: datetime) -> datetime:
    """When the sweeper deletes the certificates that `record` replaces, if it becomes active at `now`."""
    end = superseded_until(record)
    return now if end is None or record.has_leftovers else max(now, end)


def revoked_certificate() -> SecretFreeError:
    """The refusal of a key whose certificate an operator revoked."""
    return not_authorized("the certificate of this key was revoked", reason=Reason.BLOCKED_DEVICE)
