"""A finding of a rule: cause, stage, begin, action, and the responsible role."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from secretfree.errors import Reason


class Stage(StrEnum):
    """The stages from enrolment to a device's first connection, in order."""

    REQUEST = "request"
    AUTHORIZATION = "authorization"
    QUEUE = "queue"
    ISSUANCE = "issuance"
    REGISTRATION = "registration"
    CONNECTION = "connection"

    @property
    def label(self) -> str:
        """The stage and its position, for output."""
        stages = list(Stage)
        return f"{self.value} ({stages.index(self) + 1} of {len(stages)})"


class Concern(StrEnum):
    """Who can remove the cause."""

    FIRMWARE = "the firmware's developers"
    FACTORY = "the factory, or the operator who enrols devices"
    OPERATOR = "the operator of the provisioning service"
    ACCOUNT = "the administrator of the AWS account"
    SECURITY = "the security team"
    NOBODY = "nobody"


class Cause(StrEnum):
    """Causes from the state of the cloud. A cause from a log line is a `Reason`."""

    NOT_ENROLLED = "unknown-device"
    BLOCKED = "blocked-device"
    UNREADABLE_RECORD = "registry-record"
    NOT_YET_ALLOWED = "not-yet-allowed"
    CERTIFICATE_REVOKED = "certificate-revoked"
    CERTIFICATE_DEACTIVATED = "certificate-deactivated"
    CERTIFICATE_DELETED = "certificate-deleted"
    CERTIFICATE_EXPIRED = "certificate-expired"
    POLICY_DETACHED = "policy-detached"
    POLICY_WRONG = "policy-wrong"
    THING_DETACHED = "thing-detached"
    THING_MISSING = "thing-missing"
    THING_OF_OTHER_TYPE = "conflicting-thing"
    CA_NOT_ACTIVE = "ca-not-active"
    CA_TOO_OLD = "ca-too-old"
    TABLE_NOT_ACTIVE = "table-not-active"
    TABLE_THROTTLED = "table-throttled"
    QUOTA_USED_UP = "quota-used-up"
    BLOCK_NOT_THROUGH = "block-not-through"
    DEAD_LETTERS = "in-the-dead-letters"
    WAITING_FOR_TURN = "waiting-for-turn"
    STALE_LEASE = "stale-lease"
    STUCK = "stuck-at-202"
    IN_PROGRESS = "in-progress"
    ROLLED_BACK = "rolled-back"
    API_REFUSED = "api-refused"
    WRONG_PATH = "wrong-endpoint-or-stage"
    NEVER_ASKED = "never-asked"
    PROVISIONED = "provisioned"


class Rank(IntEnum):
    """The order of findings: a cause that hides others is first."""

    WITHDRAWAL = 0
    """A device that can connect although it must not."""
    REGISTRY = 1
    CERTIFICATE = 2
    REFUSAL = 3
    CLOUD = 4
    FAILURE = 5
    QUEUE = 6
    WAITING = 7
    ABSENT = 8
    REMARK = 9
    """A cause that does not stop this device."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One cause. `summary` is a plain sentence; `action` removes the cause. `since`: None if unknown."""

    cause: Cause | Reason
    stage: Stage
    rank: Rank
    summary: str
    action: str
    concern: Concern
    since: datetime | None = None

    @property
    def stops_the_device(self) -> bool:
        """Whether it prevents the device's certificate or connection."""
        return self.rank is not Rank.REMARK and self.cause is not Cause.PROVISIONED
