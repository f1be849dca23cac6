"""The lease in the ledger's record, by which one worker at a time works on a device."""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from typing import Final, TypeVar

from secretfree.clock import Clock
from secretfree.contract import MatchPolicy
from secretfree.errors import ErrorCode, Reason, SecretFreeError, not_authorized
from secretfree.issuance.calls import CallRunner, OutOfTimeError
from secretfree.issuance.chain_lookup import with_text
from secretfree.issuance.chains import Chain
from secretfree.issuance.model import (
    IssuanceAnswer,
    IssuancePolicy,
    IssuancePorts,
    IssuedCertificate,
    NotReady,
    certificate_again,
    incomplete_record,
    revoked_certificate,
)
from secretfree.issuance.ports import (
    CertificateRecordState,
    CertificateStatus,
    RegisteredCertificate,
    StaleLedgerError,
    ThrottledError,
    UnreachableError,
)
from secretfree.issuance.record import LEASE, Issuance
from secretfree.issuance.states import IssuanceState, Standing
from secretfree.issuance.tickets import Ticket
from secretfree.issuance.verification import out_of_use, verified
from secretfree.request.device_id import DeviceId

# A token is not used near the end of the authority's idempotency window, because a worker may be slow.
IDEMPOTENCY_MARGIN: Final = timedelta(seconds=60)
_WAITING_STEP: Final = timedelta(seconds=5)
# `secretfree ca distrust` deactivates the certificates of a CA. A revoked one was revoked because of its own device.
_LEFT_BY_DISTRUST: Final = frozenset({CertificateStatus.ACTIVE, CertificateStatus.INACTIVE})

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """One invocation's work on one device.

    `confirm` raises SecretFreeError unless the registry has the device as it was authorized. `always_anew`: issue a new
    certificate even if the device has a valid one.
    """

    device_id: DeviceId
    fingerprint: str
    ports: IssuancePorts
    policy: IssuancePolicy
    clock: Clock
    calls: CallRunner
    confirm: Callable[[], None]
    always_anew: bool = False

    def write(self, record: Issuance, *, certificate: CertificateRecordState | None = None) -> Issuance:
        """Store `record`; SecretFreeError (`unavailable`) when the ledger does not answer."""
        return self.calls.through_ledger(lambda: self.ports.ledger.write(record, certificate=certificate))

    def next_generation(self, seen: Issuance) -> Issuance:
        """The record of a new generation after `seen`, its lease held by this worker."""
        return seen.next_generation(self.fingerprint, self.ports.owner(), self.clock.now())

    def describe(self, certificate_id: str) -> RegisteredCertificate | None:
        """The certificate at IoT Core; ThrottledError or UnreachableError if IoT Core does not answer in time."""
        try:
            return self.calls.persist("describe", lambda: self.ports.things.describe(certificate_id))
        except OutOfTimeError as error:
            raise UnreachableError(error.reason.value) from error

    def or_in_use(self, record: Callable[[], Issuance], work: Callable[[], T]) -> T | IssuedCertificate:
        """The answer of `work` or, without a certificate from it, the device's valid certificate in `record`, if any.

        So a device gets its certificate even while a renewal is under way or fails. A refusal of the device stays a
        refusal.
        """
        try:
            answer = work()
        except Exception as error:
            if _refuses_device(error):
                raise
            again = self._in_use(record(), error)
            if again is None:
                raise
            return again
        if isinstance(answer, NotReady):
            return self._in_use(record(), answer) or answer
        return answer

    def _in_use(self, record: Issuance, instead_of: NotReady | Exception) -> IssuedCertificate | None:
        again = self.again(record)
        return None if again is None else replace(again, instead_of=instead_of)

    def again(self, record: Issuance) -> IssuedCertificate | None:
        """The device's valid certificate in `record`, or None."""
        return certificate_again(
            record,
            self.fingerprint,
            now=self.clock.now(),
            policy=self.policy,
            chain_of=lambda certificate: self._chain(certificate.chain, certificate.reference),
        )

    def with_chain(self, record: Issuance) -> Issuance:
        """`record` with the text of its certificate's chain; SecretFreeError (`unavailable`) if it is nowhere."""
        if record.certificate_pem is None:
            return record
        return replace(record, chain=self._chain(record.chain, record.reference))

    def _chain(self, chain: Chain | None, reference: str | None) -> Chain | None:
        return with_text(chain, reference, ledger=self.ports.ledger, issuer=self.ports.issuer, calls=self.calls)

    def waiting(self, ticket: Ticket) -> NotReady:
        """The answer to a device that waits for its turn."""
        return NotReady(retry_after=max(1, self.ports.turns.seconds_left(ticket)), reason=Reason.QUEUED)

    def not_ready(
        self, record: Issuance, reason: Reason, *, attempts: int | None = None, detail: str | None = None
    ) -> NotReady:
        """The answer while `record` has no certificate for the device."""
        return NotReady(
            retry_after=self.calls.retry_after(
                age=self.clock.now() - _tried_since(record),
                attempts=record.attempts if attempts is None else attempts,
            ),
            reason=reason,
            detail=detail,
        )


def _tried_since(record: Issuance) -> datetime:
    """When the device's requests began. The wait for its turn does not count."""
    return record.begun_at if record.ticket is None else max(record.begun_at, record.ticket.at)


@dataclass
class Lease:
    """The record as last stored by this worker, which holds its lease.

    `unaccounted`: the outcome of a request may be unrecorded. This matters only in the state `requesting`, which ends
    when an answer is stored.
    """

    record: Issuance
    unaccounted: bool


def take_lease(work: Invocation) -> Lease | IssuanceAnswer:
    """Take the lease, or return the device's answer if none is needed.

    The registry is read in parallel with the first write. So the authorizer's decision alone issues nothing, and a
    later block takes effect. Raises SecretFreeError: `too-many-requests`; `unavailable` when a table does not answer;
    `not-authorized` for a device that is not enrolled with this key, for a key other than the bound one, for a replaced
    key, and for a revoked certificate.
    """
    now = work.clock.now()
    first = Issuance.first(work.device_id, work.policy.issuer, work.fingerprint, owner=work.ports.owner(), now=now)
    if work.ports.turns.is_open():
        return _in_the_queue(work, first)
    confirmed, written = work.calls.side_by_side(
        lambda: work.calls.through_registry(work.confirm), lambda: work.write(_admitted(work, first))
    )
    try:
        confirmed.result()
        if work.policy.match is MatchPolicy.UDID:
            _require_bound_key(work)
    except SecretFreeError:
        if written.exception() is None:
            _withdraw(work, written.result())
        raise
    try:
        return Lease(written.result(), unaccounted=False)
    except StaleLedgerError as stale:
        if stale.current is None:  # Deleted between the write and the read, by its time to live or by an operator.
            return work.not_ready(first, Reason.LEASE_HELD)
        return _found(work, stale.current)


def _in_the_queue(work: Invocation, first: Issuance) -> Lease | IssuanceAnswer:
    """While devices wait for their turns, read the record first, so that an early request costs no write."""
    confirmed, read = work.calls.side_by_side(
        lambda: work.calls.through_registry(work.confirm),
        lambda: work.calls.through_ledger(lambda: work.ports.ledger.read(work.device_id, work.policy.issuer)),
    )
    confirmed.result()
    if work.policy.match is MatchPolicy.UDID:
        _require_bound_key(work)
    seen: Issuance | None = read.result()
    if seen is not None:
        return _found(work, seen)
    ticket = work.ports.turns.take()
    waits = None if ticket is None else first.never_requested().parked().waiting(ticket)
    try:
        stored = work.write(_admitted(work, first) if waits is None else waits)
    except StaleLedgerError as stale:
        return work.not_ready(first, Reason.LEASE_HELD) if stale.current is None else _found(work, stale.current)
    return Lease(stored, unaccounted=False) if ticket is None else work.waiting(ticket)


def _found(work: Invocation, seen: Issuance) -> Lease | IssuanceAnswer:
    standing = seen.standing(
        work.fingerprint,
        now=work.clock.now(),
        renewal_window=work.policy.renewal_window,
        trusts=work.policy.trusts,
    )
    if work.always_anew:
        return _take_over(work, seen, Standing.RENEW if standing is Standing.SERVE else standing)
    # A renewal always reads the certificate itself.
    known = seen if standing is Standing.RENEW and _may_begin(work, seen) else _verified(work, seen)
    return work.or_in_use(lambda: known, lambda: _take_over(work, known, standing))


def _verified(work: Invocation, seen: Issuance) -> Issuance:
    return verified(
        seen,
        work.fingerprint,
        now=work.clock.now(),
        ledger=work.ports.ledger,
        describe=work.describe,
        trusts=work.policy.trusts,
    )


def _refuses_device(error: Exception) -> bool:
    return isinstance(error, SecretFreeError) and error.code in {ErrorCode.NOT_AUTHORIZED, ErrorCode.INVALID_REQUEST}


def _withdraw(work: Invocation, record: Issuance) -> None:
    """Close the first record of a refused device: no certificate was requested, so nothing has to be removed."""
    with suppress(ThrottledError, UnreachableError, StaleLedgerError):
        work.ports.ledger.write(record.never_requested().abandoned(work.clock.now()))


def _require_bound_key(work: Invocation) -> None:
    if not work.calls.through_ledger(lambda: work.ports.ledger.bind(work.device_id, work.fingerprint)):
        raise not_authorized("another key is bound to this device", reason=Reason.KEY_MISMATCH)


def _take_over(work: Invocation, seen: Issuance, standing: Standing) -> Lease | IssuanceAnswer:
    if standing is Standing.SERVE:
        return _served(work, seen)
    if standing is Standing.WAIT:
        return _wait_for_holder(work, seen)
    if standing is Standing.REFUSE:
        raise revoked_certificate()
    held_back = _held_back(work, seen)
    if held_back is not None:
        return held_back
    if standing is Standing.RENEW:
        return _renew(work, seen)
    if standing is Standing.REPLACE:
        return _renew(work, seen, accepted=_LEFT_BY_DISTRUST)
    begins_anew = work.always_anew or standing is not Standing.RESUME or _outlived_its_token(work, seen)
    return _continue(work, seen, begins_anew=begins_anew)


def _held_back(work: Invocation, seen: Issuance) -> NotReady | None:
    """The answer to a device that must wait for its turn; None: the device may continue.

    With `always_anew`, an issued certificate may be in use at IoT Core before the sweeper records it as active.
    """
    is_issued = seen.state is IssuanceState.ISSUED and seen.fingerprint == work.fingerprint
    if work.always_anew and is_issued and work.describe(seen.certificate_id or "") is not None:
        return work.not_ready(seen, Reason.CERTIFICATE_PENDING)
    turns = work.ports.turns
    if seen.ticket is not None:
        if turns.seconds_left(seen.ticket):
            return work.waiting(seen.ticket)
        work.calls.take_its_turn()
        return None
    ticket = turns.take() if turns.is_open() else None
    if ticket is None:
        return None
    try:
        work.write(seen.waiting(ticket))
    except StaleLedgerError:
        return work.not_ready(seen, Reason.LEASE_HELD)
    return work.waiting(ticket)


def _continue(work: Invocation, seen: Issuance, *, begins_anew: bool) -> Lease | NotReady:
    try:
        record = work.next_generation(seen) if begins_anew else _resumed(work, seen)
        stored = work.write(_admitted(work, record.without_distrusted(work.policy.trusts)))
    except StaleLedgerError:
        return work.not_ready(seen, Reason.LEASE_HELD)
    return Lease(stored, unaccounted=not begins_anew and seen.requested_at is not None)


def _served(work: Invocation, seen: Issuance) -> IssuedCertificate:
    again = work.again(seen)
    if again is None:
        raise incomplete_record(seen.state)
    return again


def _may_begin(work: Invocation, seen: Issuance) -> bool:
    """Whether the device's budget allows another issuance."""
    return work.policy.admission.charge(seen.admission, work.clock.now()) is not None


def _renew(
    work: Invocation, seen: Issuance, *, accepted: Collection[CertificateStatus] = (CertificateStatus.ACTIVE,)
) -> Lease | IssuanceAnswer:
    """Begin a renewal, if the status of the old certificate is in `accepted`.

    A certificate that is missing at IoT Core before its end may have been revoked, so an operator decides.
    """
    _admitted(work, seen)  # before any call
    now = work.clock.now()
    try:
        registered = work.describe(seen.certificate_id or "")
    except (ThrottledError, UnreachableError) as unanswered:
        return work.not_ready(seen, Reason.UPSTREAM_UNAVAILABLE, detail=str(unanswered))
    is_good = seen.not_after is not None and now < seen.not_after
    if registered is None and not is_good:
        return _continue(work, seen, begins_anew=True)
    if registered is None or registered.status not in accepted:
        raise out_of_use(seen, registered, now=now, ledger=work.ports.ledger)
    return _continue(work, seen.verified(now), begins_anew=True)


def _resumed(work: Invocation, seen: Issuance) -> Issuance:
    now = work.clock.now()
    taken = work.with_chain(seen).taken(work.ports.owner(), now)
    never_requested = seen.state is IssuanceState.REQUESTING and seen.requested_at is None
    return taken.requesting(now) if never_requested else taken


def _outlived_its_token(work: Invocation, seen: Issuance) -> bool:
    """Whether a repeated request could make a second certificate in this generation."""
    if seen.state is not IssuanceState.REQUESTING or seen.requested_at is None:
        return False
    window = work.ports.issuer.repeatable_for
    return not window or work.clock.now() >= seen.requested_at + window - IDEMPOTENCY_MARGIN


def _admitted(work: Invocation, record: Issuance) -> Issuance:
    """`record` with one more lease charged to the device; SecretFreeError (`too-many-requests`) if too many."""
    now: datetime = work.clock.now()
    charged = work.policy.admission.charge(record.admission, now)
    if charged is None:
        wait = work.policy.admission.wait(record.admission, now)
        raise SecretFreeError(
            ErrorCode.TOO_MANY_REQUESTS,
            "the device sends too many requests",
            reason=Reason.THROTTLED,
            retry_after=max(1, ceil(wait.total_seconds())),
        )
    return replace(record, admission=charged)


def _wait_for_holder(work: Invocation, seen: Issuance) -> NotReady:
    """Seconds to wait for another worker, which usually needs a second or two.

    A worker that needs much longer may have died.
    """
    now = work.clock.now()
    held = LEASE - ((seen.due or now) - now)
    return work.not_ready(seen, Reason.LEASE_HELD, attempts=1 + int(held / _WAITING_STEP))
