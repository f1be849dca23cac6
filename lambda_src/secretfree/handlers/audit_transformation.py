"""The audit trail's Lambda, which Firehose calls: changes of the tables in, events out. It calls no AWS service."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from secretfree.adapters.dynamodb.item_changes import item_change
from secretfree.audit.event import event_of, shard_of
from secretfree.config.audit import AuditConfig
from secretfree.contract import LogLevel
from secretfree.errors import SecretFreeError
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.telemetry import Telemetry


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    config = AuditConfig.from_environment(environment)
    return _Transformation(Telemetry(config.product, level=config.log_level))


class _Transformation:
    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def __call__(self, event: dict[str, Any], _context: Any) -> dict[str, Any]:
        """Transform each record. Firehose stores a failed record unchanged, below `unreadable/` in the bucket."""
        return {"records": [self._transformed(record) for record in event["records"]]}

    def _transformed(self, record: Mapping[str, Any]) -> dict[str, Any]:
        answer = {"recordId": record["recordId"]}
        try:
            found = event_of(item_change(b64decode(record["data"], validate=True)))
        except (SecretFreeError, ValueError) as error:
            detail = error.detail if isinstance(error, SecretFreeError) else "not base64"
            self._telemetry.log("failed", level=LogLevel.ERROR, detail=detail, error_type=type(error).__name__)
            return {**answer, "result": "ProcessingFailed", "data": record["data"]}
        if found is None:
            return {**answer, "result": "Dropped", "data": record["data"]}
        return {
            **answer,
            "result": "Ok",
            "data": b64encode(found.to_line().encode()).decode(),
            "metadata": {"partitionKeys": {"shard": shard_of(found.device_id)}},
        }


handler: Final = lambda_handler(build)
