"""The device registry and the key bindings on DynamoDB, read only."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from secretfree.errors import ErrorCode, Reason, SecretFreeError, not_authorized
from secretfree.registry.entry import RegistryEntry
from secretfree.request.device_id import DeviceId

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_NAMES: Final = {
    "#device": "device-id",
    "#pubkey": "pubkey",
    "#fingerprint": "key-fingerprint",
    "#status": "status",
    "#earliest": "not-before",
}
# One device is correct, two are a defect. More results change no decision.
_ENOUGH: Final = 3


class DynamoDbRegistry:
    """Port `RegistryReader`. `key_index` is needed for `by_fingerprint` alone."""

    def __init__(self, client: "DynamoDBClient", *, table: str, key_index: str = "") -> None:
        self._client = client
        self._table = table
        self._key_index = key_index

    def by_device_id(self, device_id: DeviceId) -> RegistryEntry | None:
        """One GetItem, consistent, so that a block counts at once."""
        with unavailable(Reason.REGISTRY_UNAVAILABLE):
            answer = self._client.get_item(
                TableName=self._table,
                Key={"device-id": {"S": device_id}},
                ConsistentRead=True,
                ProjectionExpression=", ".join(_NAMES),
                ExpressionAttributeNames=_NAMES,
            )
        item = answer.get("Item")
        return None if item is None else RegistryEntry.from_attributes(_strings(item))

    def by_fingerprint(self, fingerprint: str) -> Sequence[RegistryEntry]:
        """Query the index, which holds only ids and is never consistent, then read each entry."""
        with unavailable(Reason.REGISTRY_UNAVAILABLE):
            answer = self._client.query(
                TableName=self._table,
                IndexName=self._key_index,
                KeyConditionExpression="#fingerprint = :fingerprint",
                ProjectionExpression="#device",
                ExpressionAttributeNames={name: _NAMES[name] for name in ("#device", "#fingerprint")},
                ExpressionAttributeValues={":fingerprint": {"S": fingerprint}},
                Limit=_ENOUGH,
            )
        entries = (self.by_device_id(_recorded_id(item)) for item in answer["Items"])
        return [entry for entry in entries if entry is not None]


class DynamoDbBindings:
    """Port `BindingReader`: the ledger's record `binding`, which the issuer writes with a device's first key."""

    def __init__(self, client: "DynamoDBClient", *, table: str) -> None:
        self._client = client
        self._table = table

    def bound_fingerprint(self, device_id: DeviceId) -> str | None:
        """One GetItem, consistent. A record without a fingerprint gives an empty one, which matches no key."""
        with unavailable(Reason.LEDGER_UNAVAILABLE):
            answer = self._client.get_item(
                TableName=self._table,
                Key={"device-id": {"S": device_id}, "record": {"S": "binding"}},
                ConsistentRead=True,
                ProjectionExpression="#fingerprint",
                ExpressionAttributeNames={"#fingerprint": "key-fingerprint"},
            )
        item = answer.get("Item")
        return None if item is None else _strings(item).get("key-fingerprint", "")


def _recorded_id(item: Mapping[str, Any]) -> DeviceId:
    try:
        return DeviceId.parse(_strings(item).get("device-id", ""))
    except SecretFreeError as error:
        raise not_authorized(f"the record's {error.detail}", reason=Reason.REGISTRY_RECORD) from None


def _strings(item: Mapping[str, Any]) -> dict[str, str]:
    """The attributes as strings. An attribute of another type becomes empty, which no rule accepts."""
    return {name: value.get("S", "") for name, value in item.items()}


@contextmanager
def unavailable(reason: Reason) -> Iterator[None]:
    """Raise what a call of DynamoDB raises as SecretFreeError (`unavailable`)."""
    try:
        yield
    except ClientError as error:
        detail = f"{error.operation_name}: {error.response.get('Error', {}).get('Code', 'unknown')}"
        raise SecretFreeError(ErrorCode.UNAVAILABLE, detail, reason=reason) from None
    except BotoCoreError as error:
        raise SecretFreeError(ErrorCode.UNAVAILABLE, type(error).__name__, reason=reason) from None
