"""The output of the Lambdas in the local cloud, read through CloudWatch Logs' API as on AWS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_POLL_SECONDS = 1.0
_RUNTIME_LINES = ("START RequestId:", "END RequestId:", "REPORT RequestId:", "INIT_START ")


@dataclass(frozen=True, order=True)
class LogLine:
    """One line of one function."""

    timestamp: int
    """Milliseconds since 1970."""
    group: str
    message: str

    def __str__(self) -> str:
        """Time of day in UTC, the last part of the group's name, the message."""
        moment = datetime.fromtimestamp(self.timestamp / 1000, UTC)
        return f"{moment:%H:%M:%S}.{self.timestamp % 1000:03} {self.group.rpartition('/')[2]}  {self.message.rstrip()}"


def read(logs: Any, *, since: int = 0) -> list[LogLine]:
    """Return the lines at or after `since` (milliseconds), oldest first, without the runtime's own START, END, REPORT.

    `logs` is a boto3 client of CloudWatch Logs.
    """
    found = []
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            name = group["logGroupName"]
            for events in logs.get_paginator("filter_log_events").paginate(logGroupName=name, startTime=since):
                found += [LogLine(event["timestamp"], name, event["message"]) for event in events["events"]]
    return sorted(line for line in found if not line.message.startswith(_RUNTIME_LINES))


def follow(logs: Any, *, seen: list[LogLine]) -> Iterator[LogLine]:
    """Yield new lines after those in `seen`, for ever."""
    known = set(seen)
    newest = max((line.timestamp for line in seen), default=0)
    while True:
        for line in read(logs, since=newest):
            if line not in known:
                known.add(line)
                yield line
        newest = max((line.timestamp for line in known), default=0)
        known = {line for line in known if line.timestamp >= newest}
        time.sleep(_POLL_SECONDS)
