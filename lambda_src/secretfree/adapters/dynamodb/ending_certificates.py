"""Counts the devices of an issuer whose certificate ends soon, in a sparse index and at a bounded cost."""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from secretfree.adapters.aws_errors import aws_call
from secretfree.adapters.dynamodb.dates import date_value
from secretfree.adapters.dynamodb.ledger_items import SHARDS, shard_value
from secretfree.contract import LedgerAttribute, LedgerIndex

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# An entry of the index has some 150 bytes, so a query reads 20 read units at most, whatever the fleet.
MOST_OF_A_SHARD: Final = 1000


def count_ending(client: "DynamoDBClient", *, table: str, issuer: str, after: datetime, until: datetime) -> int:
    """Query, one for each shard: the devices whose certificate ends between `after` and `until`.

    It stops counting at `MOST_OF_A_SHARD` in each shard. Raises ThrottledError, UnreachableError or SecretFreeError.
    """
    counted = 0
    for shard in range(SHARDS):
        with aws_call():
            counted += client.query(
                TableName=table,
                IndexName=LedgerIndex.ENDING,
                Select="COUNT",
                KeyConditionExpression="#ending = :ending AND #at BETWEEN :after AND :until",
                ExpressionAttributeNames={
                    "#ending": LedgerAttribute.ENDING.value,
                    "#at": LedgerAttribute.ENDS_AT.value,
                },
                ExpressionAttributeValues={
                    ":ending": {"S": shard_value(issuer, shard)},
                    ":after": date_value(after),
                    ":until": date_value(until),
                },
                Limit=MOST_OF_A_SHARD,
            )["Count"]
    return counted
