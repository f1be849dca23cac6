"""Rights on the two tables, and what both have in common."""

from collections.abc import Sequence
from typing import Final

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from cdk_iot_secretfree.key_grants import grant_key
from cdk_iot_secretfree.validation import is_token, refuse

READ_ACTIONS: Final = (
    "dynamodb:BatchGetItem",
    "dynamodb:DescribeTable",
    "dynamodb:GetItem",
    "dynamodb:Query",
    "dynamodb:Scan",
)
TABLE_NAME: Final = r"[a-zA-Z0-9_.-]{3,255}"
TABLE_NAME_FORM: Final = "a DynamoDB table's name: 3 to 255 of A-Z a-z 0-9 _ . -"


class TableGrants:
    """Rights on one table, its indexes and its key, where it has one of its own."""

    def __init__(self, table: dynamodb.ITable, encryption_key: kms.IKey | None) -> None:
        self._table = table
        self._encryption_key = encryption_key

    def read(self, grantee: iam.IGrantable, actions: Sequence[str] = READ_ACTIONS) -> iam.Grant:
        """Read the table and its indexes."""
        return self._grant(grantee, actions, f"{self._table.table_arn}/index/*")

    def read_items(self, grantee: iam.IGrantable) -> iam.Grant:
        """Read single items by their key."""
        return self._grant(grantee, ["dynamodb:GetItem"])

    def write(self, grantee: iam.IGrantable, actions: Sequence[str]) -> iam.Grant:
        """Use `actions`, which write, on the table."""
        return self._grant(grantee, actions, writes=True)

    def write_all(self, grantee: iam.IGrantable, actions: Sequence[str]) -> iam.Grant:
        """Use `actions`, which write, on the table, and read its indexes."""
        return self._grant(grantee, actions, f"{self._table.table_arn}/index/*", writes=True)

    def query(self, grantee: iam.IGrantable, index: str) -> iam.Grant:
        """Query one index."""
        return iam.Grant.add_to_principal(
            grantee=grantee, actions=["dynamodb:Query"], resource_arns=[f"{self._table.table_arn}/index/{index}"]
        )

    def _grant(self, grantee: iam.IGrantable, actions: Sequence[str], *indexes: str, writes: bool = False) -> iam.Grant:
        grant_key(self._encryption_key, grantee, service="dynamodb", writes=writes)
        return iam.Grant.add_to_principal(
            grantee=grantee, actions=list(actions), resource_arns=[self._table.table_arn, *indexes]
        )


def string_attribute(name: str) -> dynamodb.Attribute:
    """A text attribute of a key."""
    return dynamodb.Attribute(name=str(name), type=dynamodb.AttributeType.STRING)


def table_encryption(scope: Construct, key: kms.IKey | None) -> dynamodb.TableEncryptionV2:
    """Encryption by your key, or by the account's key for DynamoDB."""
    if key is None:
        return dynamodb.TableEncryptionV2.aws_managed_key()
    if is_token(Stack.of(scope).region):
        # A global table has a key for each Region, so that its template names the Region.
        refuse("encryption_key", key.node.path, "a key in a stack whose env names account and Region")
    return dynamodb.TableEncryptionV2.customer_managed_key(key)


def throttled_requests(table: dynamodb.ITable, period: Duration | None) -> cloudwatch.IMetric:
    """Reads and writes that DynamoDB throttled."""
    return cloudwatch.Metric(
        namespace="AWS/DynamoDB",
        metric_name="ThrottledRequests",
        dimensions_map={"TableName": table.table_name},
        statistic="Sum",
        period=period or Duration.minutes(5),
    )
