"""The evidence about a device and the cloud: plain values, so that rules need no AWS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from secretfree.issuance.record import Issuance
from secretfree.registry.entry import RegistryEntry

from secretfree_cli.logs.events import LogEvent


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """The device's record in the registry."""

    entry: RegistryEntry
    enrolled_at: datetime | None = None
    blocked_at: datetime | None = None
    blocked_reason: str | None = None
    not_before: datetime | None = None
    batch: str | None = None


class CertificateStatus(StrEnum):
    """A certificate's state at IoT Core."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    REVOKED = "REVOKED"
    OTHER = "OTHER"
    ABSENT = "ABSENT"
    """IoT Core has no such certificate."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate of the ledger in its present state at IoT Core. None: could not be read."""

    certificate_id: str
    issuer: str
    status: CertificateStatus
    changed_at: datetime | None = None
    not_after: datetime | None = None
    policies: Sequence[str] | None = None
    things: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Thing:
    """The device's thing. `connected` is known if fleet indexing of connectivity is on."""

    exists: bool
    type_name: str | None = None
    connected: bool | None = None
    connectivity_changed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class DevicePolicyState:
    """The product line's IoT policy. `allows_connect`: whether its document lets this device connect."""

    name: str
    exists: bool
    allows_connect: bool
    changed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Authority:
    """The Private CA. `status` is AWS's value: ACTIVE, DISABLED, EXPIRED, DELETED, ..."""

    arn: str
    status: str
    not_after: datetime | None = None
    changed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class TableHealth:
    """A table of the product line. `throttled`: requests that DynamoDB throttled in the last hour."""

    name: str
    status: str
    throttled: int = 0
    throttled_since: datetime | None = None


class GivenUp(StrEnum):
    """The kind of messages in a queue of dead letters."""

    BLOCK = "blocks"
    """Changes of the registry whose certificates could not be revoked."""
    RETIREMENT = "retirements"
    """Connects whose older certificates could not be retired."""
    FOLLOWING = "other Regions"
    """Certificates of other Regions that could not be registered here."""


@dataclass(frozen=True, kw_only=True)
class DeadLetters:
    """A queue of dead letters. `devices`: the devices in the messages that were read."""

    kind: GivenUp
    url: str
    count: int
    devices: frozenset[str]


LOGS = "the logs"
"""`Gap.what` of the functions' logs."""

REFUSALS = frozenset({"denied", "refused"})
UNFINISHED = frozenset({"not ready", "failed"})
SUCCESSES = frozenset({"issued", "answered again"})
# The line of an allowed request does not have the request's outcome.
DECISIVE = REFUSALS | UNFINISHED | SUCCESSES


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A read that failed, and why; the diagnosis continues without it."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The evidence about one device, or about one request.

    `device_id` is None for a request without a device. `window`: how far back the logs were read. `validity`: of the
    certificates that the stack issues through Private CA. `unmatched_paths` counts requests in the window for paths
    that the API does not have.
    """

    now: datetime
    window: timedelta
    device_id: str | None
    request_id: str | None = None
    url: str | None = None
    enrolment: Enrolment | None = None
    registry_was_read: bool = True
    issuances: Sequence[Issuance] = ()
    certificates: Sequence[Certificate] = ()
    thing: Thing | None = None
    thing_types: frozenset[str] = frozenset()
    policy: DevicePolicyState | None = None
    authority: Authority | None = None
    validity: timedelta | None = None
    tables: Sequence[TableHealth] = ()
    dead_letters: Sequence[DeadLetters] = ()
    log: Sequence[LogEvent] = ()
    unmatched_paths: int = 0
    gaps: Sequence[Gap] = ()

    @property
    def logs_were_read(self) -> bool:
        """Whether the logs were read, so that a missing line is evidence."""
        return all(gap.what != LOGS for gap in self.gaps)

    @property
    def device(self) -> str:
        """The device, as part of a sentence."""
        return "The device" if self.device_id is None else f"Device {self.device_id}"

    @property
    def last_outcome(self) -> LogEvent | None:
        """The newest line with the outcome of a request: of the request in question, or of the device."""
        ended = [line for line in self.log if line.event in DECISIVE]
        if self.request_id is not None:
            ended = [line for line in ended if line.request_id == self.request_id]
        return max(ended, key=lambda line: line.at, default=None)

    @property
    def current(self) -> Issuance | None:
        """The issuance that changed last."""
        return max(self.issuances, key=lambda issuance: issuance.begun_at, default=None)

    def certificate_of(self, issuance: Issuance) -> Certificate | None:
        """The certificate of an issuance, if it was read from IoT Core."""
        return next((one for one in self.certificates if one.certificate_id == issuance.certificate_id), None)

    @property
    def waiting_issuers(self) -> frozenset[str]:
        """The issuers whose certificate the device waits for; empty if it has a valid one, or never sent a request."""
        if self.has_usable_certificate:
            return frozenset()
        waiting = {issuance.issuer for issuance in self.issuances if not issuance.is_settled}
        last = self.last_outcome
        if last is not None and last.event in UNFINISHED:
            waiting.add(last.fields.get("issuer", ""))
        return frozenset(waiting)

    @property
    def has_usable_certificate(self) -> bool:
        """Whether IoT Core has an active certificate that is valid now."""
        return any(
            one.status is CertificateStatus.ACTIVE and (one.not_after is None or one.not_after > self.now)
            for one in self.certificates
        )
