"""The follower's Lambda: registers here what other Regions announce, from the announcements' stream or from its queue.

It puts a device that must wait into the queue, so that the stream's other records do not wait. Stream and queue may
deliver repeatedly and in any order, so the follower reads the announcements themselves each time.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from secretfree import clock as time
from secretfree.adapters import clients, single_try_clients
from secretfree.adapters.aws_errors import aws_call
from secretfree.adapters.dynamodb.announcing import DynamoDbAnnouncements
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.adapters.foreign_certificates import ForeignCertificates
from secretfree.adapters.iot_connections import IotConnections
from secretfree.config.follower import FollowerConfig
from secretfree.config.issuers import IssuerSettings
from secretfree.contract import AnnouncementAttribute, LedgerRecord, LogLevel, Metric
from secretfree.errors import SecretFreeError
from secretfree.following.following import Followed, FollowOutcome, follow
from secretfree.following.ports import FollowingPorts
from secretfree.handlers import wiring
from secretfree.handlers.entry import LambdaHandler, lambda_handler
from secretfree.request.device_id import DeviceId
from secretfree.retirement.retiring import RetirementPorts
from secretfree.telemetry import Telemetry

# Seconds. A worker of this Region that is issuing to the device has nearly finished by then.
_LATER: Final = 2
_QUEUE: Final = "aws:sqs"


def build(environment: Mapping[str, str]) -> LambdaHandler:
    """The handler for a configuration; raises ConfigurationError."""
    return _Follower(FollowerConfig.from_environment(environment))


class _Follower:
    def __init__(self, config: FollowerConfig) -> None:
        self._config = config
        self._clock = time.SystemClock()
        self._telemetry = Telemetry(config.issuing.product, level=config.issuing.log_level)
        clients.observe_calls(self._telemetry.call)
        self._ports = {issuer.name: self._ports_of(issuer) for issuer in config.issuing.issuers}
        self._policies = {issuer.name: wiring.policy(config.issuing, issuer) for issuer in config.issuing.issuers}

    def _ports_of(self, issuer: IssuerSettings) -> FollowingPorts:
        config = self._config
        issuing = wiring.ports(config.issuing, issuer, announces=False)
        ledger = DynamoDbLedger(clients.dynamodb(), table=config.issuing.ledger_table)
        return FollowingPorts(
            announcements=DynamoDbAnnouncements(clients.dynamodb(), table=config.announcements_table),
            records=ledger,
            registration=ForeignCertificates(issuer, issuing.issuer, single_try_clients.iot(), issuing.things),
            connections=IotConnections(clients.iot_data()),
            issuing=issuing,
            retirement=RetirementPorts(ledger=ledger, things=issuing.things),
        )

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Follow each record; the answer names those to deliver again (partial batch response)."""
        try:
            again = [_number(record) for record in event["Records"] if not self._is_done(record, context)]
        finally:
            self._telemetry.flush()
        return {"batchItemFailures": [{"itemIdentifier": number} for number in again]}

    def _is_done(self, record: dict[str, Any], context: Any) -> bool:
        """Whether the record is done. A failed one does not stop the others."""
        device_id, issuer = None, None
        if _is_chain(record):
            return True
        try:
            device_id, issuer = _named(record)
            if issuer not in self._ports:  # an issuer that was removed from this product line
                return True
            done = follow(
                device_id,
                region=self._config.region,
                ports=self._ports[issuer],
                policy=self._policies[issuer],
                clock=self._clock,
                deadline=wiring.deadline(self._clock, context.get_remaining_time_in_millis() / 1000),
            )
        except Exception as error:  # noqa: BLE001 - one record's failure is not the others'
            self._failed(error, device_id, issuer)
            return _is_of_stream(record) and device_id is not None and self._later(device_id, issuer)
        self._report(done, device_id, issuer)
        return True

    def _later(self, device_id: DeviceId, issuer: str | None) -> bool:
        """Put the record into the queue. Returns whether that succeeded."""
        try:
            with aws_call():
                clients.sqs().send_message(
                    QueueUrl=self._config.later_queue_url,
                    MessageBody=json.dumps({"device": str(device_id), "issuer": issuer}),
                    DelaySeconds=_LATER,
                )
        except Exception as error:  # noqa: BLE001 - the stream then delivers it again
            self._failed(error, device_id, issuer)
            return False
        return True

    def _report(self, done: Followed, device_id: DeviceId, issuer: str) -> None:
        if done.outcome is FollowOutcome.NOTHING:
            return
        self._telemetry.log(
            "followed", device_id=device_id, issuer=issuer, certificate_id=done.certificate_id, state=done.outcome
        )
        if done.outcome is FollowOutcome.NOT_PERMITTED:
            return
        self._telemetry.count(Metric.FOLLOWED)
        if done.announced_at is not None:
            lag = self._clock.now() - done.announced_at
            self._telemetry.lag(max(0, round(lag.total_seconds() * 1000)))

    def _failed(self, error: Exception, device_id: DeviceId | None, issuer: str | None) -> None:
        known = error if isinstance(error, SecretFreeError) else None
        self._telemetry.count(Metric.FOLLOW_FAILED)
        self._telemetry.log(
            "not followed yet",
            level=LogLevel.WARNING,
            device_id=device_id,
            issuer=issuer,
            reason=known.reason if known else None,
            detail=known.detail if known else None,
            error_type=type(error).__name__,
        )


def _is_of_stream(record: Mapping[str, Any]) -> bool:
    return record.get("eventSource") != _QUEUE


def _is_chain(record: Mapping[str, Any]) -> bool:
    """Whether it is the item of a CA's chain. The stream's filter leaves these out as well."""
    key = record.get("dynamodb", {}).get("Keys", {}).get(AnnouncementAttribute.DEVICE_ID.value, {}).get("S", "")
    return str(key).startswith(LedgerRecord.CHAIN)


def _named(record: Mapping[str, Any]) -> tuple[DeviceId, str]:
    """The device and the issuer. Raises SecretFreeError, KeyError or ValueError for a record of another form."""
    if _is_of_stream(record):
        keys = record["dynamodb"]["Keys"]
        issuer = keys[AnnouncementAttribute.RECORD.value]["S"].partition("#")[2]
        return DeviceId.parse(keys[AnnouncementAttribute.DEVICE_ID.value]["S"]), issuer
    message = json.loads(record["body"])
    return DeviceId.parse(message["device"]), str(message["issuer"])


def _number(record: Mapping[str, Any]) -> str:
    """The record's identifier for Lambda. A record without one fails the whole batch: Lambda takes no empty id."""
    return str(record.get("messageId") or record.get("dynamodb", {}).get("SequenceNumber", ""))


handler: Final = lambda_handler(build)
