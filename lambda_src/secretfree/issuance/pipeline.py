"""The issuing pipeline: from an authorized device to an active certificate. Each step is recorded before the next.

The order, with the calls on the critical path for a new device (the authorizer's read is the first):

    2  ledger: lease | registry: enrolled   a conditional write that also answers who was here before; a read beside it
    3  request | thing | registry: enrolled the token is the generation's, so a repeated request changes nothing
    4  collect      | ledger: reference     Private CA only
    5  install      | ledger: certificate   the certificate's id is its digest, known before it is registered
    6  policy | thing | groups | activate   activation: the IoT Core CA only, and without its policy nothing may connect
    -  ledger: active                       begun before the answer; for the IoT Core CA, which has no step 4, awaited

With Private CA, the answer does not wait for the last write. If the write is lost, the record still says `issued`. The
next request or the sweeper then repeats step 6, which changes nothing, and writes the record again.

With the IoT Core CA, step 6 activates the certificate. An inactive certificate of an `issued` record was never active,
or an operator has deactivated it. A repeated step 6 must not activate a certificate that a device already has. So the
answer waits for the write, and the device gets 202 if the write fails. (Lambda may freeze a write that is not awaited.)

A block is possible at any moment. Step 3 reads the registry after the lease is written. A block after this read is
later than the lease, so `secretfree.revocation`, which runs after the block, finds and changes the record. Then no
write of this worker succeeds. If the worker has activated the certificate, it revokes it when its last write fails. If
the worker dies before that, the sweeper revokes the certificate after the lease has expired.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from secretfree.clock import Clock
from secretfree.errors import Reason, SecretFreeError
from secretfree.issuance.calls import CallRunner, OutOfTimeError, results
from secretfree.issuance.lease import Invocation, Lease, take_lease
from secretfree.issuance.model import (
    IssuanceAnswer,
    IssuancePolicy,
    IssuancePorts,
    IssuedCertificate,
    NotReady,
    clear_at,
    issued_certificate,
    recorded_answer,
    require_same_request,
    revoked_certificate,
    with_answer,
)
from secretfree.issuance.ports import (
    CertificateOrder,
    CertificateRecordState,
    CertificateRevokedError,
    DeviceCertificate,
    RequestFailedError,
    StaleLedgerError,
    ThrottledError,
    UnreachableError,
)
from secretfree.issuance.record import Issuance
from secretfree.issuance.signing_time import AT_ONCE
from secretfree.issuance.states import IssuanceState
from secretfree.issuance.tickets import Ticket
from secretfree.registry.authorization import AuthorizedDevice, confirm
from secretfree.request.csr import VerifiedCsr

T = TypeVar("T")


def issue(
    authorized: AuthorizedDevice,
    csr: VerifiedCsr,
    *,
    ports: IssuancePorts,
    policy: IssuancePolicy,
    clock: Clock,
    deadline: float,
) -> IssuanceAnswer:
    """Issue, resume or repeat the certificate of `authorized`, whose proof of possession is `csr`.

    `deadline` is a time of `clock.monotonic()` after which no further call begins. Raises SecretFreeError: `conflict`
    when another thing has the name, `too-many-requests`, `not-authorized` for a key other than the bound one and for a
    revoked certificate, `unavailable` when the ledger cannot be reached.
    """
    work = _invocation(authorized, csr, ports=ports, policy=policy, clock=clock, deadline=deadline)
    opened = take_lease(work)
    if not isinstance(opened, Lease):
        return opened
    return work.or_in_use(lambda: opened.record, _Steps(work, opened, csr).finish)


def sign(
    authorized: AuthorizedDevice,
    csr: VerifiedCsr,
    *,
    ports: IssuancePorts,
    policy: IssuancePolicy,
    clock: Clock,
    deadline: float,
) -> IssuanceAnswer:
    """Issue and record a new certificate without registering it: AWS IoT Core registers its provider's certificates.

    Steps 2 to 4 of the pipeline. The record stays `issued`. The sweeper records it as active when the certificate is
    active at AWS IoT Core. For arguments and errors, see `issue`.
    """
    work = _invocation(authorized, csr, ports=ports, policy=policy, clock=clock, deadline=deadline)
    work = replace(work, always_anew=True)
    opened = take_lease(work)
    return _Steps(work, opened, csr).sign() if isinstance(opened, Lease) else opened


def _invocation(
    authorized: AuthorizedDevice,
    csr: VerifiedCsr,
    *,
    ports: IssuancePorts,
    policy: IssuancePolicy,
    clock: Clock,
    deadline: float,
) -> Invocation:
    require_same_request(authorized, csr)
    calls = CallRunner(
        clock=clock,
        deadline=deadline,
        executor=ports.executor,
        congestion=ports.congestion,
        chance=ports.chance,
        retry=policy.retry,
        retry_after=policy.retry_after,
    )
    return Invocation(
        device_id=authorized.device_id,
        fingerprint=authorized.fingerprint,
        ports=ports,
        policy=policy,
        clock=clock,
        calls=calls,
        confirm=partial(
            confirm,
            authorized,
            csr,
            match=policy.match,
            registry=ports.registry,
            clock=clock,
            subject_is_copied=ports.issuer.copies_subject,
        ),
    )


class _Steps:
    """The remaining work of one issuance, under its lease."""

    def __init__(self, work: Invocation, lease: Lease, csr: VerifiedCsr) -> None:
        self._work = work
        self._device_id = work.device_id
        self._ports = work.ports
        self._policy = work.policy
        self._clock = work.clock
        self._calls = work.calls
        self._lease = lease
        self._csr = csr

    def finish(self) -> IssuanceAnswer:
        """Do the remaining work. If it stops, the record has the last finished step."""
        return self._recording(self._proceed)

    def sign(self) -> IssuanceAnswer:
        """Do the work of `finish` up to the recorded certificate."""
        return self._recording(self._sign)

    def _recording(self, proceed: Callable[[], IssuedCertificate]) -> IssuanceAnswer:
        try:
            return proceed()
        except StaleLedgerError as stale:
            self._lease.record = stale.current or self._lease.record.without_certificate_in_use()
            return self._work.not_ready(self._lease.record, Reason.LEASE_HELD)
        except ThrottledError as throttled:
            return self._wait_for_turn(str(throttled))
        except UnreachableError as unanswered:
            self._give_up(Reason.UPSTREAM_UNAVAILABLE)
            return self._work.not_ready(self._lease.record, Reason.UPSTREAM_UNAVAILABLE, detail=str(unanswered))
        except OutOfTimeError as out_of_time:
            self._give_up(out_of_time.reason)
            return self._work.not_ready(self._lease.record, out_of_time.reason)
        except RequestFailedError:
            self._close(self._lease.record.abandoned(self._clock.now()).unfinished(Reason.UPSTREAM_REFUSED))
            return self._work.not_ready(self._lease.record, Reason.UPSTREAM_REFUSED)
        except CertificateRevokedError:
            self._close(self._lease.record.revoked(self._clock.now()), certificate=CertificateRecordState.REVOKED)
            raise revoked_certificate() from None
        except Exception as error:
            self._give_up(error.reason if isinstance(error, SecretFreeError) else Reason.UNEXPECTED)
            raise

    def _sign(self) -> IssuedCertificate:
        certificate = self._certificate()
        self._store(with_answer(self._lease.record, certificate).released(self._clock.now()))
        self._ports.turns.served()
        return issued_certificate(self._lease.record, renewal_window=self._policy.renewal_window)

    def _certificate(self) -> DeviceCertificate:
        with self._ports.stage("request"):
            if self._lease.record.state is IssuanceState.REQUESTING:
                answer = self._request()
            else:
                results(self._calls.side_by_side(self._require_enrolled, self._ensure_thing))
                answer = recorded_answer(self._lease.record)
        if isinstance(answer, str):
            with self._ports.stage("collect"):
                certificate = self._collect(answer)
        else:
            certificate = answer
        if certificate.not_after <= self._clock.now():  # Resumed after the certificate's end.
            raise RequestFailedError(certificate.certificate_id)
        return certificate

    def _proceed(self) -> IssuedCertificate:
        certificate = self._certificate()
        with self._ports.stage("install"):
            certificate_arn = self._install(certificate)
            self._lease.record = self._lease.record.registered(certificate_arn)
        with self._ports.stage("attach"):
            self._attach_and_activate(self._lease.record, certificate.certificate_id)
        self._ports.turns.served()
        if self._ports.issuer.installs_active:
            self._ports.executor.submit(self._confirm, self._lease.record)
        elif not self._confirm(self._lease.record):
            raise OutOfTimeError(Reason.LEDGER_UNAVAILABLE)
        return issued_certificate(self._lease.record, renewal_window=self._policy.renewal_window)

    def _ensure_thing(self) -> None:
        if not self._lease.record.thing_ensured:
            self._calls.persist("thing", lambda: self._ports.things.ensure_thing(self._device_id))
            self._lease.record = self._lease.record.with_thing()

    def _attach_and_activate(self, record: Issuance, certificate_id: str) -> None:
        attachments = self._ports.things.attachments(self._device_id, record.certificate_arn or "")
        calls = [partial(self._calls.persist, f"attachment {number}", call) for number, call in enumerate(attachments)]
        if not self._ports.issuer.installs_active:
            calls.append(partial(self._calls.persist, "activate", lambda: self._ports.issuer.activate(certificate_id)))
        results(self._calls.side_by_side(*calls))

    def _request(self) -> str | DeviceCertificate:
        """Request a certificate, create the thing, read the registry; return the reference or the certificate."""
        # The thing comes last, because this thread stores the result in the lease's record.
        requested, enrolled, thing = self._calls.side_by_side(self._order, self._require_enrolled, self._ensure_thing)
        answer: str | DeviceCertificate = requested.result()
        if enrolled.exception() is not None or thing.exception() is not None:  # The answer is recorded nevertheless.
            self._store(with_answer(self._lease.record, answer))
        enrolled.result()
        thing.result()
        return answer

    def _require_enrolled(self) -> None:
        """Read the registry once more, after the lease is written: see the module's docstring."""
        self._calls.through_registry(self._work.confirm)

    def _order(self) -> str | DeviceCertificate:
        issuer = self._ports.issuer
        order = CertificateOrder(
            device_id=self._device_id, csr=self._csr, token=self._lease.record.token(self._policy.deployment)
        )
        try:
            answer = self._calls.persist(
                "request", lambda: issuer.request(order), repeatable=bool(issuer.repeatable_for)
            )
        except (ThrottledError, SecretFreeError):  # Refused at each try, so without effect.
            raise
        except BaseException:
            self._lease.unaccounted = True
            raise
        self._lease.unaccounted = True  # Until the answer is recorded, which may fail.
        return answer

    def _collect(self, reference: str) -> DeviceCertificate:
        """The certificate behind `reference`. The reference is recorded while the first poll waits."""
        look = partial(self._calls.persist, "collect", lambda: self._ports.issuer.collect(reference))
        began = self._clock.monotonic()
        is_new = self._lease.record.reference != reference
        expected = self._ports.signing_time.expected(began) if is_new else AT_ONCE
        if not self._calls.has_time_for(expected.first_look):
            expected = AT_ONCE
        looked_at = began + expected.first_look
        if is_new:
            requested = self._lease.record.requested(reference)
            first_look = partial(self._after, expected.first_look, look)
            _, certificate = results(self._calls.side_by_side(lambda: self._store(requested), first_look))
        else:
            certificate = look()
        missed_at: float | None = None
        tries = 0
        while certificate is None:
            missed_at = looked_at
            waited = self._clock.monotonic() - began
            delay = self._policy.poll.delay(tries, waited=waited, spread=expected.spread, chance=self._ports.chance)
            if not self._calls.has_time_for(delay):
                raise OutOfTimeError(Reason.CERTIFICATE_PENDING)
            looked_at = self._clock.monotonic() + delay
            certificate = self._after(delay, look)
            tries += 1
        if is_new:  # For an earlier request, the CA's signing time is unknown.
            self._ports.signing_time.learn(
                missed_at=None if missed_at is None else missed_at - began,
                found_at=looked_at - began,
                now=self._clock.monotonic(),
            )
        found: DeviceCertificate = certificate
        return found

    def _after(self, seconds: float, call: Callable[[], T]) -> T:
        if seconds:
            self._clock.sleep(seconds)
        return call()

    def _install(self, certificate: DeviceCertificate) -> str:
        """Register the certificate with IoT Core and record it in parallel; return its ARN.

        The parallel write is safe, because the stored reference leads to the same certificate.
        """
        resumed = self._lease.record.state is IssuanceState.ISSUED
        install = partial(
            self._calls.persist, "install", lambda: self._ports.issuer.install(certificate, resumed=resumed)
        )
        if resumed:
            return install()
        issued = with_answer(self._lease.record, certificate)
        stored, installed = self._calls.side_by_side(lambda: self._store(issued), install)
        try:
            stored.result()
        except StaleLedgerError as stale:
            self._undo(certificate, issued, stale.current)
            raise
        certificate_arn: str = installed.result()
        return certificate_arn

    def _undo(self, certificate: DeviceCertificate, mine: Issuance, current: Issuance | None) -> None:
        """Revoke this worker's certificate after another worker began a new generation without it.

        The sweeper deletes the certificate: the record lists this generation's reference or request as a suspect. A
        certificate that was not installed as active needs no revocation.
        """
        if current is not None:
            same = current.generation == mine.generation and current.state is not IssuanceState.ABANDONED
            if same or certificate.certificate_id in current.known_certificates:
                return
        if self._ports.issuer.installs_active:
            self._revoke(certificate.certificate_id)

    def _confirm(self, record: Issuance) -> bool:
        """Record the certificate as active; return whether that succeeded. See the module on when it is awaited."""
        active = record.active(clear_at=clear_at(record, self._clock.now()))
        write = partial(self._ports.ledger.write, active, certificate=CertificateRecordState.ACTIVE)
        try:
            self._calls.persist("ledger", write, even_late=True)
        except StaleLedgerError as stale:
            if stale.current is not None and stale.current.withdrawn:
                self._revoke(record.certificate_id or "")
            return False
        except (ThrottledError, UnreachableError, SecretFreeError, OutOfTimeError):
            return False
        return True

    def _revoke(self, certificate_id: str) -> None:
        """Revoke a certificate of this worker. If that fails, the sweeper does so when it deletes it."""
        with suppress(ThrottledError, UnreachableError, SecretFreeError, OutOfTimeError):
            self._calls.persist("revoke", lambda: self._ports.things.revoke(certificate_id), even_late=True)

    def _give_up(self, reason: Reason, ticket: Ticket | None = None) -> None:
        """Stop, and record why. The device's next request or the sweeper continues.

        If a request without an answer must not be repeated, the lease is kept to its end, so that a device in a loop
        does not cause one lost certificate per request. The next request begins a new generation.
        """
        record = self._lease.record.unfinished(reason)
        if record.state is IssuanceState.REQUESTING:
            if self._lease.unaccounted and not self._ports.issuer.repeatable_for:
                self._close(record if ticket is None else record.waiting(ticket))
                return
            if not self._lease.unaccounted:
                record = record.never_requested()
        record = record.released(self._clock.now())
        self._close(record if ticket is None else record.waiting(ticket))

    def _wait_for_turn(self, detail: str) -> NotReady:
        """Above the quotas, give a number to a device without one. A device whose turn it was retries soon."""
        before = self._lease.record.ticket
        ticket = self._ports.turns.throttled(before)
        if ticket is None or before is not None:
            soon = self._work.not_ready(self._lease.record, Reason.THROTTLED, detail=detail)
            self._give_up(Reason.THROTTLED, ticket and ticket.postponed(self._clock.now(), soon.retry_after))
            return soon
        self._give_up(Reason.THROTTLED, ticket)
        return replace(self._work.waiting(ticket), reason=Reason.THROTTLED, detail=detail)

    def _close(self, record: Issuance, *, certificate: CertificateRecordState | None = None) -> None:
        """Write the last record of this invocation. If the write fails, the lease's expiry has the same effect."""
        with suppress(ThrottledError, UnreachableError, StaleLedgerError):
            self._ports.ledger.write(record, certificate=certificate)

    def _store(self, record: Issuance) -> None:
        """Record the work done so far, even after the deadline."""
        self._lease.record = self._calls.through_ledger(lambda: self._ports.ledger.write(record), even_late=True)
