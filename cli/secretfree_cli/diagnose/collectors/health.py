"""The state of tables and queues."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.diagnose.collectors.stack import Stack
from secretfree_cli.diagnose.evidence import QueueHealth, TableHealth
from secretfree_cli.target import Target

_THROTTLES = ("ReadThrottleEvents", "WriteThrottleEvents")
_RECENT = timedelta(hours=1)
_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


def read(
    target: Target, stack: Stack, reading: Reading, *, now: datetime
) -> tuple[Sequence[TableHealth], Sequence[QueueHealth]]:
    """Read whether the tables are usable and throttled, and how many messages wait."""
    names = [name for name in (target.registry_table, target.ledger_table) if name is not None]
    tables = [table for name in names if (table := _table(target, reading, name, now)) is not None]
    queues = [
        QueueHealth(name=url.rpartition("/")[2], messages=count, is_dead_letters=dead)
        for url, dead in stack.queues.items()
        if (count := _messages(target, reading, url)) is not None
    ]
    return tables, queues


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
    """When requests to the table were throttled in the last hour, and how many."""
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


def _messages(target: Target, reading: Reading, url: str) -> int | None:
    attributes = reading.attempt(
        "the queues",
        lambda: target.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=list(_COUNTS))["Attributes"],
    )
    return None if attributes is None else sum(int(attributes.get(name, 0)) for name in _COUNTS)
