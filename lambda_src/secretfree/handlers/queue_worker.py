"""The worker of an issuer in queue mode: issues at its pace, and returns to the queue what is not ready."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from secretfree import clock as time
from secretfree.adapters import clients
from secretfree.adapters.dynamodb.queue_marks import DynamoDbQueueMarks
from secretfree.adapters.sqs_queue import SqsRequestQueue
from secretfree.config import QueuedIssuerConfig
from secretfree.errors import SecretFreeError
from secretfree.handlers import reports, wiring
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.handlers.http.request import RequestIds
from secretfree.issuance.model import IssuedCertificate
from secretfree.issuance.pacing import Pace
from secretfree.issuance.ports import ThrottledError, UnreachableError
from secretfree.issuance.queueing import QueuedRequest, give_up, is_final, work_off
from secretfree.telemetry import Telemetry


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    return _Worker(QueuedIssuerConfig.from_environment(environment))


class _Worker:
    """Processes the messages of SQS, one after another."""

    def __init__(self, config: QueuedIssuerConfig) -> None:
        issuer = config.issuing.issuer
        self._profile = config.issuing.device_profile
        self._most_receives = config.most_receives
        # The front answers from the ledger, so the last write is awaited: Lambda may freeze the process.
        self._policy = replace(wiring.policy(config.issuing, issuer), device_waits=False)
        self._marks = DynamoDbQueueMarks(clients.dynamodb(), table=config.issuing.ledger_table)
        self._queue = SqsRequestQueue(clients.sqs(), url=config.queue_url)
        self._clock = time.SystemClock()
        self._pace = Pace(config.interval.total_seconds(), self._clock)
        self._telemetry = Telemetry(config.issuing.product, issuer.name, level=config.issuing.log_level)
        self._ports = wiring.ports(config.issuing, issuer, stage=self._telemetry.stage, calls=self._telemetry.call)

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Process the messages of one poll. The answer names those to deliver again (partial batch response)."""
        try:
            again = [record["messageId"] for record in event["Records"] if not self._is_done(record, context)]
        finally:
            self._telemetry.flush()
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}

    def _is_done(self, record: dict[str, Any], context: Any) -> bool:
        """Whether the message may be deleted."""
        self._pace.wait()
        ids: RequestIds = {"request_id": record["messageId"]}
        request: QueuedRequest | None = None
        try:
            request = QueuedRequest.from_message(record["body"])
            with self._telemetry.stage("issue"):
                outcome = work_off(
                    request,
                    profile=self._profile,
                    ports=self._ports,
                    marks=self._marks,
                    policy=self._policy,
                    clock=self._clock,
                    deadline=wiring.deadline(self._clock, context.get_remaining_time_in_millis() / 1000),
                )
        except Exception as error:  # noqa: BLE001 - one message's failure is not the others'
            device = None if request is None else request.device
            reports.failure(self._telemetry, error, ids=ids, device=device)
            known = error if isinstance(error, SecretFreeError) else None
            if known is not None and is_final(known):
                return True
            self._come_back(record, request, None if known is None else known.retry_after)
            return False
        reports.outcome(self._telemetry, outcome, ids=ids, device=request.device)
        if isinstance(outcome, IssuedCertificate):
            return True
        self._come_back(record, request, outcome.retry_after)
        return False

    def _come_back(self, record: dict[str, Any], request: QueuedRequest | None, after: int | None) -> None:
        """Have the message delivered again after so many seconds. After the last try, the device may queue anew."""
        try:
            if request is not None and int(record["attributes"]["ApproximateReceiveCount"]) >= self._most_receives:
                give_up(request, marks=self._marks, policy=self._policy, clock=self._clock)
            elif after is not None:
                self._queue.postpone(record["receiptHandle"], after)
        except (ThrottledError, UnreachableError, SecretFreeError) as error:
            reports.failure(self._telemetry, error, ids={"request_id": record["messageId"]})


handler: Final = lambda_handler(build)
