"""How the Lambda functions run: all of a product line, and one kind of function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from secretfree.contract import LogLevel

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.bundling.bundle import Bundle
from cdk_iot_secretfree.validation import refuse, require_match, require_range, require_seconds


class FunctionKind(StrEnum):
    """A kind of Lambda function, as a key of `FunctionOptions.overrides`."""

    AUTHORIZER = "authorizer"
    """Decides which devices may have a certificate."""

    CSR_FRONT = "csr-front"
    """Accepts requests with the CSR as the body (`ApiOptions.csr_in_body`)."""

    EST = "est"
    """Answers EST (`ApiOptions.est`)."""

    FLEET_PROVIDER = "fleet-provider"
    """Signs in AWS IoT Core's fleet provisioning (`FleetProvisioning`)."""

    FLEET_HOOK = "fleet-hook"
    """Allows in AWS IoT Core's fleet provisioning (`FleetProvisioning`)."""

    ISSUER = "issuer"
    """Issues, and answers the devices."""

    SWEEPER = "sweeper"
    """Finishes or rolls back abandoned issuances. It runs on a schedule."""

    REVOKER = "revoker"
    """Revokes the certificates of blocked devices."""

    RETIRER = "retirer"
    """Retires the old certificates of devices that connect with a new one."""

    FOLLOWER = "follower"
    """Registers the certificates of other Regions, in a product line of several."""

    MANIFEST_IMPORT = "manifest-import"
    """Enrols the rows of manifests."""

    AUDIT_TRAIL = "audit-trail"
    """Turns changes of the tables into events of the audit trail."""

    ACCOUNT = "account"
    """Runs at deploy time, once for each stack: looks up the IoT endpoint and registers CAs."""


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class FunctionNetwork:
    """The VPC in which functions run. They get the rights to make their network interfaces.

    The functions call AWS's APIs. Their subnets need a NAT gateway, or the VPC endpoints that the guide "Run it in your
    VPC" lists.

    Args:
        vpc: the VPC.
        subnets: by default the private subnets with a route out.
        security_groups: at most five; by default each function gets one that allows all outbound connections.
    """

    vpc: ec2.IVpc
    subnets: ec2.SubnetSelection | None = None
    security_groups: Sequence[ec2.ISecurityGroup] = ()

    def __post_init__(self) -> None:
        """Refuse what Lambda would refuse at deploy time."""
        if len(self.security_groups) > _MOST_SECURITY_GROUPS:
            refuse("security_groups", f"{len(self.security_groups)} groups", f"at most {_MOST_SECURITY_GROUPS}")
        # A tuple, so that equal options are equal.
        object.__setattr__(self, "security_groups", tuple(self.security_groups))


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class FunctionOverrides:
    """Overrides for one kind of function. None: the value of `FunctionOptions`.

    Args:
        memory_size: MiB; Lambda gives CPU in proportion.
        reserved_concurrency: of each function of the kind.
        network: the VPC of this kind alone.
        tracing: AWS X-Ray for this kind alone.
        log_group: an existing log group. Its retention, key and removal are yours to set.
        log_level: of the structured log.
        dead_letter_queue: for `FunctionKind.SWEEPER` and `FunctionKind.ACCOUNT` alone.
    """

    memory_size: int | None = None
    reserved_concurrency: int | None = None
    network: FunctionNetwork | None = None
    tracing: bool | None = None
    log_group: logs.ILogGroup | None = None
    log_level: str | None = None
    dead_letter_queue: sqs.IQueue | None = None

    def __post_init__(self) -> None:
        """Refuse what Lambda would refuse at deploy time."""
        if self.memory_size is not None:
            _require_memory(self.memory_size)
        _require_concurrency("reserved_concurrency", self.reserved_concurrency)
        if self.log_level is not None:
            _require_log_level(self.log_level)


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class FunctionOptions:
    """How the Lambdas run.

    Args:
        bundle: Python, architecture and target of the code.
        memory_size: of the authorizer and the issuers, MiB. Lambda gives CPU in proportion, which cold starts need.
        authorizer_concurrency: reserved concurrency of the authorizer; None takes from the account's pool.
        issuer_concurrency: reserved concurrency of each issuer; None takes from the account's pool.
        network: the VPC of every function; by default none.
        tracing: AWS X-Ray traces every function. The roles get the rights for it. X-Ray charges for each trace.
        log_retention: of every log group that is made here, the API's access log included.
        log_encryption_key: encrypts every log group that is made here. The key's policy lets CloudWatch Logs use it; an
            imported key needs that statement from you.
        log_level: of the runtime's structured log.
        snap_start: the authorizer and the issuers start from a snapshot (Lambda SnapStart). The API then calls an alias
            of a published version. Lambda charges for the snapshots and for each restore.
        dead_letter_queue: receives the events of failed asynchronous invocations: the sweeper's schedule, and
            CloudFormation's requests at deploy time. Other functions have a caller that waits and sees the failure.
        sweep_interval: how often unfinished issuances are finished or rolled back, one minute to one day.
        overrides: for one kind of function.
    """

    bundle: Bundle = field(default_factory=Bundle)
    memory_size: int = 1024
    authorizer_concurrency: int | None = None
    issuer_concurrency: int | None = None
    network: FunctionNetwork | None = None
    tracing: bool = False
    log_retention: logs.RetentionDays = logs.RetentionDays.ONE_YEAR
    log_encryption_key: kms.IKey | None = None
    log_level: str = "INFO"
    snap_start: bool = False
    dead_letter_queue: sqs.IQueue | None = None
    sweep_interval: Duration = field(default_factory=lambda: Duration.minutes(5))
    overrides: Mapping[FunctionKind, FunctionOverrides] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what Lambda would refuse at deploy time."""
        _require_memory(self.memory_size)
        _require_concurrency("authorizer_concurrency", self.authorizer_concurrency)
        _require_concurrency("issuer_concurrency", self.issuer_concurrency)
        _require_log_level(self.log_level)
        accepted = "whole minutes, from 1 minute to 1 day"
        require_seconds("sweep_interval", self.sweep_interval, 60, 86_400, accepted, step=60)
        for kind, own in self.overrides.items():
            if own.dead_letter_queue is not None and kind not in ASYNCHRONOUS:
                accepted = " and ".join(f"FunctionKind.{one.name}" for one in sorted(ASYNCHRONOUS))
                refuse("dead_letter_queue", f"one for FunctionKind.{kind.name}", f"{accepted} alone: others are called")

    def of(self, kind: FunctionKind) -> "FunctionSettings":
        """How the functions of one kind run."""
        own = self.overrides.get(kind, FunctionOverrides())
        is_asynchronous = kind in ASYNCHRONOUS
        return FunctionSettings(
            bundle=self.bundle,
            memory_size=own.memory_size or _OWN_MEMORY.get(kind, self.memory_size),
            reserved_concurrency=own.reserved_concurrency or self._concurrency(kind),
            network=own.network or self.network,
            tracing=self.tracing if own.tracing is None else own.tracing,
            log_group=own.log_group,
            log_retention=self.log_retention,
            log_encryption_key=self.log_encryption_key,
            log_level=own.log_level or self.log_level,
            snap_start=self.snap_start and kind in _DEVICES_WAIT_FOR,
            dead_letter_queue=(own.dead_letter_queue or self.dead_letter_queue) if is_asynchronous else None,
        )

    def _concurrency(self, kind: FunctionKind) -> int | None:
        known = {FunctionKind.AUTHORIZER: self.authorizer_concurrency, FunctionKind.ISSUER: self.issuer_concurrency}
        return known.get(kind)


@dataclass(frozen=True, kw_only=True)
class FunctionSettings:
    """How the functions of one kind run, overrides included. Equal settings compare as equal."""

    bundle: Bundle
    memory_size: int
    reserved_concurrency: int | None
    network: FunctionNetwork | None
    tracing: bool
    log_group: logs.ILogGroup | None
    log_retention: logs.RetentionDays
    log_encryption_key: kms.IKey | None
    log_level: str
    snap_start: bool
    dead_letter_queue: sqs.IQueue | None


def _require_memory(value: int) -> None:
    require_range("memory_size", value, 256, 10_240, "MiB")


def _require_concurrency(argument: str, value: int | None) -> None:
    if value is not None:
        require_range(argument, value, 1, 100_000)


def _require_log_level(value: str) -> None:
    require_match("log_level", value, "|".join(_LOG_LEVELS), ", ".join(_LOG_LEVELS))


ASYNCHRONOUS: Final = frozenset({FunctionKind.SWEEPER, FunctionKind.ACCOUNT})
"""The kinds that Lambda invokes asynchronously. Only their dead-letter queues receive events."""

_DEVICES_WAIT_FOR: Final = frozenset(
    {FunctionKind.AUTHORIZER, FunctionKind.CSR_FRONT, FunctionKind.EST, FunctionKind.ISSUER}
)
_OWN_MEMORY: Final = {FunctionKind.ACCOUNT: 512}
_MOST_SECURITY_GROUPS: Final = 5
_LOG_LEVELS: Final = tuple(level.name for level in LogLevel)
