"""The retirer's Lambda, on the queue of connects: retires the certificates older than the one that connected."""

from collections.abc import Mapping
from typing import Any, Final

from secretfree import clock as time
from secretfree.adapters import clients
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.adapters.iot_core import IotCoreThings
from secretfree.config.retirement import RetirementConfig
from secretfree.contract import LogLevel, Metric
from secretfree.errors import ErrorCode, SecretFreeError
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.handlers.wiring import announcing
from secretfree.retirement.connected import Connected
from secretfree.retirement.retiring import RetirementPorts, retire_older
from secretfree.telemetry import Telemetry

# Seconds kept for the last message's calls.
_MARGIN: Final = 15.0


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    return _Retirer(RetirementConfig.from_environment(environment))


class _Retirer:
    def __init__(self, config: RetirementConfig) -> None:
        self._clock = time.SystemClock()
        self._telemetry = Telemetry(config.product, level=config.log_level)
        clients.observe_calls(self._telemetry.call)
        self._ports = RetirementPorts(
            ledger=DynamoDbLedger(
                clients.dynamodb(), table=config.ledger_table, announcing=announcing(config.announcements)
            ),
            things=IotCoreThings(clients.iot(), thing_type=config.thing_type, policy_name=config.policy_name),
        )

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Process the messages of one poll. The answer names those to deliver again (partial batch response)."""
        again = []
        try:
            for message in event["Records"]:
                in_time = context.get_remaining_time_in_millis() / 1000 > _MARGIN
                if not in_time or not self._is_done(message):
                    again.append(message["messageId"])
        finally:
            self._telemetry.flush()
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}

    def _is_done(self, message: dict[str, Any]) -> bool:
        """Whether the message is done. A failed one does not stop the others."""
        connected = None
        try:
            connected = Connected.from_message(message["body"])
            retired = None if connected is None else retire_older(connected, ports=self._ports, clock=self._clock)
        except Exception as error:  # noqa: BLE001 - one message's failure is not the others'
            known = error if isinstance(error, SecretFreeError) else None
            self._telemetry.count(Metric.RETIREMENT_FAILED)
            self._telemetry.log(
                "failed",
                level=LogLevel.ERROR,
                device_id=connected.device_id if connected else None,
                reason=known.reason if known else None,
                detail=known.detail if known else None,
                error_type=type(error).__name__,
            )
            # The sweeper reports such a certificate until an operator decides; another delivery changes nothing.
            return known is not None and known.code is ErrorCode.CONFLICT
        if retired is None:  # The client is not a device of this product line.
            return True
        self._telemetry.count(Metric.CONNECTED)
        for certificate_id in retired:
            self._telemetry.count(Metric.RETIRED)
            self._telemetry.log("retired", device_id=connected and connected.device_id, certificate_id=certificate_id)
        return True


handler: Final = lambda_handler(build)
