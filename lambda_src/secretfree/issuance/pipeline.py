"""The issuing pipeline: from an authorized device to a certificate that may connect, each step recorded first.

The order, with the calls that a new device costs on the critical path (the authorizer's read being the first):

    2  ledger: lease and intent             one conditional write; it also answers who was here before
    3  request      | ensure the thing      the token is the generation's, so a repeated request changes nothing
    4  collect      | ledger: reference     Private CA only
    5  install      | ledger: certificate   the certificate's id is its digest, known before it is registered
    6  policy | thing | groups | activate   activation: the IoT Core CA only, and without its policy nothing may connect
    -  ledger: active                       begun before the answer; for the IoT Core CA, which has no step 4, awaited

The last write is not awaited because nothing depends on it: lost, the record says `issued`, and the next request or
the sweeper repeats step 6, which changes nothing, and writes it again. With the IoT Core CA step 6 activates, and an
inactive certificate of an `issued` record is one that never was active, or one that an operator has deactivated since:
there the write is awaited, since Lambda freezes what is not, and the device gets 202 where it fails, so that a
certificate handed out is not activated again.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from math import ceil
from typing import Any, Final, TypeAlias, TypeVar

from secretfree.clock import Clock
from secretfree.errors import ErrorCode, Reason, SecretFreeError, not_authorized
from secretfree.issuance.ports import (
    CertificateIssuer,
    CertificateOrder,
    CertificateRecordState,
    CertificateRevokedError,
    CertificateStatus,
    DeviceCertificate,
    Ledger,
    RequestFailedError,
    SearchTooWideError,
    StaleLedgerError,
    StillAttachedError,
    ThingRegistry,
    ThrottledError,
    UnreachableError,
)
from secretfree.issuance.rates import (
    ISSUANCE_RATE,
    AdmissionRate,
    Chance,
    Congestion,
    PollPolicy,
    RetryAfterPolicy,
    RetryPolicy,
)
from secretfree.issuance.record import LEASE, Issuance, IssuanceState, Standing
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.csr import VerifiedCsr

T = TypeVar("T")
StageTimer: TypeAlias = Callable[[str], AbstractContextManager[object]]

# A superseded certificate of the same key lives on for a while: the device may not have got the answer yet, and is
# perhaps connected with it.
RENEWAL_GRACE: Final = timedelta(hours=1)
# A token is not used near the end of the authority's idempotency window: a worker may take a while to get there.
IDEMPOTENCY_MARGIN: Final = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class IssuancePolicy:
    """What deploy time decides about issuing through one issuer.

    `awaits_confirmation`: nobody waits for the answer, so that even the last write is awaited.
    """

    issuer: str
    renewal_window: timedelta
    binds_first_key: bool = False
    awaits_confirmation: bool = False
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    poll: PollPolicy = field(default_factory=PollPolicy)
    retry_after: RetryAfterPolicy = field(default_factory=RetryAfterPolicy)
    admission: AdmissionRate = ISSUANCE_RATE


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The world, as the pipeline sees it.

    `executor` runs independent calls side by side; `chance` is uniform in [0, 1); `owner` names this worker anew at
    each call; `stage` measures what runs inside, under the name of a step: request, collect, install or attach.
    """

    issuer: CertificateIssuer
    things: ThingRegistry
    ledger: Ledger
    executor: Executor
    congestion: Congestion
    chance: Chance
    owner: Callable[[], str]
    stage: StageTimer = nullcontext


@dataclass(frozen=True, kw_only=True)
class IssuedCertificate:
    """The answer to the device. `reused`: it was issued before, and no issuing call was made."""

    certificate_pem: str
    chain_pem: str | None
    certificate_id: str
    thing_name: str
    not_after: datetime
    reused: bool


@dataclass(frozen=True, kw_only=True)
class NotReady:
    """Accepted, not ready: the device asks again after `retry_after` seconds."""

    retry_after: int
    reason: Reason


def issue(
    authorized: AuthorizedDevice,
    csr: VerifiedCsr,
    *,
    ports: Ports,
    policy: IssuancePolicy,
    clock: Clock,
    deadline: float,
    as_of: int | None = None,
) -> IssuedCertificate | NotReady:
    """Issue, resume or repeat the certificate of `authorized`, whose proof of possession is `csr`.

    `deadline` is a time of `clock.monotonic()` after which no further call begins. `as_of`: the generation that the
    ledger had when the device was authorized, where that is a while ago; None: just now. Raises SecretFreeError:
    `conflict` when the thing's name is taken, `too-many-requests`, `not-authorized` for another key than the bound one,
    for one that another key has replaced since `as_of` and for a revoked certificate, `unavailable` when the ledger
    cannot be reached.
    """
    require_same_request(authorized, csr)
    return _Worker(authorized, csr, ports=ports, policy=policy, clock=clock, deadline=deadline, as_of=as_of).run()


def require_same_request(authorized: AuthorizedDevice, csr: VerifiedCsr) -> None:
    """Refuse a CSR that is not the one that was authorized."""
    if csr.digest != authorized.csr_digest or csr.public_key.fingerprint != authorized.fingerprint:
        raise SecretFreeError(
            ErrorCode.INVALID_REQUEST,
            "the request's CSR is not the one that was authorized",
            reason=Reason.DIGEST_MISMATCH,
        )


def clear_at(record: Issuance, now: datetime) -> datetime:
    """When the certificates that `record` supersedes are due to go, if it becomes active at `now`."""
    return now if record.replaces_key else now + RENEWAL_GRACE


def issued_certificate(record: Issuance, *, reused: bool) -> IssuedCertificate:
    """The answer that `record` holds, once a certificate was issued."""
    certificate = _recorded_answer(record)
    if isinstance(certificate, str):
        raise TypeError(certificate)
    return IssuedCertificate(
        certificate_pem=certificate.certificate_pem,
        chain_pem=certificate.chain_pem,
        certificate_id=certificate.certificate_id,
        thing_name=record.device_id,
        not_after=certificate.not_after,
        reused=reused,
    )


def with_answer(record: Issuance, answer: str | DeviceCertificate) -> Issuance:
    """`record` one step further: with the issuer's reference, or with the certificate itself."""
    if isinstance(answer, str):
        return record.requested(answer)
    return record.issued(
        certificate_id=answer.certificate_id,
        certificate_pem=answer.certificate_pem,
        chain_pem=answer.chain_pem,
        not_after=answer.not_after,
    )


def revoked_certificate() -> SecretFreeError:
    """The refusal of a key whose certificate someone took out of use."""
    return not_authorized("the certificate of this key was revoked", reason=Reason.BLOCKED_DEVICE)


@dataclass
class _Lease:
    """The record as last stored by this worker, which holds its lease.

    `unaccounted`: a request may have been made whose outcome is not recorded. It counts while the record says
    `requesting`; storing an answer takes the record beyond that.
    """

    record: Issuance
    unaccounted: bool


class _OutOfTimeError(Exception):
    """What is left does not fit into this invocation."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class _Worker:
    """One invocation's work on one device."""

    def __init__(
        self,
        authorized: AuthorizedDevice,
        csr: VerifiedCsr,
        *,
        ports: Ports,
        policy: IssuancePolicy,
        clock: Clock,
        deadline: float,
        as_of: int | None,
    ) -> None:
        self._as_of = as_of
        self._device = authorized.device_id
        self._fingerprint = authorized.fingerprint
        self._csr = csr
        self._ports = ports
        self._policy = policy
        self._clock = clock
        self._deadline = deadline

    def run(self) -> IssuedCertificate | NotReady:
        if self._policy.binds_first_key:
            self._require_bound_key()
        opened = self._open()
        return self._finish(opened) if isinstance(opened, _Lease) else opened

    # Who may work.

    def _require_bound_key(self) -> None:
        if not self._through_ledger(lambda: self._ports.ledger.bind(self._device, self._fingerprint)):
            raise not_authorized("another key is bound to this device", reason=Reason.KEY_MISMATCH)

    def _open(self) -> _Lease | IssuedCertificate | NotReady:
        """Take the lease, or say what the device gets without it."""
        now = self._clock.now()
        first = Issuance.first(self._device, self._policy.issuer, self._fingerprint, owner=self._ports.owner(), now=now)
        try:
            return _Lease(self._write(self._admitted(first)), unaccounted=False)
        except StaleLedgerError as stale:
            if stale.current is None:  # gone between the write and the look: its time to live, or an operator
                return self._not_ready(first, Reason.LEASE_HELD)
            return self._take_over(stale.current)

    def _take_over(self, seen: Issuance) -> _Lease | IssuedCertificate | NotReady:
        if self._as_of is not None and seen.generation > self._as_of and seen.fingerprint != self._fingerprint:
            raise not_authorized("another key has come since this one was authorized", reason=Reason.KEY_MISMATCH)
        standing = seen.standing(self._fingerprint, now=self._clock.now(), renewal_window=self._policy.renewal_window)
        if standing is Standing.SERVE:
            return issued_certificate(seen, reused=True)
        if standing is Standing.WAIT:
            return self._wait_for_holder(seen)
        if standing is Standing.REFUSE:
            raise revoked_certificate()
        if standing is Standing.RENEW:
            try:
                self._refuse_to_renew_revoked(seen)
            except (ThrottledError, UnreachableError, _OutOfTimeError):
                return self._not_ready(seen, Reason.UPSTREAM_UNAVAILABLE)
        begins_anew = standing is not Standing.RESUME or self._outlived_its_token(seen)
        try:
            stored = self._write(self._admitted(self._next(seen) if begins_anew else self._resumed(seen)))
        except StaleLedgerError:
            return self._not_ready(seen, Reason.LEASE_HELD)
        return _Lease(stored, unaccounted=not begins_anew and seen.requested_at is not None)

    def _next(self, seen: Issuance) -> Issuance:
        return seen.next_generation(self._fingerprint, self._ports.owner(), self._clock.now())

    def _resumed(self, seen: Issuance) -> Issuance:
        now = self._clock.now()
        taken = seen.taken(self._ports.owner(), now)
        never_asked = seen.state is IssuanceState.REQUESTING and seen.requested_at is None
        return taken.asking(now) if never_asked else taken

    def _outlived_its_token(self, seen: Issuance) -> bool:
        """Whether a repeated request could make a second certificate in this generation."""
        window = self._ports.issuer.repeatable_for
        if not window or seen.state is not IssuanceState.REQUESTING or seen.requested_at is None:
            return False
        return self._clock.now() >= seen.requested_at + window - IDEMPOTENCY_MARGIN

    def _refuse_to_renew_revoked(self, seen: Issuance) -> None:
        """A certificate that someone took out of use is not replaced for the asking."""
        registered = self._persist("describe", lambda: self._ports.things.describe(seen.certificate_id or ""))
        if registered is not None and registered.status is not CertificateStatus.ACTIVE:
            with suppress(StaleLedgerError):
                self._write(seen.revoked(self._clock.now()), certificate=CertificateRecordState.REVOKED)
            raise revoked_certificate()

    def _admitted(self, record: Issuance) -> Issuance:
        """`record` with one more lease charged to the device; SecretFreeError (`too-many-requests`) if too many."""
        now = self._clock.now()
        charged = self._policy.admission.charge(record.admission, now)
        if charged is None:
            wait = self._policy.admission.wait(record.admission, now)
            raise SecretFreeError(
                ErrorCode.TOO_MANY_REQUESTS,
                "the device asks too often",
                reason=Reason.THROTTLED,
                retry_after=max(1, ceil(wait.total_seconds())),
            )
        return replace(record, admission=charged)

    # The steps.

    def _finish(self, lease: _Lease) -> IssuedCertificate | NotReady:
        """Do what is left; whatever stops it, the record says how far it came."""
        try:
            return self._proceed(lease)
        except StaleLedgerError:
            return self._not_ready(lease.record, Reason.LEASE_HELD)
        except ThrottledError:
            self._give_up(lease)
            return self._not_ready(lease.record, Reason.THROTTLED)
        except UnreachableError:
            self._give_up(lease)
            return self._not_ready(lease.record, Reason.UPSTREAM_UNAVAILABLE)
        except _OutOfTimeError as out_of_time:
            self._give_up(lease)
            return self._not_ready(lease.record, out_of_time.reason)
        except RequestFailedError:
            self._close(lease.record.abandoned(self._clock.now()))
            return self._not_ready(lease.record, Reason.UPSTREAM_REFUSED)
        except CertificateRevokedError:
            self._close(lease.record.revoked(self._clock.now()), certificate=CertificateRecordState.REVOKED)
            raise revoked_certificate() from None
        except Exception:
            self._give_up(lease)
            raise

    def _proceed(self, lease: _Lease) -> IssuedCertificate:
        stage = self._ports.stage
        with stage("request"):
            if lease.record.state is IssuanceState.REQUESTING:
                answer = self._request(lease)
            else:
                self._ensure_thing(lease)
                answer = _recorded_answer(lease.record)
        if isinstance(answer, str):
            with stage("collect"):
                certificate = self._collect(lease, answer)
        else:
            certificate = answer
        if certificate.not_after <= self._clock.now():  # taken up again when its time was over
            raise RequestFailedError(certificate.certificate_id)
        with stage("install"):
            certificate_arn = self._install(lease, certificate)
            lease.record = lease.record.registered(certificate_arn)
        with stage("attach"):
            self._attach_and_activate(lease.record, certificate.certificate_id)
        if self._ports.issuer.installs_active and not self._policy.awaits_confirmation:
            self._ports.executor.submit(self._confirm, lease.record)
        elif not self._confirm(lease.record):
            raise _OutOfTimeError(Reason.LEDGER_UNAVAILABLE)
        return issued_certificate(lease.record, reused=False)

    def _ensure_thing(self, lease: _Lease) -> None:
        if not lease.record.thing_ensured:
            self._persist("thing", lambda: self._ports.things.ensure_thing(self._device))
            lease.record = lease.record.with_thing()

    def _attach_and_activate(self, record: Issuance, certificate_id: str) -> None:
        attachments = self._ports.things.attachments(self._device, record.certificate_arn or "")
        calls = [partial(self._persist, f"attachment {number}", call) for number, call in enumerate(attachments)]
        if not self._ports.issuer.installs_active:
            calls.append(partial(self._persist, "activate", lambda: self._ports.issuer.activate(certificate_id)))
        _results(self._side_by_side(*calls))

    def _request(self, lease: _Lease) -> str | DeviceCertificate:
        """Have a certificate asked for, and the thing made beside it: the reference, or the certificate itself."""
        if lease.unaccounted and not self._ports.issuer.repeatable_for:
            recovered = self._recover(lease)
            if recovered is not None:
                self._ensure_thing(lease)
                return recovered
        # The thing comes last: what is known of it goes into the lease's record in this thread.
        requested, thing = self._side_by_side(lambda: self._order(lease), lambda: self._ensure_thing(lease))
        answer: str | DeviceCertificate = requested.result()
        if thing.exception() is not None:  # what was asked for is not forgotten over it
            self._store(lease, with_answer(lease.record, answer))
        thing.result()
        return answer

    def _order(self, lease: _Lease) -> str | DeviceCertificate:
        issuer = self._ports.issuer
        order = CertificateOrder(device_id=self._device, csr=self._csr, token=lease.record.token)
        try:
            answer = self._persist("request", lambda: issuer.request(order), repeatable=bool(issuer.repeatable_for))
        except (ThrottledError, SecretFreeError):  # refused each time, so without effect
            raise
        except BaseException:
            lease.unaccounted = True
            raise
        lease.unaccounted = True  # until the answer is recorded, which may fail
        return answer

    def _recover(self, lease: _Lease) -> DeviceCertificate | None:
        """The certificate that a lost answer was about. Where there is none, a new generation begins."""
        record = lease.record
        since = record.requested_at or record.begun_at
        find = self._ports.issuer.find_unrecorded
        known = record.known_certificates
        until = since + LEASE
        try:
            found = self._persist("find", lambda: find(record.fingerprint, since=since, until=until, known=known))
        except SearchTooWideError:
            found = ()
        good = [certificate for certificate in found if certificate.not_after > self._clock.now()]
        if good:
            self._store(lease, with_answer(record, good[0]))
            return good[0]
        # The request stays suspect: the sweeper searches further, and what it finds is an orphan by then, and goes.
        self._store(lease, self._next(record))
        lease.unaccounted = False
        return None

    def _collect(self, lease: _Lease, reference: str) -> DeviceCertificate:
        """The certificate behind `reference`, which is recorded while the first look is taken."""
        look = partial(self._persist, "collect", lambda: self._ports.issuer.collect(reference))
        if lease.record.reference == reference:
            certificate = look()
        else:
            requested = lease.record.requested(reference)
            _, certificate = _results(self._side_by_side(lambda: self._store(lease, requested), look))
        tries = 0
        while certificate is None:
            delay = self._policy.poll.delay(tries, self._ports.chance)
            if self._clock.monotonic() + delay >= self._deadline:
                raise _OutOfTimeError(Reason.CERTIFICATE_PENDING)
            self._clock.sleep(delay)
            certificate = look()
            tries += 1
        return certificate

    def _install(self, lease: _Lease, certificate: DeviceCertificate) -> str:
        """Make the certificate known to IoT Core while it is recorded; its ARN.

        Recording it beside is safe: the reference is stored, and leads to this same certificate.
        """
        resumed = lease.record.state is IssuanceState.ISSUED
        install = partial(self._persist, "install", lambda: self._ports.issuer.install(certificate, resumed=resumed))
        if resumed:
            return install()
        issued = with_answer(lease.record, certificate)
        stored, installed = self._side_by_side(lambda: self._store(lease, issued), install)
        try:
            stored.result()
        except StaleLedgerError as stale:
            self._undo(certificate, issued, stale.current)
            raise
        certificate_arn: str = installed.result()
        return certificate_arn

    def _undo(self, certificate: DeviceCertificate, mine: Issuance, current: Issuance | None) -> None:
        """Take back what another worker, that went on with another generation, knows nothing of."""
        if current is not None:
            same = current.generation == mine.generation and current.state is not IssuanceState.ABANDONED
            if same or certificate.certificate_id in current.known_certificates:
                return
        with suppress(ThrottledError, UnreachableError, SecretFreeError, StillAttachedError):
            self._persist("retire", lambda: self._ports.things.retire(self._device, certificate.certificate_id))

    def _confirm(self, record: Issuance) -> bool:
        """Record that all is in place; whether it is recorded. Whether it is awaited: see the module's text."""
        active = record.active(clear_at=clear_at(record, self._clock.now()))
        write = partial(self._ports.ledger.write, active, certificate=CertificateRecordState.ACTIVE)
        try:
            self._persist("ledger", write, even_late=True)
        except (ThrottledError, UnreachableError, StaleLedgerError, SecretFreeError, _OutOfTimeError):
            return False
        return True

    # What stops it.

    def _give_up(self, lease: _Lease) -> None:
        """Leave the rest to the device's next request, or to the sweeper.

        A request without an answer that must not be repeated keeps the lease to its end: until then it may still
        have its effect, and would be missed by whoever looks for it.
        """
        record = lease.record
        if record.state is IssuanceState.REQUESTING:
            if lease.unaccounted and not self._ports.issuer.repeatable_for:
                return
            if not lease.unaccounted:
                record = record.never_asked()
        self._close(record.released(self._clock.now()))

    def _close(self, record: Issuance, *, certificate: CertificateRecordState | None = None) -> None:
        """Write the last record of this invocation; if that fails, the lease's end does the same."""
        with suppress(ThrottledError, UnreachableError, StaleLedgerError):
            self._ports.ledger.write(record, certificate=certificate)

    def _wait_for_holder(self, seen: Issuance) -> NotReady:
        """A worker is usually done in a second or two; one that has held on for long has perhaps died."""
        now = self._clock.now()
        held = LEASE - ((seen.due or now) - now)
        return self._not_ready(seen, Reason.LEASE_HELD, attempts=1 + int(held / timedelta(seconds=5)))

    def _not_ready(self, record: Issuance, reason: Reason, *, attempts: int | None = None) -> NotReady:
        return NotReady(
            retry_after=self._policy.retry_after.seconds(
                age=self._clock.now() - record.begun_at,
                attempts=record.attempts if attempts is None else attempts,
                pressure=self._ports.congestion.pressure(self._clock.monotonic()),
                chance=self._ports.chance,
            ),
            reason=reason,
        )

    # How calls are made.

    def _persist(self, name: str, call: Callable[[], T], *, repeatable: bool = True, even_late: bool = False) -> T:
        """`call`, tried again while throttled or unanswered (if `repeatable`), within the deadline.

        `name`: what it counts as where throttling is observed, each with a quota of its own.

        Ends in ThrottledError or SecretFreeError only if no try can have had an effect. `even_late`: one try is made in
        any case.
        """
        unanswered: UnreachableError | None = None
        tries = 0
        while True:
            if self._clock.monotonic() >= self._deadline and not (even_late and tries == 0):
                raise unanswered or _OutOfTimeError(Reason.DEADLINE)
            try:
                result = call()
            except ThrottledError as throttled:
                self._observe(name, throttled=True)
                failure: Exception = unanswered or throttled
            except UnreachableError as error:
                if not repeatable:
                    raise
                failure = unanswered = error
            except SecretFreeError as refused:
                if unanswered is None:
                    raise
                raise unanswered from refused  # that try may have had its effect, whatever this one was told
            else:
                self._observe(name, throttled=False)
                return result
            delay = self._policy.retry.delay(tries, self._ports.chance)
            tries += 1
            pressure = self._ports.congestion.pressure(self._clock.monotonic(), call=name)
            if tries >= self._policy.retry.limit(pressure) or self._clock.monotonic() + delay >= self._deadline:
                raise failure
            self._clock.sleep(delay)

    def _through_ledger(self, call: Callable[[], T], *, even_late: bool = False) -> T:
        """`call`, or SecretFreeError (`unavailable`) when the ledger does not answer: nothing is done unrecorded."""
        try:
            return self._persist("ledger", call, even_late=even_late)
        except (ThrottledError, UnreachableError, _OutOfTimeError) as error:
            raise SecretFreeError(
                ErrorCode.UNAVAILABLE,
                f"the ledger does not answer: {error}",
                reason=Reason.LEDGER_UNAVAILABLE,
                retry_after=self._policy.retry_after.seconds(
                    age=timedelta(),
                    attempts=self._policy.retry_after.early_doublings + 1,
                    pressure=1.0,
                    chance=self._ports.chance,
                ),
            ) from error

    def _write(self, record: Issuance, *, certificate: CertificateRecordState | None = None) -> Issuance:
        return self._through_ledger(lambda: self._ports.ledger.write(record, certificate=certificate))

    def _store(self, lease: _Lease, record: Issuance) -> None:
        """Record what was done; also when the time is up, for it is done."""
        lease.record = self._through_ledger(lambda: self._ports.ledger.write(record), even_late=True)

    def _side_by_side(self, *calls: Callable[[], Any]) -> list[Future[Any]]:
        """All `calls` at once, the last one in this thread; returns when every one has ended, well or not."""
        *beside, here = calls
        futures = [self._ports.executor.submit(call) for call in beside]
        own: Future[Any] = Future()
        try:
            own.set_result(here())
        except Exception as error:  # noqa: BLE001  re-raised by whoever asks for the result
            own.set_exception(error)
        wait(futures)
        return [*futures, own]

    def _observe(self, name: str, *, throttled: bool) -> None:
        self._ports.congestion.observe(throttled=throttled, now=self._clock.monotonic(), call=name)


def _results(ended: list[Future[Any]]) -> list[Any]:
    return [future.result() for future in ended]


def _recorded_answer(record: Issuance) -> str | DeviceCertificate:
    if record.state is IssuanceState.REQUESTED and record.reference is not None:
        return record.reference
    if record.certificate_id is None or record.certificate_pem is None or record.not_after is None:
        raise SecretFreeError(
            ErrorCode.INTERNAL, f"the ledger's record is incomplete for {record.state.value}", reason=Reason.UNEXPECTED
        )
    return DeviceCertificate(
        certificate_id=record.certificate_id,
        certificate_pem=record.certificate_pem,
        chain_pem=record.chain_pem,
        not_after=record.not_after,
        certificate_arn=record.certificate_arn,
    )
