"""Calls on the registry's table: batches that retry unprocessed items, and conditional writes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from botocore.exceptions import ClientError

from secretfree.adapters.dynamodb.registry_items import AttributeValue, Item, key_of
from secretfree.contract import RegistryIndex
from secretfree.issuance.rates import Chance, RetryPolicy
from secretfree.registry.store import ChangedMeanwhile, RegistryBusy

KEY_INDEX: Final = RegistryIndex.KEY.value
BATCH_INDEX: Final = RegistryIndex.BATCH.value
BATCH_WRITE_ITEMS: Final = 25
"""Maximum number of items in one BatchWriteItem (DynamoDB API reference)."""
BATCH_GET_KEYS: Final = 100
"""Maximum number of keys in one BatchGetItem."""
EXACT_CHANGES: Final = 25
"""Items of one TransactWriteItems. It accepts 100 items and 4 MB in total: 25 items leave 160 KB for each."""
_PARALLEL_QUERIES: Final = 8
"""Lookups by key at the same time; a Query takes one key."""
_THROTTLED: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "Throttling",
        "InternalServerError",
        "ServiceUnavailable",
    }
)
_RETRIES: Final = RetryPolicy(base=0.05, cap=10.0, attempts=12)
"""Attempts without progress before RegistryBusy: some 30 s on average."""

_CONDITION_FAILED: Final = "ConditionalCheckFailed"
_PASSING: Final = frozenset(
    {"None", _CONDITION_FAILED, "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
)
"""Codes of TransactWriteItems' cancellation reasons (API reference) after which another attempt can succeed."""

T = TypeVar("T")


class RegistryTable:
    """A registry table behind a DynamoDB client (`boto3.client("dynamodb")`; safe to share between threads).

    `key_index` is the name of its index on `key-fingerprint`; `sleep` takes seconds; `chance` draws the jitter.
    """

    def __init__(
        self,
        client: Any,
        name: str,
        *,
        key_index: str = KEY_INDEX,
        sleep: Callable[[float], None] = time.sleep,
        chance: Chance = random.random,
    ) -> None:
        self._client = client
        self._sleep = sleep
        self._chance = chance
        self.name = name
        self.key_index = key_index

    def read_items(self, device_ids: Collection[str]) -> dict[str, Item]:
        """Return the items under the keys `device_ids`, read consistently (BatchGetItem); missing items are left out.

        Raises: RegistryBusy, botocore's ClientError
        """
        found: dict[str, Item] = {}
        for ids in chunks(list(dict.fromkeys(device_ids)), BATCH_GET_KEYS):

            def get(keys: Sequence[Any]) -> Sequence[Any]:
                response = self._client.batch_get_item(
                    RequestItems={self.name: {"Keys": list(keys), "ConsistentRead": True}}
                )
                for item in response["Responses"].get(self.name, []):
                    found[item["device-id"]["S"]] = item
                left: Sequence[Any] = response.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
                return left

            self._until_done(get, [key_of(device_id) for device_id in ids])
        return found

    def holders_of(self, fingerprints: Collection[str]) -> dict[str, set[str]]:
        """Return the devices that hold each key, by the index; keys without a holder are left out.

        The index is eventually consistent, and has only the rows that carry `key-fingerprint`.
        """
        asked = sorted(set(fingerprints))
        if len(asked) <= 1:
            found: Iterable[set[str]] = map(self._holders, asked)
        else:
            with ThreadPoolExecutor(min(len(asked), _PARALLEL_QUERIES)) as pool:
                found = list(pool.map(self._holders, asked))
        return {fingerprint: holders for fingerprint, holders in zip(asked, found, strict=True) if holders}

    def write(self, items: Sequence[Item]) -> None:
        """Put `items` and overwrite existing ones. BatchWriteItem has no conditions, so read the items first.

        Raises: RegistryBusy, botocore's ClientError
        """
        self._batch_write([{"PutRequest": {"Item": item}} for item in items])

    def delete(self, device_ids: Sequence[str]) -> None:
        """Delete the items under `device_ids` without a condition."""
        self._batch_write([{"DeleteRequest": {"Key": key_of(device_id)}} for device_id in device_ids])

    def put_new(self, item: Item) -> None:
        """Put a new item; raises ChangedMeanwhile if the item exists."""
        self._conditional(
            self._client.put_item,
            Item=item,
            ConditionExpression="attribute_not_exists(#id)",
            ExpressionAttributeNames={"#id": "device-id"},
        )

    def put_over(self, item: Item, previous: Item) -> None:
        """Replace the item `previous`; raises ChangedMeanwhile if the stored item differs from it."""
        condition = _same_as(previous)
        self._conditional(self._client.put_item, Item=item, **condition)

    def delete_exactly(self, previous: Item) -> None:
        """Delete an item; raises ChangedMeanwhile if it was changed or deleted since it was read."""
        self._conditional(self._client.delete_item, Key=key_of(previous["device-id"]["S"]), **_same_as(previous))

    def change_exactly(self, pairs: Sequence[tuple[Item, Item | None]]) -> set[str]:
        """Replace each first item by the second, or delete it where that is None, if it is unchanged since its reading.

        Returns the ids of changed items. It uses TransactWriteItems, because BatchWriteItem has no conditions. A failed
        condition cancels the whole transaction, which is then repeated without that item.

        Raises: RegistryBusy, botocore's ClientError
        """
        changed: set[str] = set()

        def change(left: Sequence[tuple[Item, Item | None]]) -> Sequence[tuple[Item, Item | None]]:
            requests = [self._exact_change(previous, item) for previous, item in left]
            try:
                self._client.transact_write_items(TransactItems=requests)
            except ClientError as error:
                codes = _cancellation_codes(error, len(left))
                if not _PASSING.issuperset(codes):
                    raise
                failed = [code == _CONDITION_FAILED for code in codes]
                changed.update(pair[0]["device-id"]["S"] for pair, is_so in zip(left, failed, strict=True) if is_so)
                return [pair for pair, is_so in zip(left, failed, strict=True) if not is_so]
            return ()

        for chunk in chunks(pairs, EXACT_CHANGES):
            self._until_done(change, chunk)
        return changed

    def _exact_change(self, previous: Item, item: Item | None) -> dict[str, Any]:
        if item is None:
            return {"Delete": {"TableName": self.name, "Key": key_of(previous["device-id"]["S"]), **_same_as(previous)}}
        return {"Put": {"TableName": self.name, "Item": item, **_same_as(previous)}}

    def update(self, previous: Item, changes: Mapping[str, AttributeValue], removed: Sequence[str] = ()) -> None:
        """Set and remove single attributes of an item; raises ChangedMeanwhile if it changed since its reading."""
        condition = _same_as(previous)
        names, values = condition["ExpressionAttributeNames"], condition.get("ExpressionAttributeValues", {})
        sets, removes = [], []
        for position, (name, value) in enumerate(changes.items()):
            names[f"#set{position}"], values[f":set{position}"] = name, value
            sets.append(f"#set{position} = :set{position}")
        for position, name in enumerate(removed):
            names[f"#remove{position}"] = name
            removes.append(f"#remove{position}")
        expression = " ".join(
            [*(["SET " + ", ".join(sets)] if sets else []), *(["REMOVE " + ", ".join(removes)] if removes else [])]
        )
        self._conditional(
            self._client.update_item,
            Key=key_of(previous["device-id"]["S"]),
            UpdateExpression=expression,
            **{**condition, "ExpressionAttributeValues": values},
        )

    def change_freely(
        self, device_id: str, expression: str, names: Mapping[str, str], values: Mapping[str, AttributeValue]
    ) -> Item:
        """Apply an update expression to an item, which need not exist, and return the new item.

        If an answer is lost, the expression may be applied twice.
        """
        changed: list[Item] = []

        def change(_: Sequence[str]) -> Sequence[str]:
            response = self._client.update_item(
                TableName=self.name,
                Key=key_of(device_id),
                UpdateExpression=expression,
                ExpressionAttributeNames=names,
                **({"ExpressionAttributeValues": values} if values else {}),
                ReturnValues="ALL_NEW",
            )
            changed.append(response["Attributes"])
            return []

        self._until_done(change, [device_id])
        return changed[0]

    def scan(
        self, *, attributes: Sequence[str] = (), page_size: int | None = None, consistent: bool = False
    ) -> Iterator[Sequence[Item]]:
        """Yield the table's pages, each at most 1 MB, with only the named `attributes` if there are any.

        A `consistent` page includes every write that was acknowledged before its request, at twice the price.
        """
        request: dict[str, Any] = {"TableName": self.name}
        if consistent:
            request["ConsistentRead"] = True
        if attributes:
            request["ProjectionExpression"] = ", ".join(f"#a{position}" for position in range(len(attributes)))
            request["ExpressionAttributeNames"] = {f"#a{position}": name for position, name in enumerate(attributes)}
        if page_size:
            request["Limit"] = page_size
        yield from self._pages(self._client.scan, request)

    def batch_members(self, batch: str) -> Iterator[Sequence[str]]:
        """Yield pages of the ids of the devices of `batch`, by the index (eventually consistent)."""
        request = {
            "TableName": self.name,
            "IndexName": BATCH_INDEX,
            "KeyConditionExpression": "#batch = :batch",
            "ExpressionAttributeNames": {"#batch": "batch"},
            "ExpressionAttributeValues": {":batch": {"S": batch}},
        }
        for page in self._pages(self._client.query, request):
            yield [item["device-id"]["S"] for item in page]

    def indexes(self) -> frozenset[str]:
        """Return the names of the table's indexes that can be queried; tables of existing deployments may have none.

        An index under construction has only some of the rows and answers no Query, so it is left out.
        """
        found = self._described().get("GlobalSecondaryIndexes", [])
        return frozenset(index["IndexName"] for index in found if index.get("IndexStatus", "ACTIVE") == "ACTIVE")

    def arn(self) -> str:
        """Return the table's ARN, which distinguishes tables of one name in different accounts."""
        return str(self._described()["TableArn"])

    def item_count(self) -> int:
        """Return the approximate number of items (DescribeTable; DynamoDB updates it every six hours)."""
        return int(self._described().get("ItemCount", 0))

    def _holders(self, fingerprint: str) -> set[str]:
        response = self._client.query(
            TableName=self.name,
            IndexName=self.key_index,
            KeyConditionExpression="#fingerprint = :fingerprint",
            ExpressionAttributeNames={"#fingerprint": "key-fingerprint"},
            ExpressionAttributeValues={":fingerprint": {"S": fingerprint}},
        )
        return {item["device-id"]["S"] for item in response["Items"]}

    def _described(self) -> Mapping[str, Any]:
        described: Mapping[str, Any] = self._client.describe_table(TableName=self.name)["Table"]
        return described

    def _pages(self, operation: Callable[..., Any], request: dict[str, Any]) -> Iterator[Sequence[Item]]:
        while True:
            response = operation(**request)
            yield response["Items"]
            if "LastEvaluatedKey" not in response:
                return
            request = {**request, "ExclusiveStartKey": response["LastEvaluatedKey"]}

    def _batch_write(self, requests: Sequence[Any]) -> None:
        for chunk in chunks(requests, BATCH_WRITE_ITEMS):

            def write(left: Sequence[Any]) -> Sequence[Any]:
                response = self._client.batch_write_item(RequestItems={self.name: list(left)})
                unprocessed: Sequence[Any] = response.get("UnprocessedItems", {}).get(self.name, [])
                return unprocessed

            self._until_done(write, chunk)

    def _until_done(self, attempt: Callable[[Sequence[T]], Sequence[T]], work: Sequence[T]) -> None:
        """Call `attempt` with the remaining work until none is left, with pauses of full jitter.

        Only attempts without any progress count against the limit, because a slow table may still finish.
        """
        fruitless = 0
        while work:
            try:
                left = attempt(work)
            except ClientError as error:
                if error.response["Error"].get("Code") not in _THROTTLED:
                    raise
                left = work
            if left:
                fruitless = fruitless + 1 if len(left) >= len(work) else 0
                if fruitless >= _RETRIES.attempts:
                    raise RegistryBusy(f"table {self.name} accepted nothing in {fruitless} attempts")
                self._sleep(_RETRIES.delay(fruitless, self._chance))
            work = left

    def _conditional(self, operation: Callable[..., Any], **request: Any) -> None:
        try:
            operation(TableName=self.name, **request)
        except ClientError as error:
            if error.response["Error"].get("Code") != "ConditionalCheckFailedException":
                raise
            raise ChangedMeanwhile("the item changed after it was read") from error


def chunks(work: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut `work` into runs of at most `size`."""
    for start in range(0, len(work), size):
        yield work[start : start + size]


def _cancellation_codes(error: ClientError, count: int) -> Sequence[str]:
    """Return why each of a transaction's `count` items was not written; raises errors without such reasons."""
    reasons: Sequence[Any] = error.response.get("CancellationReasons", ())
    if error.response["Error"].get("Code") != "TransactionCanceledException" or len(reasons) != count:
        raise error
    return [reason.get("Code", "None") for reason in reasons]


def _same_as(previous: Item) -> dict[str, Any]:
    """Return the condition that an item still has the key, status and batch of `previous`."""
    names, values, terms = {}, {}, []
    for position, name in enumerate(("device-id", "pubkey", "key-fingerprint", "status", "batch")):
        names[f"#was{position}"] = name
        if name in previous:
            values[f":was{position}"] = previous[name]
            terms.append(f"#was{position} = :was{position}")
        else:
            terms.append(f"attribute_not_exists(#was{position})")
    return {
        "ConditionExpression": " AND ".join(terms),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }
