"""Makes ministack 1.5.33 process DynamoDB streams as Lambda's event source mappings do.

ministack counts a reported failure of a record as success, does not bisect, retries for ever, and invokes all functions
sequentially in one thread.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_WITHOUT_END = -1
_LONGEST_WAIT_SECONDS = 5.0
_FIRST_WAIT_SECONDS = 0.1


@dataclass
class _Feed:
    """The progress of one mapping."""

    size: int | None = None
    """Size of the next batch; None for the mapping's own."""
    failures: int = 0
    begun: bool = False


def correct_streams() -> None:
    """Replace the poller of DynamoDB streams in this process."""
    from ministack.services import lambda_svc

    feeds: dict[str, _Feed] = {}
    busy: set[str] = set()

    def poll() -> bool:
        for account, region, mapping in lambda_svc._iter_all_esms():  # noqa: SLF001 -- there is no setting for it
            identity = mapping["UUID"]
            if identity in busy or not mapping.get("Enabled", True) or not _has_work(account, region, mapping, feeds):
                continue
            busy.add(identity)
            feed = feeds.setdefault(identity, _Feed())
            arguments = (account, region, mapping, feed, busy)
            threading.Thread(target=_drain, args=arguments, name=f"stream-{identity}", daemon=True).start()
        return False

    lambda_svc._poll_dynamodb_streams = poll  # noqa: SLF001


def first_failure(raw: Sequence[Mapping[str, Any]], answer: Any, *, reports: bool) -> int | None:
    """Return the index of the first record to retry; None if the whole batch is done.

    Lambda's documentation, "Configuring partial batch response with DynamoDB": the lowest sequence number counts, an
    answer without failures is success, and an unknown or empty identifier fails the whole batch.
    """
    if not reports:
        return None
    if isinstance(answer, (str, bytes)):
        try:
            answer = json.loads(answer)
        except ValueError:
            return 0
    if answer is None:
        return None
    failures = answer.get("batchItemFailures") if isinstance(answer, Mapping) else None
    if not failures:
        return None
    places = {record["dynamodb"]["SequenceNumber"]: index for index, record in enumerate(raw)}
    return min(places.get(failure.get("itemIdentifier"), 0) for failure in failures)


def _has_work(account: str, region: str, mapping: Mapping[str, Any], feeds: Mapping[str, _Feed]) -> bool:
    from ministack.services import dynamodb, lambda_svc

    source = mapping.get("EventSourceArn", "")
    if ":dynamodb:" not in source:
        return False
    with dynamodb.request_scope(account, region):
        name = _table_of(source)
        feed = feeds.get(mapping["UUID"])
        if feed is None or not feed.begun:
            return bool(dynamodb.stream_live_records(name))
        position = lambda_svc._dynamodb_stream_positions.get(mapping["UUID"], 0)  # noqa: SLF001
        return bool(dynamodb.stream_end_position(name) > position)


def _drain(account: str, region: str, mapping: Any, feed: _Feed, busy: set[str]) -> None:
    from ministack.services import dynamodb

    try:
        with dynamodb.request_scope(account, region):
            while _step(mapping, feed):
                pass
    finally:
        busy.discard(mapping["UUID"])


def _step(mapping: Any, feed: _Feed) -> bool:
    """Deliver one batch. Returns whether there may be more work now."""
    from ministack.services import dynamodb, lambda_svc

    identity, source = mapping["UUID"], mapping["EventSourceArn"]
    name = _table_of(source)
    function, _ = lambda_svc._get_func_record_for_qualifier(mapping["FunctionName"], mapping.get("Qualifier"))  # noqa: SLF001
    table = dynamodb._tables.get(name)  # noqa: SLF001
    if function is None or not table or table.get("LatestStreamArn") != source or not mapping.get("Enabled", True):
        return False
    position = _position(mapping, feed, name)
    size = feed.size or int(mapping.get("BatchSize", 100))
    raw = dynamodb.stream_records_since(name, position, size)
    if not raw:
        return False

    def advance(count: int) -> bool:
        lambda_svc._dynamodb_stream_positions[identity] = position + count  # noqa: SLF001
        feed.size, feed.failures = None, 0
        return True

    batch = lambda_svc._apply_filter_criteria(raw, mapping)  # noqa: SLF001
    if not batch:
        return advance(len(raw))
    result = lambda_svc._execute_function(function, {"Records": batch})  # noqa: SLF001
    if result.get("error"):
        failed: int | None = 0
    else:
        reports = "ReportBatchItemFailures" in (mapping.get("FunctionResponseTypes") or [])
        failed = first_failure(raw, result.get("body"), reports=reports)
    if failed is None:
        return advance(len(raw))
    if failed:
        return advance(failed)
    return _again(mapping, feed, (raw, batch), result, advance, function)


def _again(  # noqa: PLR0917 -- the parts of one delivery
    mapping: Any, feed: _Feed, records: Any, result: Any, advance: Any, function: Any
) -> bool:
    """Handle a failure at the first record: drop the batch, bisect it, or retry after a wait."""
    from ministack.services import lambda_svc

    raw, batch = records
    feed.failures += 1
    most_retries = int(mapping.get("MaximumRetryAttempts", _WITHOUT_END))
    most_age = int(mapping.get("MaximumRecordAgeInSeconds", _WITHOUT_END))
    oldest = min(float(record["dynamodb"]["ApproximateCreationDateTime"]) for record in batch)
    too_old = 0 < most_age < time.time() - oldest
    if mapping.get("BisectBatchOnFunctionError") and len(raw) > 1:
        feed.size, feed.failures = len(raw) // 2, 0
        return True
    if too_old or 0 <= most_retries < feed.failures:
        condition = "MaxRecordAgeExceeded" if too_old else "RetryAttemptsExhausted"
        lambda_svc._send_ddb_stream_failure_record(  # noqa: SLF001
            mapping, function, batch, mapping["EventSourceArn"], result, condition
        )
        return bool(advance(len(raw)))
    time.sleep(min(_FIRST_WAIT_SECONDS * 2 ** min(feed.failures, 6), _LONGEST_WAIT_SECONDS))
    return True


def _position(mapping: Any, feed: _Feed, table: str) -> int:
    """The mapping's position in the stream.

    A restart keeps positions and loses records: it begins at the oldest record.
    """
    from ministack.services import dynamodb, lambda_svc

    identity = mapping["UUID"]
    lambda_svc._init_stream_position(identity, mapping["EventSourceArn"], mapping.get("StartingPosition", "LATEST"))  # noqa: SLF001
    horizon = dynamodb.stream_start_position(table)
    position = int(lambda_svc._dynamodb_stream_positions[identity])  # noqa: SLF001
    if not feed.begun and position > dynamodb.stream_end_position(table):
        position = horizon
    feed.begun = True
    return max(position, int(horizon))


def _table_of(stream_arn: str) -> str:
    return stream_arn.split("/")[1]
