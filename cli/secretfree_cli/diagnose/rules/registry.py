"""Rules on whether the registry allows the device a certificate."""

from __future__ import annotations

from collections.abc import Iterator

from secretfree.errors import Reason
from secretfree.registry.entry import DeviceStatus

from secretfree_cli.diagnose.evidence import REFUSALS, Enrolment, Evidence
from secretfree_cli.diagnose.finding import Cause, Concern, Finding, Rank, Stage
from secretfree_cli.diagnose.rules import rule


@rule
def not_enrolled(evidence: Evidence) -> Iterator[Finding]:
    """The registry has no such device."""
    if evidence.device_id is None or evidence.enrolment is not None or not evidence.registry_was_read:
        return
    last = evidence.last_outcome
    yield Finding(
        cause=Cause.NOT_ENROLLED,
        stage=Stage.AUTHORIZATION,
        rank=Rank.REGISTRY,
        summary=f"{evidence.device} is not enrolled.",
        action="Check the spelling of the id. If the device is genuine, enrol its public key: `secretfree enroll`.",
        concern=Concern.FACTORY,
        since=last.at if last is not None and last.reason is Reason.UNKNOWN_DEVICE else None,
    )


@rule
def not_allowed(evidence: Evidence) -> Iterator[Finding]:
    """The record refuses the device: blocked, unreadable, or not yet allowed."""
    enrolment = evidence.enrolment
    if enrolment is None:
        return
    yield from _blocked(evidence, enrolment)
    yield from _unreadable(evidence, enrolment)
    if enrolment.not_before is not None and enrolment.not_before > evidence.now:
        yield Finding(
            cause=Cause.NOT_YET_ALLOWED,
            stage=Stage.AUTHORIZATION,
            rank=Rank.REGISTRY,
            summary=f"{evidence.device} must not get a certificate before {enrolment.not_before:%Y-%m-%d %H:%M} UTC.",
            action="Wait, or enrol the device with an earlier date (`not-before`).",
            concern=Concern.FACTORY,
        )


@rule
def requested_too_early(evidence: Evidence) -> Iterator[Finding]:
    """The device was refused as unknown, and enrolled since."""
    last, enrolment = evidence.last_outcome, evidence.enrolment
    if last is None or enrolment is None or last.event not in REFUSALS or last.reason is not Reason.UNKNOWN_DEVICE:
        return
    if enrolment.enrolled_at is not None and enrolment.enrolled_at >= last.at:
        yield Finding(
            cause=Reason.UNKNOWN_DEVICE,
            stage=Stage.AUTHORIZATION,
            rank=Rank.REFUSAL,
            summary=(
                f"{evidence.device} was refused as unknown at {last.at:%H:%M:%S} UTC and was enrolled afterwards. "
                "It has sent no request since."
            ),
            action="Let the device post again, for example by a restart.",
            concern=Concern.FIRMWARE,
            since=last.at,
        )


def _blocked(evidence: Evidence, enrolment: Enrolment) -> Iterator[Finding]:
    if enrolment.entry.status is not DeviceStatus.BLOCKED:
        return
    reason = f": {enrolment.blocked_reason!r}" if enrolment.blocked_reason else ""
    yield Finding(
        cause=Cause.BLOCKED,
        stage=Stage.AUTHORIZATION,
        rank=Rank.REGISTRY,
        summary=f"{evidence.device} is blocked{reason}.",
        action="If the block is wrong: `secretfree unblock DEVICE`. If it is right, revoke its certificates too.",
        concern=Concern.OPERATOR,
        since=enrolment.blocked_at,
    )


def _unreadable(evidence: Evidence, enrolment: Enrolment) -> Iterator[Finding]:
    entry = enrolment.entry
    if entry.status is DeviceStatus.UNREADABLE:
        defect: str | None = "its status is neither 'allowed' nor 'blocked'"
    else:
        defect = entry.defect
    if defect is not None:
        yield Finding(
            cause=Cause.UNREADABLE_RECORD,
            stage=Stage.AUTHORIZATION,
            rank=Rank.REGISTRY,
            summary=f"The registry record of {evidence.device_id} cannot be used: {defect}.",
            action="Enrol the device again with its public key: `secretfree enroll ... --replace --reason TEXT`.",
            concern=Concern.FACTORY,
        )
