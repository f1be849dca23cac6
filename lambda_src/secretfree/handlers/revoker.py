"""The revoker's Lambda, on the registry's stream: revokes certificates of withdrawn devices, ends connections."""

from collections.abc import Mapping
from typing import Any, Final

from secretfree import clock as time
from secretfree.adapters import clients
from secretfree.adapters.authority_revocation import RevokingAuthorities
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.adapters.dynamodb.registry import DynamoDbRegistry
from secretfree.adapters.dynamodb.registry_stream import change_of
from secretfree.adapters.iot_connections import IotConnections
from secretfree.adapters.iot_core import IotCertificates
from secretfree.config.revocation import RevocationConfig
from secretfree.contract import LogLevel, Metric
from secretfree.errors import SecretFreeError
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.handlers.wiring import announcing
from secretfree.revocation.ports import RevocationPorts
from secretfree.revocation.revoking import revoke_withdrawn
from secretfree.telemetry import Telemetry


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    return _Revoker(RevocationConfig.from_environment(environment))


class _Revoker:
    def __init__(self, config: RevocationConfig) -> None:
        self._match = config.match
        self._clock = time.SystemClock()
        self._telemetry = Telemetry(config.product, level=config.log_level)
        clients.observe_calls(self._telemetry.call)
        self._ports = RevocationPorts(
            registry=DynamoDbRegistry(clients.dynamodb(), table=config.registry_table),
            ledger=DynamoDbLedger(
                clients.dynamodb(), table=config.ledger_table, announcing=announcing(config.announcements)
            ),
            certificates=IotCertificates(clients.iot()),
            connections=IotConnections(clients.iot_data()),
            authorities=RevokingAuthorities(clients.acm_pca, config.revoking_authorities),
        )

    def __call__(self, event: dict[str, Any], _context: Any) -> dict[str, Any]:
        """Process every change of the batch. The answer names those to deliver again (partial batch response)."""
        try:
            again = [_sequence_number(record) for record in event["Records"] if not self._is_done(record)]
        finally:
            self._telemetry.flush()
        return {"batchItemFailures": [{"itemIdentifier": number} for number in again]}

    def _is_done(self, record: dict[str, Any]) -> bool:
        """Whether the change is done. A failed one does not stop the others."""
        device_id = None
        try:
            change = change_of(record)
            if change is None:
                return True
            device_id = change.device_id
            done = revoke_withdrawn(change, ports=self._ports, match=self._match, clock=self._clock)
        except Exception as error:  # noqa: BLE001 - one change's failure is not the others'
            known = error if isinstance(error, SecretFreeError) else None
            self._telemetry.count(Metric.REVOCATION_FAILED)
            self._telemetry.log(
                "failed",
                level=LogLevel.ERROR,
                device_id=device_id,
                reason=known.reason if known else None,
                detail=known.detail if known else None,
                error_type=type(error).__name__,
            )
            return False
        for certificate_id in done.certificates:
            self._telemetry.count(Metric.REVOKED)
            self._telemetry.log("revoked", device_id=device_id, certificate_id=certificate_id)
        return True


def _sequence_number(record: Mapping[str, Any]) -> str:
    """The record's identifier for Lambda. A record without one fails the whole batch: Lambda takes no empty id."""
    return str(record.get("dynamodb", {}).get("SequenceNumber", ""))


handler: Final = lambda_handler(build)
