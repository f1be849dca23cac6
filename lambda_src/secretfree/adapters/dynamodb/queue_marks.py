"""The places in the queue, beside the ledger's records: `queued#<issuer>`, each with a time to live."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from secretfree.adapters.aws_errors import aws_call, error_code
from secretfree.adapters.dynamodb.dates import date_of, date_value
from secretfree.errors import ErrorCode
from secretfree.issuance.queueing import MarkState, QueueMark
from secretfree.request.device_id import DeviceId

if TYPE_CHECKING:
    from datetime import datetime

    from mypy_boto3_dynamodb import DynamoDBClient

_QUEUED: Final = "queued#"
# Conditions use `until`. The time to live only removes items, with DynamoDB's delay.
_FREE: Final = "attribute_not_exists(#record) OR #until <= :now"
_STILL_CLAIMED: Final = "#token = :token AND #state = :claimed"
_NOT_TAKEN: Final = "attribute_not_exists(#record) OR #token = :token"


class DynamoDbQueueMarks:
    """Port `QueueMarks`: PutItem on condition, so that it needs no permission beyond the ledger's."""

    def __init__(self, client: "DynamoDBClient", *, table: str) -> None:
        self._client = client
        self._table = table

    def claim(self, mark: QueueMark, *, now: "datetime") -> QueueMark | None:
        """If the SDK repeats a claim whose answer was lost, the claim finds its own item. That is success."""
        item = _item(mark)
        found = self._put(item, _FREE, {"#record": "record", "#until": "until"}, {":now": date_value(now)})
        return None if found is None or found == item else _mark(found)

    def confirm(self, mark: QueueMark) -> None:
        """Does nothing if a worker was faster and settled it."""
        values = {":token": {"S": mark.token}, ":claimed": {"S": MarkState.CLAIMED.value}}
        self._put(_item(mark), _STILL_CLAIMED, {"#token": "token", "#state": "state"}, values)

    def settle(self, mark: QueueMark) -> None:
        """Does nothing if another request has the place."""
        names = {"#record": "record", "#token": "token"}
        self._put(_item(mark), _NOT_TAKEN, names, {":token": {"S": mark.token}})

    def _put(
        self, item: dict[str, Any], condition: str, names: Mapping[str, str], values: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """None when stored; else the item that failed the condition (empty: there is none)."""
        with aws_call():
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression=condition,
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=values,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise
                response: Mapping[str, Any] = error.response
                return response.get("Item") or {}
        return None


def _item(mark: QueueMark) -> dict[str, Any]:
    item: dict[str, Any] = {
        "device-id": {"S": str(mark.device_id)},
        "record": {"S": _QUEUED + mark.issuer},
        "key-fingerprint": {"S": mark.fingerprint},
        "token": {"S": mark.token},
        "state": {"S": mark.state.value},
        "since": date_value(mark.since),
        "until": date_value(mark.until),
        "expires-at": {"N": str(int(mark.until.timestamp()))},
    }
    if mark.refusal is not None:
        item["refusal"] = {"S": mark.refusal.value}
    return item


def _mark(item: Mapping[str, Any]) -> QueueMark:
    return QueueMark(
        device_id=DeviceId.parse(item["device-id"]["S"]),
        issuer=item["record"]["S"].removeprefix(_QUEUED),
        fingerprint=item["key-fingerprint"]["S"],
        token=item["token"]["S"],
        state=MarkState(item["state"]["S"]),
        since=date_of(item, "since"),
        until=date_of(item, "until"),
        refusal=ErrorCode(item["refusal"]["S"]) if "refusal" in item else None,
    )
