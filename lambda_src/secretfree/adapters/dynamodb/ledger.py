"""The ledger on DynamoDB: one conditional write for each step, the record's version as its condition."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from secretfree.adapters.aws_errors import aws_call, error_code
from secretfree.adapters.dynamodb.dates import date_value
from secretfree.adapters.dynamodb.ledger_items import (
    CERTIFICATE,
    ISSUANCE,
    SHARDS,
    certificate_item,
    issuance_item,
    readable_issuance,
    required_issuance,
    shard_value,
    text_of,
)
from secretfree.adapters.dynamodb.stored_chains import StoredChains
from secretfree.contract import LedgerAttribute, LedgerIndex
from secretfree.errors import SecretFreeError
from secretfree.issuance.chains import Chain
from secretfree.issuance.ports import (
    CertificateRecordState,
    StaleLedgerError,
    ThrottledError,
    UnreachableError,
    UnreadableRecord,
)
from secretfree.issuance.record import Issuance
from secretfree.issuance.states import IssuanceState
from secretfree.request.device_id import DeviceId

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from secretfree.adapters.dynamodb.announcing import Announcing
    from secretfree.revocation.ports import DeviceRecords

_BINDING: Final = "binding"
_CONDITION_FAILED: Final = "ConditionalCheckFailed"


class DynamoDbLedger:
    """Port `Ledger`. `announcing`: announces to the other Regions; None with one Region."""

    def __init__(self, client: "DynamoDBClient", *, table: str, announcing: "Announcing | None" = None) -> None:
        self._client = client
        self._table = table
        self._announcing = announcing
        self._chains = StoredChains(client, table=table)
        self._announced_chains = None if announcing is None else StoredChains(client, table=announcing.table)

    def write(
        self, issuance: Issuance, *, certificate: CertificateRecordState | None = None, connected: bool = False
    ) -> Issuance:
        """PutItem, or TransactWriteItems with the certificate's own record or an announcement.

        The announcement is part of the same transaction, so every certificate of this Region is announced. The chain
        of a certificate that becomes active is stored first. The record has the chain's text until that succeeds.
        """
        if certificate is CertificateRecordState.ACTIVE and issuance.chain is not None:
            with suppress(ThrottledError, UnreachableError, SecretFreeError):
                self._chains.keep(issuance.chain)
        stored = replace(issuance, version=issuance.version + 1)
        item = issuance_item(stored, stored_chains=self._chains.known)
        condition = _condition(issuance)
        with aws_call():
            try:
                if certificate is None and not (connected and self._announcing is not None):
                    self._client.put_item(
                        TableName=self._table, Item=item, ReturnValuesOnConditionCheckFailure="ALL_OLD", **condition
                    )
                else:
                    self._write_all(stored, item, condition, certificate, connected=connected)
            except ClientError as error:
                found = _found_instead(error)
                if found is None:
                    raise
                # The SDK repeats a write whose answer was lost. Finding this worker's own record is then success.
                if found != item:
                    raise StaleLedgerError(required_issuance(found) if found else None) from None
        return stored

    def _write_all(
        self,
        stored: Issuance,
        item: dict[str, Any],
        condition: dict[str, Any],
        state: CertificateRecordState | None,
        *,
        connected: bool,
    ) -> None:
        issuance_put: Any = {
            "TableName": self._table,
            "Item": item,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **condition,
        }
        puts: list[Any] = [issuance_put]
        if state is not None:
            puts.append({"TableName": self._table, "Item": certificate_item(stored, state)})
        if self._announcing is not None:
            self._keep_announced_chain(stored)
            announced = self._announcing.put_of(stored, connected=connected)
            puts += [] if announced is None else [announced]
        self._client.transact_write_items(TransactItems=[{"Put": put} for put in puts])

    def _keep_announced_chain(self, issuance: Issuance) -> None:
        """Store the chain beside the announcements before one names it."""
        chains, chain = self._announced_chains, issuance.chain
        if chains is None or chain is None or issuance.state is not IssuanceState.ACTIVE:
            return
        if chain.digest in chains.known:
            return
        text = self._chains.text(chain.digest) if chain.pem is None else chain.pem
        if text is not None:
            chains.keep(Chain.of(text))

    def chain_text(self, digest: str) -> str | None:
        """GetItem, consistent; no call if this worker knows the chain."""
        return self._chains.text(digest)

    def keep_chain(self, chain: Chain) -> None:
        """GetItem and PutItem; no call if this worker knows the chain."""
        self._chains.keep(chain)

    def read(self, device_id: DeviceId, issuer: str) -> Issuance | None:
        """GetItem, consistent: the device's record at one issuer (port `IssuanceReader`)."""
        item = self._item({"S": device_id}, {"S": ISSUANCE + issuer})
        return required_issuance(item) if item else None

    def of_device(self, device_id: DeviceId) -> "DeviceRecords":
        """Query, consistent: all records of the device at all issuers, including issuers that were removed since."""
        # Imported here, so that the issuers do not load the ports of revocation.
        from secretfree.revocation.ports import DeviceRecords

        issuances: list[Issuance | UnreadableRecord] = []
        references: dict[str, str] = {}
        for item in self._records("#device = :device", {":device": {"S": device_id}}):
            record = item["record"]["S"]
            if record.startswith(ISSUANCE):
                issuances.append(readable_issuance(item))
            elif record.startswith(CERTIFICATE) and (reference := text_of(item, "reference")) is not None:
                references[record.removeprefix(CERTIFICATE)] = reference
        return DeviceRecords(issuances=tuple(issuances), references=references)

    def issuances(self, device_id: DeviceId) -> Sequence[Issuance | UnreadableRecord]:
        """Query, consistent: the device's records at all issuers, without the records of single certificates."""
        condition = "#device = :device AND begins_with(#record, :issuance)"
        values: dict[str, dict[str, str]] = {":device": {"S": device_id}, ":issuance": {"S": ISSUANCE}}
        return [readable_issuance(item) for item in self._records(condition, values)]

    def _records(self, condition: str, values: Mapping[str, Mapping[str, str]]) -> Iterator[Mapping[str, Any]]:
        names = {"#device": "device-id"} | ({"#record": "record"} if "#record" in condition else {})
        start: Any = {}
        while True:
            with aws_call():
                page = self._client.query(
                    TableName=self._table,
                    KeyConditionExpression=condition,
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=values,
                    ConsistentRead=True,
                    **start,
                )
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def bind(self, device_id: DeviceId, fingerprint: str) -> bool:
        """PutItem on condition that no other key is bound."""
        with aws_call():
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item={
                        "device-id": {"S": device_id},
                        "record": {"S": _BINDING},
                        "key-fingerprint": {"S": fingerprint},
                    },
                    ConditionExpression="attribute_not_exists(#fingerprint) OR #fingerprint = :fingerprint",
                    ExpressionAttributeNames={"#fingerprint": "key-fingerprint"},
                    ExpressionAttributeValues={":fingerprint": {"S": fingerprint}},
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True

    def unfinished(self, issuer: str, *, due: datetime, limit: int) -> Sequence[Issuance | UnreadableRecord]:
        """Query the sparse index, which holds only keys, then read each record consistently."""
        keys = [key for shard in range(SHARDS) for key in self._due(shard_value(issuer, shard), due, limit)]
        keys.sort(key=lambda key: int(key["lease-expires"]["N"]))
        items = (self._item(key["device-id"], key["record"]) for key in keys[:limit])
        records = [readable_issuance(item) for item in items if item]
        return [record for record in records if isinstance(record, UnreadableRecord) or _is_due(record, due)]

    def set_aside(self, record: UnreadableRecord, *, until: datetime) -> None:
        """UpdateItem of the index's sort key. The rest of an unreadable record stays as it is."""
        with aws_call():
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key={"device-id": {"S": record.device_id}, "record": {"S": ISSUANCE + record.issuer}},
                    UpdateExpression="SET #due = :until",
                    ConditionExpression="attribute_exists(#pending)",
                    ExpressionAttributeNames={"#due": "lease-expires", "#pending": "pending"},
                    ExpressionAttributeValues={":until": date_value(until)},
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise

    def _due(self, pending: str, due: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        with aws_call():
            return self._client.query(
                TableName=self._table,
                IndexName=LedgerIndex.PENDING,
                KeyConditionExpression="#pending = :pending AND #due <= :due",
                ExpressionAttributeNames={"#pending": "pending", "#due": "lease-expires"},
                ExpressionAttributeValues={":pending": {"S": pending}, ":due": date_value(due)},
                Limit=limit,
            )["Items"]

    def close_certificate(self, device_id: DeviceId, certificate_id: str, *, forget_after: datetime) -> None:
        """UpdateItem of the certificate's record; its time to live is `expires-at`, in epoch seconds."""
        with aws_call():
            self._client.update_item(
                TableName=self._table,
                Key={"device-id": {"S": device_id}, "record": {"S": CERTIFICATE + certificate_id}},
                UpdateExpression="SET #state = :state, #expires = :expires",
                ExpressionAttributeNames={"#state": "state", "#expires": "expires-at"},
                ExpressionAttributeValues={
                    ":state": {"S": CertificateRecordState.SUPERSEDED.value},
                    ":expires": {"N": str(int(forget_after.timestamp()))},
                },
            )

    def close_device(self, device_id: DeviceId, *, forget_after: datetime) -> None:
        """Mark the device's records other than its issuances as history, and delete the binding to its key.

        A record that has an expiry date keeps it.
        """
        for item in self._records("#device = :device", {":device": {"S": device_id}}):
            key = {name: item[name] for name in ("device-id", "record")}
            record = item["record"]["S"]
            if record.startswith(ISSUANCE):
                continue
            with aws_call():
                if record == _BINDING:
                    self._client.delete_item(TableName=self._table, Key=key)
                    continue
                self._client.update_item(
                    TableName=self._table,
                    Key=key,
                    UpdateExpression="SET #expires = if_not_exists(#expires, :expires)",
                    ExpressionAttributeNames={"#expires": LedgerAttribute.EXPIRES_AT.value},
                    ExpressionAttributeValues={":expires": {"N": str(int(forget_after.timestamp()))}},
                )

    def _item(self, device_id: Any, record: Any) -> Mapping[str, Any] | None:
        with aws_call():
            answer = self._client.get_item(
                TableName=self._table, Key={"device-id": device_id, "record": record}, ConsistentRead=True
            )
        return answer.get("Item")


def _is_due(record: Issuance, due: datetime) -> bool:
    return record.due is not None and record.due <= due


def _condition(issuance: Issuance) -> dict[str, Any]:
    if issuance.version == 0:
        return {
            "ConditionExpression": "attribute_not_exists(#record)",
            "ExpressionAttributeNames": {"#record": "record"},
        }
    return {
        "ConditionExpression": "#version = :version",
        "ExpressionAttributeNames": {"#version": "version"},
        "ExpressionAttributeValues": {":version": {"N": str(issuance.version)}},
    }


def _found_instead(error: ClientError) -> Mapping[str, Any] | None:
    """The item that failed the condition; empty if no item exists. None for any other failure."""
    code = error_code(error)
    response: Mapping[str, Any] = error.response
    if code == "ConditionalCheckFailedException":
        return response.get("Item") or {}
    if code == "TransactionCanceledException":
        reasons = response.get("CancellationReasons") or []
        for reason in reasons:
            if reason.get("Code") == _CONDITION_FAILED:
                return reason.get("Item") or {}
        raise ThrottledError(f"{error.operation_name}: {', '.join(str(reason.get('Code')) for reason in reasons)}")
    return None
