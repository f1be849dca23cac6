"""Reads the evidence from AWS with read-only rights. A failed read becomes a gap instead of a failure."""

from __future__ import annotations

from datetime import datetime, timedelta

from secretfree_cli.diagnose.collectors import authority, dead_letters, health, iot, ledger, logs, registry
from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.diagnose.collectors.stack import read_stack
from secretfree_cli.diagnose.evidence import Evidence
from secretfree_cli.target import Target


def collect(
    target: Target, *, device_id: str | None, request_id: str | None, now: datetime, window: timedelta
) -> Evidence:
    """Read the evidence about a device, or about the device of a request."""
    reading = Reading()
    stack = read_stack(target, reading)
    found = logs.read(target, stack, reading, device_id=device_id, request_id=request_id, since=now - window)
    device_id = device_id or found.device_id
    enrolment = registry.read(target, reading, device_id)
    issuances, known = ledger.read(target, reading, device_id)
    things = iot.read(target, stack, reading, device_id=device_id, issuances=issuances, known=known)
    tables = health.read(target, reading, now=now)
    return Evidence(
        now=now,
        window=window,
        device_id=device_id,
        request_id=request_id,
        url=target.url,
        enrolment=enrolment.enrolment,
        registry_was_read=enrolment.was_read,
        issuances=issuances,
        certificates=things.certificates,
        thing=things.thing,
        thing_types=stack.thing_types,
        policy=things.policy,
        authority=authority.read(target, reading),
        validity=stack.validity,
        tables=tables,
        dead_letters=dead_letters.read(target, stack, reading),
        log=found.lines,
        unmatched_paths=found.unmatched_paths,
        gaps=reading.gaps,
    )
