"""Queue mode: the device's request waits in a queue for a worker of bounded rate, and the device collects later.

There are two halves. The front answers with the certificate that the ledger has. Otherwise it queues the request, once
at a time for each device. The worker takes one request after another through the issuing pipeline. A certificate
reaches a device only as the answer to a request that the authorizer has just allowed, never from the worker. Of a
message, the worker relies only on which device was authorized for which request: the queue's policy lets only the front
send messages. It verifies the request's signature again.
"""

import base64
import binascii
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol, Self

from secretfree.clock import Clock
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.calls import ledger_unavailable
from secretfree.issuance.model import (
    IssuanceAnswer,
    IssuancePolicy,
    IssuancePorts,
    IssuedCertificate,
    NotReady,
    certificate_again,
    incomplete_record,
    require_same_request,
    revoked_certificate,
)
from secretfree.issuance.pipeline import issue
from secretfree.issuance.ports import CertificateRecordState, RegisteredCertificate, ThrottledError, UnreachableError
from secretfree.issuance.rates import Chance
from secretfree.issuance.record import Issuance
from secretfree.issuance.states import IssuanceState, Standing
from secretfree.issuance.verification import verified
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.csr import UnverifiedCsr, VerifiedCsr, verify
from secretfree.request.device_id import DeviceId
from secretfree.request.device_profile import DeviceProfile

# If a front dies between claiming the device's place and sending the message, the device waits this long.
_SENDING: Final = timedelta(seconds=60)
# A refusal is repeated for this long. Then the device may queue anew, in case the cause was removed.
_REFUSAL_KEPT_FOR: Final = timedelta(minutes=5)
_WAITING_STEP: Final = timedelta(seconds=5)


class MarkState(StrEnum):
    """The state of a device's place in the queue."""

    CLAIMED = "claimed"  # the message is about to be sent
    QUEUED = "queued"  # the message waits, or a worker processes it
    REFUSED = "refused"  # the worker refused it for good; the device gets that answer
    DONE = "done"  # nothing waits


@dataclass(frozen=True, kw_only=True)
class QueueMark:
    """A device's place in the queue of one issuer; void from `until` on. `token`: the digest of the CSR that waits."""

    device_id: DeviceId
    issuer: str
    fingerprint: str
    token: str
    state: MarkState
    since: datetime
    until: datetime
    refusal: ErrorCode | None = None

    @classmethod
    def claimed(cls, device: AuthorizedDevice, issuer: str, now: datetime) -> Self:
        """The place of a request that is about to be sent."""
        return cls(
            device_id=device.device_id,
            issuer=issuer,
            fingerprint=device.fingerprint,
            token=device.csr_digest,
            state=MarkState.CLAIMED,
            since=now,
            until=now + _SENDING,
        )

    def queued(self, until: datetime) -> Self:
        """The message is in the queue, which forgets it at `until`."""
        return replace(self, state=MarkState.QUEUED, until=until)

    def refused(self, code: ErrorCode, now: datetime) -> Self:
        """The worker refused it."""
        return replace(self, state=MarkState.REFUSED, until=now + _REFUSAL_KEPT_FOR, refusal=code)

    def done(self, now: datetime) -> Self:
        """Nothing waits: the next request may queue."""
        return replace(self, state=MarkState.DONE, until=now)


@dataclass(frozen=True, kw_only=True)
class QueuedRequest:
    """What waits in the queue: who was authorized, and the request that proves possession. Nothing of it is secret.

    `as_of`: the generation of the device's record then, 0 where there was none. A message may come late, or twice: one
    whose key another has replaced since is refused, so that it does not take the device's place from its present key.
    """

    device: AuthorizedDevice
    csr_der: bytes
    as_of: int

    def to_message(self) -> str:
        """JSON: the authorizer's context, `csr`, base64 of the DER, and `asOf`."""
        csr = base64.b64encode(self.csr_der).decode("ascii")
        return json.dumps({**self.device.to_context(), "csr": csr, "asOf": self.as_of})

    @classmethod
    def from_message(cls, text: str) -> Self:
        """Raises SecretFreeError (`invalid-request`) for any other text."""
        try:
            message = json.loads(text)
            device = AuthorizedDevice.from_context(message)
            csr_der = base64.b64decode(message["csr"], validate=True)
            as_of = int(message["asOf"])
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, SecretFreeError):
            raise SecretFreeError(
                ErrorCode.INVALID_REQUEST, "the message is none of the queue's", reason=Reason.CONFIGURATION
            ) from None
        return cls(device=device, csr_der=csr_der, as_of=as_of)


class RegisteredCertificates(Protocol):
    """Reads certificates of IoT Core, for the front; raises ThrottledError or UnreachableError."""

    def describe(self, certificate_id: str) -> RegisteredCertificate | None:
        """The certificate as IoT Core has it, or None."""
        ...


class FrontLedger(Protocol):
    """The part of the ledger that the front needs; raises ThrottledError or UnreachableError."""

    def read(self, device_id: DeviceId, issuer: str) -> Issuance | None:
        """The device's record, read consistently."""
        ...

    def write(self, issuance: Issuance, *, certificate: CertificateRecordState | None = None) -> Issuance:
        """Store `issuance`, where a certificate was looked up: see `secretfree.issuance.ports.Ledger`."""
        ...


class QueueMarks(Protocol):
    """The devices' places. Every method raises ThrottledError or UnreachableError."""

    def claim(self, mark: QueueMark, *, now: datetime) -> QueueMark | None:
        """Store `mark` if the device has no place that still holds at `now`; else that place."""
        ...

    def confirm(self, mark: QueueMark) -> None:
        """Store `mark` if its claim is still there: a worker may have been faster."""
        ...

    def settle(self, mark: QueueMark) -> None:
        """Store `mark` unless another request has taken the place."""
        ...


class RequestQueue(Protocol):
    """The queue, for the front; raises ThrottledError or UnreachableError."""

    def send(self, request: QueuedRequest) -> None:
        """Put a request into the queue; it may arrive more than once."""
        ...


@dataclass(frozen=True, kw_only=True)
class FrontPorts:
    """The ports of the front. `retention`: after which the queue forgets a message."""

    ledger: FrontLedger
    certificates: RegisteredCertificates
    marks: QueueMarks
    queue: RequestQueue
    retention: timedelta
    chance: Chance


def collect_or_queue(
    authorized: AuthorizedDevice, csr: VerifiedCsr, *, ports: FrontPorts, policy: IssuancePolicy, clock: Clock
) -> IssuanceAnswer:
    """The device's certificate where it is good; else a place in the queue, and when to ask again.

    A device in its renewal window gets both: its certificate, and a place in the queue for the next. Raises
    SecretFreeError: `not-authorized` for a revoked certificate, whatever the worker refused the request with,
    `unavailable` when ledger or queue do not answer.
    """
    require_same_request(authorized, csr)
    now = clock.now()
    try:
        seen = ports.ledger.read(authorized.device_id, policy.issuer)
        if seen is not None:
            fingerprint, describe = authorized.fingerprint, ports.certificates.describe
            seen = verified(seen, fingerprint, now=now, ledger=ports.ledger, describe=describe, trusts=policy.trusts)
    except (ThrottledError, UnreachableError) as error:
        raise ledger_unavailable(error, policy.retry_after, ports.chance) from error
    again = _again(seen, authorized, policy=policy, now=now)
    try:
        waiting = _standing_or_queued(authorized, csr, seen, ports=ports, policy=policy, clock=clock, now=now)
    except (ThrottledError, UnreachableError) as error:
        if again is None:
            raise ledger_unavailable(error, policy.retry_after, ports.chance) from error
        return replace(again, instead_of=error)
    except SecretFreeError as error:
        if again is None:
            raise
        return replace(again, instead_of=error)
    if waiting is None:
        if again is None:
            raise incomplete_record(IssuanceState.ACTIVE)
        return again
    return waiting if again is None else replace(again, instead_of=waiting)


def work_off(
    request: QueuedRequest,
    *,
    profile: DeviceProfile,
    ports: IssuancePorts,
    marks: QueueMarks,
    policy: IssuancePolicy,
    clock: Clock,
    deadline: float,
) -> IssuanceAnswer:
    """Issue for a request of the queue, and free the device's place when nothing is left to wait for.

    `deadline`: as of `issue`. Raises SecretFreeError as `issue` does; a permanent refusal is first stored for the front
    to answer with. ThrottledError or UnreachableError if it cannot be stored.
    """
    place = QueueMark.claimed(request.device, policy.issuer, clock.now())
    try:
        csr = verify(UnverifiedCsr.from_der(request.csr_der), profile)
        outcome = issue(
            request.device, csr, ports=ports, policy=policy, clock=clock, deadline=deadline, as_of=request.as_of
        )
    except SecretFreeError as refusal:
        if is_final(refusal):
            marks.settle(place.refused(refusal.code, clock.now()))
        raise
    if isinstance(outcome, IssuedCertificate):
        marks.settle(place.done(clock.now()))
    return outcome


def give_up(request: QueuedRequest, *, marks: QueueMarks, policy: IssuancePolicy, clock: Clock) -> None:
    """Free the device's place. Its message is not delivered again, and the device's next request queues anew."""
    now = clock.now()
    marks.settle(QueueMark.claimed(request.device, policy.issuer, now).done(now))


def is_final(refusal: SecretFreeError) -> bool:
    """Whether the same request would always be refused."""
    return refusal.retry_after is None and refusal.status < 500


def _again(
    seen: Issuance | None, device: AuthorizedDevice, *, policy: IssuancePolicy, now: datetime
) -> IssuedCertificate | None:
    if seen is None:
        return None
    return certificate_again(seen, device.fingerprint, now=now, policy=policy)


def _standing_or_queued(
    authorized: AuthorizedDevice,
    csr: VerifiedCsr,
    seen: Issuance | None,
    *,
    ports: FrontPorts,
    policy: IssuancePolicy,
    clock: Clock,
    now: datetime,
) -> NotReady | None:
    """What the device waits for; None: nothing, since its certificate is good and outside the renewal window."""
    if seen is not None:
        standing = seen.standing(
            authorized.fingerprint, now=now, renewal_window=policy.renewal_window, trusts=policy.trusts
        )
        if standing is Standing.SERVE:
            return None
        if standing is Standing.REFUSE:
            raise revoked_certificate()
        if standing is Standing.WAIT:
            return _wait(policy, ports.chance, reason=Reason.LEASE_HELD)
    claimed = QueueMark.claimed(authorized, policy.issuer, now)
    waiting = ports.marks.claim(claimed, now=now)
    if waiting is not None:
        if waiting.refusal is not None and waiting.fingerprint == authorized.fingerprint:
            raise SecretFreeError(waiting.refusal, "the worker refused the request", reason=Reason.QUEUED)
        return _wait(policy, ports.chance, age=now - waiting.since)
    try:
        as_of = 0 if seen is None else seen.generation
        ports.queue.send(QueuedRequest(device=authorized, csr_der=csr.der, as_of=as_of))
    except (ThrottledError, UnreachableError):
        ports.marks.settle(claimed.done(clock.now()))
        raise
    ports.marks.confirm(claimed.queued(now + ports.retention))
    return _wait(policy, ports.chance)


def _wait(
    policy: IssuancePolicy, chance: Chance, *, age: timedelta = timedelta(), reason: Reason = Reason.QUEUED
) -> NotReady:
    attempts = 1 + int(age / _WAITING_STEP)
    seconds = policy.retry_after.seconds(age=age, attempts=attempts, pressure=0.0, chance=chance)
    return NotReady(retry_after=seconds, reason=reason)
