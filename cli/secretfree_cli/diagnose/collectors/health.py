"""The state of the tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.diagnose.evidence import TableHealth
from secretfree_cli.target import Target

_THROTTLES = ("ReadThrottleEvents", "WriteThrottleEvents")
_RECENT = timedelta(hours=1)


def read(target: Target, reading: Reading, *, now: datetime) -> Sequence[TableHealth]:
    """Read whether the tables are usable and throttled."""
    names = [name for name in (target.registry_table, target.ledger_table) if name is not None]
    return [table for name in names if (table := _table(target, reading, name, now)) is not None]


def _table(target: Target, reading: Reading, name: str, now: datetime) -> TableHealth | None:
    described = reading.attempt(
        "the tables' state", lambda: target.client("dynamodb").describe_table(TableName=name)["Table"]
    )
    if described is None:
        return None
    points = reading.attempt("the tables' throttling", lambda: _throttles(target.client("cloudwatch"), name, now))
    return TableHealth(
        name=name,
        status=described["TableStatus"],
        throttled=sum(count for _, count in points or ()),
        throttled_since=min((at for at, _ in points or ()), default=None),
    )


def _throttles(client: Any, table: str, now: datetime) -> Sequence[tuple[datetime, int]]:
    """When requests to the table were first throttled in the last hour, and their number."""
    return [
        (point["Timestamp"].astimezone(UTC), int(point["Sum"]))
        for metric in _THROTTLES
        for point in client.get_metric_statistics(
            Namespace="AWS/DynamoDB",
            MetricName=metric,
            Dimensions=[{"Name": "TableName", "Value": table}],
            StartTime=now - _RECENT,
            EndTime=now,
            Period=300,
            Statistics=["Sum"],
        )["Datapoints"]
        if point["Sum"] > 0
    ]
