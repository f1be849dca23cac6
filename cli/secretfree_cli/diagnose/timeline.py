"""The events of a device, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from secretfree_cli.diagnose.evidence import CertificateStatus, Evidence
from secretfree_cli.logs.events import LogEvent


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One event."""

    at: datetime
    what: str


def timeline(evidence: Evidence) -> Sequence[Entry]:
    """Return all known events, oldest first."""
    return sorted(_entries(evidence), key=lambda entry: entry.at)


def _entries(evidence: Evidence) -> Iterator[Entry]:
    enrolment = evidence.enrolment
    if enrolment is not None:
        batch = f" in batch {enrolment.batch}" if enrolment.batch else ""
        yield from _dated(enrolment.enrolled_at, f"enrolled{batch}")
        yield from _dated(enrolment.blocked_at, f"blocked: {enrolment.blocked_reason or 'no reason given'}")
    for line in evidence.log:
        if line.event or line.fields.get("status"):
            yield Entry(at=line.at, what=_description(line))
    for issuance in evidence.issuances:
        generation = f"issuance {issuance.generation} at {issuance.issuer}"
        yield Entry(at=issuance.begun_at, what=f"{generation} began; it is {issuance.state.value} now")
    for certificate in evidence.certificates:
        if certificate.status is not CertificateStatus.ABSENT:
            short = certificate.certificate_id[:12]
            yield from _dated(
                certificate.changed_at, f"certificate {short} last changed at IoT Core: {certificate.status.value}"
            )
    if evidence.thing is not None:
        state = "connected" if evidence.thing.connected else "disconnected"
        yield from _dated(evidence.thing.connectivity_changed_at, state)


def _dated(at: datetime | None, what: str) -> Iterator[Entry]:
    if at is not None:
        yield Entry(at=at, what=what)


def _description(line: LogEvent) -> str:
    if not line.event:
        path = line.fields.get("resourcePath", "-")
        return f"API answered {line.fields['status']} at {path}"
    shown = [line.event]
    if issuer := line.fields.get("issuer"):
        shown.append(f"({issuer})")
    if reason := line.fields.get("reason"):
        shown.append(f"[{reason}]")
    if request := line.request_id:
        shown.append(f"request {request}")
    return " ".join(shown)
