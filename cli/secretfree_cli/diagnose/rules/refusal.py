"""Rules on the outcome of the request in question, or of the device's last one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from secretfree.errors import Reason
from secretfree.registry.entry import DeviceStatus

from secretfree_cli.diagnose.evidence import DECISIVE, REFUSALS, UNFINISHED, Evidence
from secretfree_cli.diagnose.finding import Cause, Concern, Finding, Rank, Stage
from secretfree_cli.diagnose.reasons import explanation_of
from secretfree_cli.diagnose.rules import rule
from secretfree_cli.logs.events import LogEvent

# With these reasons, the device gets 202 or retries.
_WAITS = frozenset({Reason.LEASE_HELD, Reason.QUEUED, Reason.CERTIFICATE_PENDING, Reason.DEADLINE, Reason.THROTTLED})


@rule
def refused(evidence: Evidence) -> Iterator[Finding]:
    """The last log line is a refusal, and the registry has not changed since."""
    last = evidence.last_outcome
    if last is None or last.event not in REFUSALS or last.reason is None or _is_mended(evidence, last):
        return
    explained = explanation_of(last.reason)
    meaning = "comes too often (429)" if last.reason is Reason.THROTTLED else explained.meaning
    yield Finding(
        cause=last.reason,
        stage=explained.stage,
        rank=Rank.REFUSAL,
        summary=f"The request of {_who(evidence)} {meaning}{_detail(last)}.",
        action=explained.action,
        concern=explained.concern,
        since=_since(evidence, last),
    )


@rule
def unblocked_since(evidence: Evidence) -> Iterator[Finding]:
    """The device was refused as blocked, and is allowed now."""
    last, enrolment = evidence.last_outcome, evidence.enrolment
    if last is None or last.event != "denied" or last.reason is not Reason.BLOCKED_DEVICE or enrolment is None:
        return
    if enrolment.entry.status is DeviceStatus.ALLOWED:
        yield Finding(
            cause=Reason.BLOCKED_DEVICE,
            stage=Stage.AUTHORIZATION,
            rank=Rank.REFUSAL,
            summary=(
                f"{evidence.device} was refused as blocked at {last.at:%H:%M:%S} UTC and is allowed now. "
                "It has sent no request since."
            ),
            action="Let the device post again, for example by a restart.",
            concern=Concern.FIRMWARE,
            since=last.at,
        )


@rule
def not_finished(evidence: Evidence) -> Iterator[Finding]:
    """The last log line is a 202 or a failure."""
    last = evidence.last_outcome
    if last is None or last.event not in UNFINISHED or evidence.has_usable_certificate:
        return
    reason = last.reason or Reason.UNEXPECTED
    explained = explanation_of(reason)
    yield Finding(
        cause=reason,
        stage=explained.stage,
        rank=Rank.WAITING if reason in _WAITS else Rank.FAILURE,
        summary=f"The request of {_who(evidence)} {explained.meaning}{_detail(last)}.",
        action=explained.action,
        concern=explained.concern,
        since=_since(evidence, last),
    )


@rule
def refused_by_the_api(evidence: Evidence) -> Iterator[Finding]:
    """API Gateway answered the request itself, so no function has a log line about it."""
    if evidence.request_id is None or evidence.last_outcome is not None:
        return
    for line in evidence.log:
        status = line.fields.get("status", "")
        if line.request_id != evidence.request_id or line.event or not status.isdigit() or int(status) < 400:
            continue
        answered = line.fields.get("responseType", "-")
        if status == "404":
            yield Finding(
                cause=Cause.WRONG_PATH,
                stage=Stage.REQUEST,
                rank=Rank.REFUSAL,
                summary="The request's path does not exist in this API (404).",
                action=_right_address(evidence),
                concern=Concern.FIRMWARE,
                since=line.at,
            )
        else:
            yield Finding(
                cause=Cause.API_REFUSED,
                stage=Stage.REQUEST,
                rank=Rank.REFUSAL,
                summary=f"API Gateway answered the request itself: {status} ({answered}).",
                action="429: raise the stage's throttle. WAF_FILTERED: check the web ACL. 5xx: check the functions.",
                concern=Concern.OPERATOR,
                since=line.at,
            )


@rule
def never_requested(evidence: Evidence) -> Iterator[Finding]:
    """There is no sign of any request of the device to this stack."""
    traces = evidence.issuances or evidence.last_outcome is not None
    if evidence.request_id is not None or evidence.enrolment is None or traces or not evidence.logs_were_read:
        return
    days = max(1, round(evidence.window.total_seconds() / 3600))
    lost = (
        f" In that time {evidence.unmatched_paths} requests used paths that the API does not have."
        if evidence.unmatched_paths
        else ""
    )
    yield Finding(
        cause=Cause.WRONG_PATH if evidence.unmatched_paths else Cause.NEVER_ASKED,
        stage=Stage.REQUEST,
        rank=Rank.ABSENT,
        summary=(
            f"{evidence.device} is enrolled, but no request of it has reached this stack in the last {days} hours."
            f"{lost}"
        ),
        action=(
            f"{_right_address(evidence)} If the device gets an answer, take the `requestId` from it and run "
            "`secretfree diagnose --request-id ID`."
        ),
        concern=Concern.FIRMWARE,
    )


def _is_mended(evidence: Evidence, last: LogEvent) -> bool:
    enrolment = evidence.enrolment
    if enrolment is None:
        return False
    if last.reason is Reason.UNKNOWN_DEVICE:
        return enrolment.enrolled_at is not None and enrolment.enrolled_at >= last.at
    return (
        last.event == "denied"
        and last.reason is Reason.BLOCKED_DEVICE
        and enrolment.entry.status is DeviceStatus.ALLOWED
    )


def _right_address(evidence: Evidence) -> str:
    base = evidence.url or "the stack's ProvisioningUrl"
    return f"Check the address in the firmware: {base}/new or {base}/proto, by POST, in this Region and stage."


def _who(evidence: Evidence) -> str:
    return evidence.device_id or "this device"


def _detail(line: LogEvent) -> str:
    detail = line.fields.get("detail")
    return f": {detail}" if detail else ""


def _since(evidence: Evidence, last: LogEvent) -> datetime:
    """Return when the series of requests with the last one's outcome began."""
    first = last
    for line in sorted(evidence.log, key=lambda line: line.at, reverse=True):
        if line.event not in DECISIVE:
            continue
        if line.reason is not last.reason or line.event != last.event:
            break
        first = line
    return first.at
