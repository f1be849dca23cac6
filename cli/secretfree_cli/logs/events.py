"""Structured log lines, found by FilterLogEvents with plain terms and filtered again here.

CloudWatch's terms match anywhere in a line, so each returned line is checked by its fields.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from botocore.exceptions import ClientError
from secretfree.errors import Reason

DEVICE_FIELDS = ("deviceId", "thingName", "claimedDeviceId")
"""Fields that name a device; the last one is the unproven claim of a request."""

_METRICS = "_aws"


@dataclass(frozen=True, kw_only=True)
class LogEvent:
    """One structured line of a function, or of the API's access log."""

    at: datetime
    group: str
    fields: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def event(self) -> str:
        """The fixed phrase of the event; empty in the access log."""
        return self.fields.get("event", "")

    @property
    def reason(self) -> Reason | None:
        """The true reason, if the line has a known one."""
        text = self.fields.get("reason", "")
        return Reason(text) if text in set(Reason) else None

    @property
    def request_id(self) -> str | None:
        """The id of the line's request."""
        return self.fields.get("requestId")

    @property
    def device_id(self) -> str | None:
        """The device that the line names."""
        return next((self.fields[name] for name in DEVICE_FIELDS if self.fields.get(name)), None)


@dataclass(frozen=True)
class Search:
    """A search. `terms`: words that every line has; `takes`: the exact test of a line."""

    terms: Sequence[str]
    takes: Callable[[LogEvent], bool]


def of_device(device_id: str) -> Search:
    """Lines that name the device."""
    return Search((device_id,), lambda line: device_id in (line.fields.get(name) for name in DEVICE_FIELDS))


def of_request(request_id: str) -> Search:
    """Lines of the request, by either of its ids."""
    return Search(
        (request_id,),
        lambda line: request_id in (line.fields.get("requestId"), line.fields.get("extendedRequestId")),
    )


def of_reason(reason: str) -> Search:
    """Lines with the reason."""
    return Search((reason,), lambda line: line.fields.get("reason") == reason)


def of_event(event: str) -> Search:
    """Lines of the event."""
    return Search((event,), lambda line: line.event == event)


def find(
    logs: Any, groups: Sequence[str], search: Search, *, since: datetime, most: int = 10_000
) -> Sequence[LogEvent]:
    """Return the lines at or after `since` in all groups, oldest first; at most the newest `most`.

    `logs` is a boto3 client of CloudWatch Logs. A group that does not exist (yet) has no lines.
    """
    found: list[LogEvent] = []
    for group in groups:
        found += _in_group(logs, group, search, since)
    found.sort(key=lambda line: line.at)
    return found[-most:]


def parse(message: str, *, at: datetime, group: str) -> LogEvent | None:
    """Return a structured line; None for Lambda's own lines and for metrics."""
    try:
        document = json.loads(message)
    except ValueError:
        return None
    if not isinstance(document, dict) or _METRICS in document:
        return None
    fields = {name: value if isinstance(value, str) else json.dumps(value) for name, value in document.items()}
    return LogEvent(at=at, group=group, fields=MappingProxyType(fields))


def _in_group(logs: Any, group: str, search: Search, since: datetime) -> Sequence[LogEvent]:
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=group,
        startTime=int(since.timestamp() * 1000),
        filterPattern=" ".join(_quoted(term) for term in search.terms),
    )
    found = []
    try:
        for page in pages:
            for event in page["events"]:
                at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
                line = parse(event["message"], at=at, group=group)
                if line is not None and search.takes(line):
                    found.append(line)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "ResourceNotFoundException":
            raise
    return found


def _quoted(term: str) -> str:
    """Return a term in the quotes that FilterLogEvents needs for anything but letters, digits and underscores."""
    return '"' + term.replace("\\", "\\\\").replace('"', '\\"') + '"'
