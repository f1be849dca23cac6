"""The rule: register in this Region the certificate that another Region issued last, and revoke the ones it revoked.

Conditions and transactions hold in one Region, so each Region has its own ledger. Each Region announces what it issued,
and only that Region writes its announcements. This Region merges them into its ledger. The steps for a certificate that
ranks above this ledger's current one, each safe to repeat:

    1  registry: permitted          this Region's replica decides
    2  ledger: issued               by version, under a lease: the certificate is known before it is registered
    3  registry: permitted          a block after this read finds the record of step 2, and revokes the certificate
    4  IoT Core: certificate, thing, policy, groups
    5  ledger: active               a device that requests here gets this certificate

A process that dies after step 2 leaves an `issued` record: the announcement is delivered again, and the sweeper
finishes a registered certificate as it does after an issuer.

If a device connected with a certificate in another Region, the older certificates of its record are retired here too
(`secretfree.retirement`).

The order of certificates (`Announcement.rank`) is the same in every Region, so the ledgers converge to one current
certificate. If a device sends requests to two Regions at once and they share a CA, both use the same idempotency token,
and the CA issues one certificate. With a CA in each Region there are two certificates, and the lower one is superseded
as at a renewal.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Final, TypeVar

from secretfree.clock import Clock
from secretfree.contract import MatchPolicy
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.following.announcement import Announcement, rank_of
from secretfree.following.ports import FollowingPorts
from secretfree.issuance.calls import CallRunner, OutOfTimeError, results
from secretfree.issuance.chains import Chain
from secretfree.issuance.model import IssuancePolicy, clear_at
from secretfree.issuance.ports import (
    CertificateRecordState,
    CertificateRevokedError,
    StaleLedgerError,
    ThrottledError,
    UnreachableError,
)
from secretfree.issuance.record import Issuance
from secretfree.issuance.states import IssuanceState
from secretfree.registry.entry import RegistryEntry
from secretfree.request.device_id import DeviceId
from secretfree.retirement.connected import Connected
from secretfree.retirement.retiring import retire_older
from secretfree.revocation.change import permits

# Registry and announcements are replicated independently. The follower retries for this long while this Region's
# registry does not permit the device yet.
REGISTRY_PATIENCE: Final = timedelta(minutes=10)

T = TypeVar("T")


class FollowOutcome(StrEnum):
    """The result of following for a device at one issuer."""

    REGISTERED = "registered"
    REVOKED = "revoked"
    RETIRED = "retired"
    NOTHING = "nothing"  # this Region already has this certificate, or a later one
    NOT_PERMITTED = "not-permitted"  # the registry has withdrawn it


@dataclass(frozen=True, kw_only=True)
class Followed:
    """The outcome. `announced_at`: the time of the announcement that was followed."""

    outcome: FollowOutcome
    certificate_id: str | None = None
    announced_at: datetime | None = None


def follow(
    device_id: DeviceId,
    *,
    region: str,
    ports: FollowingPorts,
    policy: IssuancePolicy,
    clock: Clock,
    deadline: float,
) -> Followed:
    """Follow the announcements of Regions other than `region` for a device at the issuer of `policy`.

    Raises SecretFreeError (`unavailable`), ThrottledError, UnreachableError and OutOfTimeError: try again later.
    """
    announced = [
        one for one in ports.announcements.of_device(device_id) if one.issuer == policy.issuer and one.region != region
    ]
    work = _Following(device_id, ports, policy, clock, deadline)
    revoked = {one.certificate_id: one for one in announced if one.state is CertificateRecordState.REVOKED}
    closed = [one for one in revoked.values() if work.close(one)]
    current = max(
        (one for one in announced if one.certificate_id not in revoked and policy.trusts(one.reference)),
        key=lambda one: one.rank,
        default=None,
    )
    done = Followed(outcome=FollowOutcome.NOTHING) if current is None else work.adopt(current)
    connected = [one for one in announced if one.connected and one.certificate_id not in revoked]
    retired = [one for one in connected if work.retire_older(one)]
    if done.outcome is not FollowOutcome.NOTHING:
        return done
    for outcome, of in ((FollowOutcome.REVOKED, closed), (FollowOutcome.RETIRED, retired)):
        if of:
            return Followed(outcome=outcome, certificate_id=of[-1].certificate_id, announced_at=of[-1].announced_at)
    return done


class _Following:
    def __init__(
        self, device_id: DeviceId, ports: FollowingPorts, policy: IssuancePolicy, clock: Clock, deadline: float
    ) -> None:
        self._device_id = device_id
        self._ports = ports
        self._issuing = ports.issuing
        self._policy = policy
        self._clock = clock
        self._calls = CallRunner(
            clock=clock,
            deadline=deadline,
            executor=ports.issuing.executor,
            congestion=ports.issuing.congestion,
            chance=ports.issuing.chance,
            retry=policy.retry,
            retry_after=policy.retry_after,
        )

    def close(self, revoked: Announcement) -> bool:
        """Revoke here a certificate that another Region revoked; whether the record did not say so yet.

        The record comes first, as in `secretfree.revocation`, so that a worker that is issuing can no longer write. If
        the record is already revoked, an earlier process may have died before it revoked the certificate.
        """
        seen = self._seen()
        if seen is None or revoked.certificate_id not in seen.known_certificates:
            return False
        is_current = seen.certificate_id == revoked.certificate_id
        is_news = not is_current or seen.state in {IssuanceState.ISSUED, IssuanceState.ACTIVE}
        if is_current and is_news:
            now = self._clock.now()
            closed = seen.withdrawn_at(now) if revoked.withdrawn else seen.revoked(now)
            self._write(closed, certificate=CertificateRecordState.REVOKED)
        if self._call("revoke", lambda: self._issuing.things.revoke(revoked.certificate_id)):
            self._call("connection", lambda: self._ports.connections.end(self._device_id))
        return is_news

    def retire_older(self, announced: Announcement) -> bool:
        """Retire certificates older than one that the device connected with elsewhere; whether any was retired.

        A certificate that another product line uses too stays as it is; the sweeper reports it.
        """
        connected = Connected(device_id=self._device_id, certificate_id=announced.certificate_id)
        try:
            return bool(retire_older(connected, ports=self._ports.retirement, clock=self._clock))
        except SecretFreeError as error:
            if error.code is ErrorCode.CONFLICT:
                return False
            raise

    def adopt(self, current: Announcement) -> Followed:
        """Make the certificate this Region's current one, unless this Region has it already, or a later one."""
        now = self._clock.now()
        seen = self._seen()
        if current.not_after <= now or not _is_behind(seen, current):
            return Followed(outcome=FollowOutcome.NOTHING)
        if not self._permits(current):
            return self._not_permitted(current)
        if self._policy.match is MatchPolicy.UDID and not self._call("bind", self._bind(current)):
            return Followed(outcome=FollowOutcome.NOT_PERMITTED, certificate_id=current.certificate_id)
        current = replace(current, chain=self._chain(current))
        held = self._write(self._known(seen, current, now))
        try:
            return self._register(held, current)
        except (ThrottledError, UnreachableError, SecretFreeError, OutOfTimeError):
            with suppress(ThrottledError, UnreachableError, StaleLedgerError):
                self._issuing.ledger.write(held.released(self._clock.now()))
            raise

    def _register(self, held: Issuance, current: Announcement) -> Followed:
        if not self._permits(current):
            self._write(held.withdrawn_at(self._clock.now()), certificate=CertificateRecordState.REVOKED)
            return self._not_permitted(current)
        try:
            arn = self._call(
                "install", lambda: self._ports.registration.install(current.certificate, current.reference)
            )
        except CertificateRevokedError:
            self._write(held.revoked(self._clock.now()), certificate=CertificateRecordState.REVOKED)
            return Followed(outcome=FollowOutcome.NOTHING, certificate_id=current.certificate_id)
        self._call("thing", lambda: self._issuing.things.ensure_thing(self._device_id))
        attachments = self._issuing.things.attachments(self._device_id, arn)
        results(
            self._calls.side_by_side(
                *(partial(self._calls.persist, f"attachment {number}", one) for number, one in enumerate(attachments))
            )
        )
        self._confirm(held.registered(arn).with_thing())
        return Followed(
            outcome=FollowOutcome.REGISTERED,
            certificate_id=current.certificate_id,
            announced_at=current.announced_at,
        )

    def _confirm(self, record: Issuance) -> None:
        active = record.active(clear_at=clear_at(record, self._clock.now()))
        try:
            self._call("ledger", lambda: self._issuing.ledger.write(active, certificate=CertificateRecordState.ACTIVE))
        except StaleLedgerError as stale:
            if stale.current is not None and stale.current.withdrawn:
                self._call("revoke", lambda: self._issuing.things.revoke(record.certificate_id or ""))
            raise _overtaken() from None

    def _known(self, seen: Issuance | None, current: Announcement, now: datetime) -> Issuance:
        """The record of the issued certificate before its registration, its lease held by this worker."""
        owner = self._issuing.owner()
        if seen is None:
            base = Issuance.first(self._device_id, self._policy.issuer, current.fingerprint, owner=owner, now=now)
        elif seen.certificate_id == current.certificate_id:
            base = seen.held(owner, now)
        else:
            base = seen.next_generation(current.fingerprint, owner, now)
        return replace(
            base,
            state=IssuanceState.ISSUED,
            generation=current.generation,
            begun_at=current.begun_at,
            reference=current.reference,
            certificate_id=current.certificate_id,
            certificate_pem=current.certificate_pem,
            chain=current.chain,
            not_after=current.not_after,
        )

    def _chain(self, current: Announcement) -> Chain | None:
        """The chain with its text. Announcement and chain are replicated independently, so the chain may be late."""
        chain = current.chain
        if chain is None or chain.pem is not None:
            return chain
        digest = chain.digest
        text = self._call("ledger", lambda: self._issuing.ledger.chain_text(digest))
        if text is None:
            text = self._call("announcements", lambda: self._ports.announcements.chain_text(digest))
        if text is None:
            raise SecretFreeError(
                ErrorCode.UNAVAILABLE, "this Region does not have the certificate's chain", reason=Reason.LEDGER_RECORD
            )
        return Chain.of(text)

    def _seen(self) -> Issuance | None:
        seen = self._call("ledger", lambda: self._ports.records.read(self._device_id, self._policy.issuer))
        if seen is not None and seen.is_leased(self._clock.now()):
            raise SecretFreeError(
                ErrorCode.UNAVAILABLE, "a worker of this Region is issuing to the device", reason=Reason.LEASE_HELD
            )
        return seen

    def _write(self, record: Issuance, *, certificate: CertificateRecordState | None = None) -> Issuance:
        try:
            return self._call("ledger", lambda: self._issuing.ledger.write(record, certificate=certificate))
        except StaleLedgerError:
            raise _overtaken() from None

    def _permits(self, current: Announcement) -> bool:
        entry: RegistryEntry | None = self._calls.through_registry(
            lambda: self._issuing.registry.by_device_id(self._device_id)
        )
        return permits(entry, current.fingerprint, self._policy.match)

    def _not_permitted(self, current: Announcement) -> Followed:
        """The outcome without the registry's permission. The replica may lag, so a recent announcement is retried."""
        if self._clock.now() < current.announced_at + REGISTRY_PATIENCE:
            raise SecretFreeError(
                ErrorCode.UNAVAILABLE,
                "the registry of this Region does not permit the certificate",
                reason=Reason.UNKNOWN_DEVICE,
            )
        return Followed(outcome=FollowOutcome.NOT_PERMITTED, certificate_id=current.certificate_id)

    def _bind(self, current: Announcement) -> Callable[[], bool]:
        return lambda: self._issuing.ledger.bind(self._device_id, current.fingerprint)

    def _call(self, name: str, call: Callable[[], T]) -> T:
        return self._calls.persist(name, call)


def _is_behind(seen: Issuance | None, current: Announcement) -> bool:
    """Whether `current` becomes the certificate of the record `seen`."""
    if seen is None:
        return True
    if seen.certificate_id == current.certificate_id:
        return seen.state is IssuanceState.ISSUED
    if current.certificate_id in seen.known_certificates or current.generation < seen.generation:
        return False
    if current.generation > seen.generation:
        return True
    if seen.state is IssuanceState.REVOKED:
        # After a withdrawal, only the registry decides whether another certificate follows. Otherwise an operator
        # revoked the certificate.
        return seen.withdrawn
    own = rank_of(seen)
    return own is None or current.rank > own


def _overtaken() -> SecretFreeError:
    return SecretFreeError(ErrorCode.UNAVAILABLE, "the ledger's record changed meanwhile", reason=Reason.LEASE_HELD)
