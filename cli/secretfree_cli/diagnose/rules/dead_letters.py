"""Rules on dead letters: messages about the device that failed at every try."""

from __future__ import annotations

from collections.abc import Iterator

from secretfree.registry.entry import DeviceStatus

from secretfree_cli.diagnose.evidence import CertificateStatus, Evidence, GivenUp
from secretfree_cli.diagnose.finding import Cause, Concern, Finding, Rank, Stage
from secretfree_cli.diagnose.rules import rule


@rule
def block_not_through(evidence: Evidence) -> Iterator[Finding]:
    """The registry withdrew the device, and its certificate is still active."""
    blocked = evidence.enrolment is not None and evidence.enrolment.entry.status is DeviceStatus.BLOCKED
    removed = evidence.enrolment is None and evidence.registry_was_read
    if not (blocked or removed) or all(one.status is not CertificateStatus.ACTIVE for one in evidence.certificates):
        return
    given_up = sum(one.count for one in evidence.dead_letters if one.kind is GivenUp.BLOCK)
    why = (
        f"the dead letters have {given_up} changes of the registry that were given up"
        if given_up
        else "the change was not processed yet, or no function reads this registry's stream"
    )
    yield Finding(
        cause=Cause.BLOCK_NOT_THROUGH,
        stage=Stage.CONNECTION,
        rank=Rank.WITHDRAWAL,
        summary=(
            f"{evidence.device} is {'blocked' if blocked else 'not enrolled'}, and a certificate of it is still "
            f"active: {why}."
        ),
        action=(
            "`secretfree block DEVICE --again --reason TEXT`, then run the diagnosis again."
            if blocked
            else "Revoke it: `aws iot update-certificate --certificate-id ID --new-status REVOKED`."
        ),
        concern=Concern.SECURITY,
        since=evidence.enrolment.blocked_at if evidence.enrolment is not None else None,
    )


@rule
def given_up(evidence: Evidence) -> Iterator[Finding]:
    """A queue of dead letters has a message about the device."""
    for letters in evidence.dead_letters:
        if evidence.device_id is None or evidence.device_id not in letters.devices:
            continue
        if letters.kind is GivenUp.FOLLOWING:
            summary = f"A certificate that another Region issued to {evidence.device_id} was given up in this Region."
            action = "Remove the cause (`secretfree logs DEVICE`), then send it back: see the runbook `replication`."
        else:
            summary = f"An old certificate of {evidence.device_id} could not be retired, after all tries."
            action = "Remove the cause (`secretfree logs DEVICE`), then send it back: see the runbook `retirement`."
        stops = letters.kind is GivenUp.FOLLOWING and not evidence.has_usable_certificate
        yield Finding(
            cause=Cause.DEAD_LETTERS,
            stage=Stage.REGISTRATION,
            rank=Rank.QUEUE if stops else Rank.REMARK,
            summary=f"{summary} It is in the dead letters.",
            action=action,
            concern=Concern.OPERATOR,
        )
