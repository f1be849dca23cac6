"""Does an unfinished issuance wait in the queue of tickets, hold a lease, or wait for the device?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from secretfree.issuance.record import Issuance
from secretfree.issuance.states import IssuanceState

from secretfree_cli.diagnose.evidence import Evidence
from secretfree_cli.diagnose.finding import Cause, Concern, Finding, Rank, Stage
from secretfree_cli.diagnose.rules import rule

_PATIENCE = timedelta(minutes=5)
_MANY_ATTEMPTS = 3
_STATES = {
    IssuanceState.REQUESTING: "the certificate authority's answer to the request is not recorded",
    IssuanceState.REQUESTED: "the certificate authority has not delivered the certificate",
    IssuanceState.ISSUED: "the certificate exists, and is not yet in place at IoT Core",
}


@rule
def turn(evidence: Evidence) -> Iterator[Finding]:
    """The device waits for its turn, because the fleet sends requests faster than the quotas allow."""
    if evidence.has_usable_certificate:
        return
    for issuance in evidence.issuances:
        ticket = issuance.ticket
        if ticket is not None and evidence.now < ticket.at:
            yield Finding(
                cause=Cause.WAITING_FOR_TURN,
                stage=Stage.QUEUE,
                rank=Rank.QUEUE,
                summary=(
                    f"{evidence.device_id} waits for its turn: it has number {ticket.number} at {issuance.issuer}, and "
                    f"its time is {ticket.at:%Y-%m-%d %H:%M:%S} UTC."
                ),
                action="Wait. To be faster, ask for a higher quota: `secretfree plan`.",
                concern=Concern.NOBODY,
                since=issuance.begun_at,
            )


@rule
def unfinished(evidence: Evidence) -> Iterator[Finding]:
    """The ledger has an issuance that is not finished."""
    if evidence.has_usable_certificate:
        return
    for issuance in evidence.issuances:
        if issuance.state is IssuanceState.ABANDONED:
            yield Finding(
                cause=Cause.ROLLED_BACK,
                stage=Stage.ISSUANCE,
                rank=Rank.WAITING,
                summary=f"The last issuance of {evidence.device_id} was rolled back: the device did not return.",
                action="Let the device post again. It must follow `Retry-After` until it gets 200.",
                concern=Concern.FIRMWARE,
                since=issuance.begun_at,
            )
        elif not issuance.is_settled:
            yield _unfinished(evidence, issuance)


def _unfinished(evidence: Evidence, issuance: Issuance) -> Finding:
    state = _STATES[issuance.state]
    if issuance.last_reason is not None:
        state += f" (last reason: {issuance.last_reason})"
    if issuance.is_leased(evidence.now):
        return Finding(
            cause=Cause.IN_PROGRESS,
            stage=Stage.ISSUANCE,
            rank=Rank.WAITING,
            summary=f"A worker is issuing the certificate of {evidence.device_id} now.",
            action="Wait a minute, then run the diagnosis again.",
            concern=Concern.NOBODY,
            since=issuance.begun_at,
        )
    if issuance.lease_owner is not None:
        return Finding(
            cause=Cause.STALE_LEASE,
            stage=Stage.ISSUANCE,
            rank=Rank.QUEUE,
            summary=f"The worker that issued for {evidence.device_id} ended early: its lease has expired, and {state}.",
            action="Nothing: the next request or the sweeper continues. If it lasts, check the sweeper's runs.",
            concern=Concern.OPERATOR,
            since=issuance.due,
        )
    stuck = evidence.now - issuance.begun_at > _PATIENCE or issuance.attempts >= _MANY_ATTEMPTS
    return Finding(
        cause=Cause.STUCK if stuck else Cause.IN_PROGRESS,
        stage=Stage.REGISTRATION if issuance.state is IssuanceState.ISSUED else Stage.ISSUANCE,
        rank=Rank.QUEUE if stuck else Rank.WAITING,
        summary=(
            f"{evidence.device} is stuck at 202 after {issuance.attempts} attempts: {state}."
            if stuck
            else f"{evidence.device} got 202 and must post again: {state}."
        ),
        action="See the next finding for the cause. The device must post again; nothing is finished without it.",
        concern=Concern.OPERATOR if stuck else Concern.FIRMWARE,
        since=issuance.begun_at,
    )
