"""The worker of an issuer in queue mode, fed by SQS: issues at its pace, and lets what is not ready come back later."""

import os
from dataclasses import replace
from typing import Any, Final

from secretfree.adapters import clients
from secretfree.adapters.dynamodb.queue_marks import DynamoDbQueueMarks
from secretfree.adapters.sqs_queue import SqsRequestQueue
from secretfree.clock import SystemClock
from secretfree.config import QueuedIssuerConfig
from secretfree.errors import SecretFreeError
from secretfree.handlers import reports, wiring
from secretfree.issuance.model import IssuedCertificate
from secretfree.issuance.pacing import Pace
from secretfree.issuance.ports import ThrottledError, UnreachableError
from secretfree.issuance.queueing import QueuedRequest, give_up, is_final, work_off
from secretfree.telemetry import Telemetry

_config: Final = QueuedIssuerConfig.from_environment(os.environ)
_kind: Final = _config.issuing.issuer
# The front answers by what the ledger says, so the last write is not left to a process that may be frozen.
_policy: Final = replace(wiring.policy(_config.issuing, _kind), awaits_confirmation=True)
_marks: Final = DynamoDbQueueMarks(clients.dynamodb(), table=_config.issuing.ledger_table)
_queue: Final = SqsRequestQueue(clients.sqs(), url=_config.queue_url)
_clock: Final = SystemClock()
_pace: Final = Pace(_config.interval.total_seconds(), _clock)
_telemetry: Final = Telemetry(_config.issuing.product, _kind.value, level=_config.issuing.log_level)
_ports: Final = wiring.ports(_config.issuing, _kind, stage=_telemetry.stage)

# Seconds, as in the issuer's handler: together less than a lease, so that nobody takes over from who still works.
_BUDGET: Final = 20.0
_MARGIN: Final = 6.0


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Work off the messages of one poll; the answer names those that are to come back (partial batch response)."""
    try:
        again = [record["messageId"] for record in event["Records"] if not _is_done(record, context)]
    finally:
        _telemetry.flush()
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}


def _is_done(record: dict[str, Any], context: Any) -> bool:
    """Whether the message may go."""
    _pace.wait()
    request: QueuedRequest | None = None
    try:
        request = QueuedRequest.from_message(record["body"])
        remaining = context.get_remaining_time_in_millis() / 1000
        with _telemetry.stage("issue"):
            outcome = work_off(
                request,
                profile=_config.issuing.device_profile,
                ports=_ports,
                marks=_marks,
                policy=_policy,
                clock=_clock,
                deadline=_clock.monotonic() + min(_BUDGET, remaining - _MARGIN),
            )
    except Exception as error:  # noqa: BLE001 - one message's failure is not the others'
        reports.failure(_telemetry, error, ids={"request_id": record["messageId"]})
        if isinstance(error, SecretFreeError) and is_final(error):
            return True
        _come_back(record, request, error.retry_after if isinstance(error, SecretFreeError) else None)
        return False
    reports.outcome(_telemetry, outcome, ids={"request_id": record["messageId"]})
    if isinstance(outcome, IssuedCertificate):
        return True
    _come_back(record, request, outcome.retry_after)
    return False


def _come_back(record: dict[str, Any], request: QueuedRequest | None, after: int | None) -> None:
    """After so many seconds, or the queue's own time; where it was the last time, the device may queue anew."""
    try:
        if request is not None and int(record["attributes"]["ApproximateReceiveCount"]) >= _config.most_receives:
            give_up(request, marks=_marks, policy=_policy, clock=_clock)
        elif after is not None:
            _queue.postpone(record["receiptHandle"], after)
    except (ThrottledError, UnreachableError, SecretFreeError) as error:
        reports.failure(_telemetry, error, ids={"request_id": record["messageId"]})
