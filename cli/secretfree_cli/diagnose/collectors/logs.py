"""The log lines about a device or a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.diagnose.collectors.stack import Stack
from secretfree_cli.diagnose.evidence import LOGS
from secretfree_cli.logs.events import LogEvent, Search, find, of_device, of_request
from secretfree_cli.target import Target

# API Gateway's value for a path or method that the API does not have.
_UNMATCHED = Search(
    ("MISSING_AUTHENTICATION_TOKEN",),
    lambda line: line.fields.get("responseType") == "MISSING_AUTHENTICATION_TOKEN",
)


@dataclass(frozen=True)
class Logged:
    """The log lines. `device_id` is the device of the request."""

    lines: Sequence[LogEvent] = ()
    device_id: str | None = None
    unmatched_paths: int = 0


def read(
    target: Target, stack: Stack, reading: Reading, *, device_id: str | None, request_id: str | None, since: datetime
) -> Logged:
    """Read the lines of a device, or of a request and its device."""
    groups = stack.log_groups
    if not groups:
        reading.gap(LOGS, "the target has none: name the stack with --stack")
        return Logged(device_id=device_id)
    client = target.client("logs")
    found = reading.attempt(LOGS, lambda: _read(client, groups, device_id, request_id, since))
    return found or Logged(device_id=device_id)


def _read(client: Any, groups: Sequence[str], device_id: str | None, request_id: str | None, since: datetime) -> Logged:
    lines: list[LogEvent] = []
    if request_id is not None:
        lines += find(client, groups, of_request(request_id), since=since)
        device_id = device_id or next((line.device_id for line in lines if line.device_id), None)
    if device_id is not None:
        lines += [line for line in find(client, groups, of_device(device_id), since=since) if line not in lines]
    unmatched = 0 if lines else len(find(client, groups, _UNMATCHED, since=since))
    return Logged(sorted(lines, key=lambda line: line.at), device_id, unmatched)
