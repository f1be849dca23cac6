"""The front of an issuer in queue mode, behind the authorizer: answer from the ledger, or queue and say when to ask."""

import os
import random
from typing import Any, Final

from secretfree.adapters import clients
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.adapters.dynamodb.queue_marks import DynamoDbQueueMarks
from secretfree.adapters.sqs_queue import SqsRequestQueue
from secretfree.clock import SystemClock
from secretfree.config import QueueingConfig
from secretfree.handlers import reports
from secretfree.handlers.http import answers
from secretfree.handlers.http.request import device_csr, header_values, request_id, request_ids
from secretfree.issuance.model import IssuanceAnswer, IssuancePolicy
from secretfree.issuance.queueing import FrontPorts, collect_or_queue
from secretfree.issuance.recent_askers import RecentAskers
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.csr import UnverifiedCsr, verify
from secretfree.telemetry import Telemetry

_config: Final = QueueingConfig.from_environment(os.environ)
_policy: Final = IssuancePolicy(issuer=_config.issuer.value, renewal_window=_config.renewal_window)
_ports: Final = FrontPorts(
    ledger=DynamoDbLedger(clients.dynamodb(), table=_config.ledger_table),
    marks=DynamoDbQueueMarks(clients.dynamodb(), table=_config.ledger_table),
    queue=SqsRequestQueue(clients.sqs(), url=_config.queue_url),
    retention=_config.retention,
    chance=random.SystemRandom().random,
)
_clock: Final = SystemClock()
_askers: Final = RecentAskers()
_telemetry: Final = Telemetry(_config.product, _config.issuer.value, level=_config.log_level)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answer the device: 200 with its certificate, 202 while it waits, a problem document otherwise."""
    try:
        with _telemetry.stage("queue"):
            outcome = _answer(event)
        reports.outcome(_telemetry, outcome, ids=request_ids(event))
        return answers.for_outcome(
            outcome,
            endpoint=_config.iot_endpoint,
            accepted=header_values(event, "accept"),
            request_id=request_id(event),
        )
    except Exception as error:  # noqa: BLE001 - whatever fails, the device gets a problem document and no traceback
        reports.failure(_telemetry, error, ids=request_ids(event))
        return answers.for_error(error, request_id=request_id(event))
    finally:
        _telemetry.flush()


def _answer(event: dict[str, Any]) -> IssuanceAnswer:
    device = AuthorizedDevice.from_context(event["requestContext"].get("authorizer") or {})
    _askers.admit(device.device_id, _clock.now())
    csr = verify(UnverifiedCsr.from_header_value(device_csr(event)), _config.device_profile)
    return collect_or_queue(device, csr, ports=_ports, policy=_policy, clock=_clock)
