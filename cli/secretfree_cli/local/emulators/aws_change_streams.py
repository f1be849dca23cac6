"""Adds to ministack 1.5.33 the delivery of a table's changes to a locked bucket.

* CloudFormation enables a table's Kinesis destination (`Replicas[].KinesisStreamSpecification`). ministack ignores it.
* A table's change in a Kinesis stream is delivered to Firehose. ministack does so only for PutRecord.
* CloudFormation sets a bucket's Object Lock with its default retention. ministack ignores it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context, copy_context
from typing import Any

Properties = Mapping[str, Any]


def stream_changes() -> None:
    """Apply the corrections to this process."""
    from ministack.services import dynamodb, kinesis, s3
    from ministack.services.cloudformation import provisioners

    def enable(table: str, properties: Properties) -> None:
        for arn in stream_arns(properties):
            dynamodb._enable_kinesis_streaming_destination({"TableName": table, "StreamArn": arn})  # noqa: SLF001

    def lock(bucket: str, properties: Properties) -> None:
        if (setting := object_lock(properties)) is not None:
            s3._bucket_object_lock[bucket] = setting  # noqa: SLF001

    _afterwards(provisioners, "AWS::DynamoDB::GlobalTable", enable)
    _afterwards(provisioners, "AWS::S3::Bucket", lock)
    deliver = _Delivery()
    put = kinesis.put_record_internal

    def put_and_deliver(stream_arn: str, partition_key: str, data: bytes) -> bool:
        taken = bool(put(stream_arn, partition_key, data))
        if taken:
            deliver.add(stream_arn, partition_key, data)
        return taken

    kinesis.put_record_internal = put_and_deliver


def stream_arns(properties: Properties) -> Sequence[str]:
    """Return the Kinesis streams of the replicas of an `AWS::DynamoDB::GlobalTable`."""
    specifications = (replica.get("KinesisStreamSpecification") for replica in properties.get("Replicas") or ())
    return [one["StreamArn"] for one in specifications if one]


def object_lock(properties: Properties) -> dict[str, Any] | None:
    """Return the Object Lock of an `AWS::S3::Bucket` in ministack's form; None if it has none."""
    if str(properties.get("ObjectLockEnabled")).lower() != "true":
        return None
    rule = (properties.get("ObjectLockConfiguration") or {}).get("Rule") or {}
    retention = rule.get("DefaultRetention")
    if retention is None:
        return {"enabled": True, "default_retention": None}
    periods = {unit: int(retention[unit]) for unit in ("Days", "Years") if unit in retention}
    return {"enabled": True, "default_retention": {"Mode": retention["Mode"], **periods}}


def _afterwards(provisioners: Any, kind: str, correct: Callable[[str, Properties], None]) -> None:
    """Run `correct` with the physical id and the properties after each creation and update of a resource type."""
    handlers = provisioners._RESOURCE_HANDLERS[kind]  # noqa: SLF001
    create, update = handlers["create"], handlers["update"]

    def create_and_correct(logical_id: str, properties: Properties, stack: str) -> Any:
        made = create(logical_id, properties, stack)
        correct(made[0], properties)
        return made

    def update_and_correct(physical_id: str, old: Properties, new: Properties, *more: Any) -> Any:
        made = update(physical_id, old, new, *more)
        correct(made[0], new)
        return made

    handlers["create"], handlers["update"] = create_and_correct, update_and_correct


class _Delivery:
    """Passes changes to Firehose in a separate thread: a table's write does not wait for the transformation."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Context, str, str, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="change-delivery", daemon=True).start()

    def add(self, stream_arn: str, partition_key: str, data: bytes) -> None:
        # The context holds the account and the Region of the change.
        self._waiting.put((copy_context(), stream_arn, partition_key, data))

    def _run(self) -> None:
        from ministack.services import firehose

        while True:
            context, stream_arn, partition_key, data = self._waiting.get()
            context.run(firehose.ingest_from_kinesis_source, stream_arn, [(partition_key, data)])
