"""The front of an issuer in queue mode, behind the authorizer: answers from the ledger, or queues the request."""

import random
from collections.abc import Mapping
from typing import Final

from secretfree import clock as time
from secretfree.adapters import clients, single_try_clients
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.adapters.dynamodb.queue_marks import DynamoDbQueueMarks
from secretfree.adapters.iot_core import IotCoreCertificates
from secretfree.adapters.sqs_queue import SqsRequestQueue
from secretfree.config import QueueingConfig
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.handlers.http.endpoint import IssuingEndpoint
from secretfree.issuance.model import IssuanceAnswer, IssuancePolicy
from secretfree.issuance.queueing import FrontPorts, collect_or_queue
from secretfree.registry.authorization import AuthorizedDevice
from secretfree.request.csr import VerifiedCsr
from secretfree.telemetry import Telemetry


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    config = QueueingConfig.from_environment(environment)
    policy = IssuancePolicy(
        issuer=config.issuer,
        deployment="",
        renewal_window=config.renewal_window,
        authorities=config.authorities,
    )
    ports = FrontPorts(
        ledger=DynamoDbLedger(clients.dynamodb(), table=config.ledger_table),
        certificates=IotCoreCertificates(single_try_clients.iot()),
        marks=DynamoDbQueueMarks(clients.dynamodb(), table=config.ledger_table),
        queue=SqsRequestQueue(clients.sqs(), url=config.queue_url),
        retention=config.retention,
        chance=random.SystemRandom().random,
    )
    clock = time.SystemClock()

    def answer(device: AuthorizedDevice, csr: VerifiedCsr, _remaining: float) -> IssuanceAnswer:
        return collect_or_queue(device, csr, ports=ports, policy=policy, clock=clock)

    return IssuingEndpoint(
        answer,
        stage="queue",
        profile=config.device_profile,
        iot_endpoint=config.iot_endpoint,
        telemetry=Telemetry(config.product, config.issuer, level=config.log_level),
        clock=clock,
    )


handler: Final = lambda_handler(build)
