"""The counter of an issuer's tickets: one item of the ledger, changed by atomic updates of single attributes.

Its partition key cannot be a device id, because it contains `#`. One item takes about 1,000 writes a second. Above that
DynamoDB throttles, and the device is answered without a number.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from secretfree.adapters.aws_errors import aws_call, error_code
from secretfree.contract import LedgerAttribute, LedgerRecord
from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.issuance.tickets import TicketQueue

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_GIVEN: Final = "given"
_MISSED: Final = "missed"
_SINCE: Final = "since"
_NUMBERS: Final = ("first", "rate", "throttled-at")
_STEP: Final = "SET #since = :since, #missed = :missed, #n0 = :n0, #n1 = :n1, #n2 = :n2"


class DynamoDbTicketCounter:
    """Port `TicketCounter`. If an answer is lost, no device has its number, and one turn is unused."""

    def __init__(self, client: "DynamoDBClient", *, table: str, issuer: str) -> None:
        self._client = client
        self._table = table
        self._key: Final = {
            LedgerAttribute.DEVICE_ID.value: {"S": LedgerRecord.TICKETS.value},
            LedgerAttribute.RECORD.value: {"S": LedgerRecord.TICKETS + issuer},
        }

    def read(self) -> TicketQueue | None:
        """GetItem, consistent."""
        with aws_call():
            answer = self._client.get_item(TableName=self._table, Key=self._key, ConsistentRead=True)
        return _queue(answer.get("Item", {}))

    def take(self) -> TicketQueue:
        """UpdateItem: ADD 1 to the numbers given."""
        return self._add(_GIVEN)

    def miss(self) -> TicketQueue:
        """UpdateItem: ADD 1 to the turns that were throttled since the last step."""
        return self._add(_MISSED)

    def change(self, seen: TicketQueue | None, queue: TicketQueue) -> bool:
        """UpdateItem on condition that no step was made since `seen`. It does not change the numbers given."""
        values = {":since": _number(queue.since), ":missed": {"N": str(queue.missed)}}
        values |= {":n0": _number(queue.first), ":n1": _number(queue.rate), ":n2": _number(queue.throttled_at)}
        names = {"#since": _SINCE, "#missed": _MISSED} | {f"#n{place}": name for place, name in enumerate(_NUMBERS)}
        condition = "attribute_not_exists(#since)"
        if seen is not None:
            condition = "#since = :seen"
            values[":seen"] = _number(seen.since)
        with aws_call():
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key=self._key,
                    UpdateExpression=_STEP,
                    ConditionExpression=condition,
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=values,
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True

    def _add(self, name: str) -> TicketQueue:
        with aws_call():
            answer = self._client.update_item(
                TableName=self._table,
                Key=self._key,
                UpdateExpression="ADD #count :one",
                ConditionExpression="attribute_exists(#since)",
                ExpressionAttributeNames={"#count": name, "#since": _SINCE},
                ExpressionAttributeValues={":one": {"N": "1"}},
                ReturnValues="ALL_NEW",
            )
        return _read(answer["Attributes"])


def _queue(item: Mapping[str, Any]) -> TicketQueue | None:
    """The queue of the counter's item. SecretFreeError (`internal`) for a damaged item, so that no device waits for it.

    None: the item is not there, or no queue was opened yet.
    """
    return _read(item) if _SINCE in item else None


def _read(item: Mapping[str, Any]) -> TicketQueue:
    try:
        return _parsed(item)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        detail = f"the counter of the tickets cannot be read: {type(error).__name__}: {error}"
        raise SecretFreeError(ErrorCode.INTERNAL, detail, reason=Reason.LEDGER_RECORD) from None


def _parsed(item: Mapping[str, Any]) -> TicketQueue:
    first, rate, throttled_at = (float(item[name]["N"]) for name in _NUMBERS)
    given, missed = (int(item.get(name, {"N": "0"})["N"]) for name in (_GIVEN, _MISSED))
    if rate <= 0 or min(given, missed) < 0:
        raise ValueError("a rate or a count is too small")
    since = float(item[_SINCE]["N"])
    return TicketQueue(given=given, first=first, since=since, rate=rate, missed=missed, throttled_at=throttled_at)


def _number(value: float) -> dict[str, str]:
    """Rounded to a millisecond or a thousandth of a number, so that the stored text compares as equal later."""
    return {"N": f"{value:.3f}"}
