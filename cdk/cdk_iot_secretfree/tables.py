"""The common part of registry and ledger: how their tables are made, and the grants on them."""

from collections.abc import Sequence
from typing import Final

import jsii
from aws_cdk import Aspects, CfnDeletionPolicy, Duration, IAspect, PhysicalName, RemovalPolicy, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct, IConstruct

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.grants import grant_to_principal
from cdk_iot_secretfree.key_grants import grant_key
from cdk_iot_secretfree.validation import is_token, refuse, require_match, require_removal_policy

READ_ACTIONS: Final = (
    "dynamodb:BatchGetItem",
    "dynamodb:DescribeTable",
    "dynamodb:GetItem",
    "dynamodb:Query",
    "dynamodb:Scan",
)
TABLE_NAME: Final = r"[a-zA-Z0-9_.-]{3,255}"


class TableGrants:
    """Rights on one table, its indexes and its customer-managed key, if it has one."""

    def __init__(self, table: dynamodb.ITable, encryption_key: kms.IKey | None) -> None:
        self._table = table
        self._encryption_key = encryption_key

    def read(self, grantee: iam.IGrantable, actions: Sequence[str] = READ_ACTIONS) -> iam.Grant:
        """Read the table and its indexes."""
        return self._grant(grantee, actions, f"{self._table.table_arn}/index/*")

    def read_items(self, grantee: iam.IGrantable) -> iam.Grant:
        """Read single items by their key."""
        return self._grant(grantee, ["dynamodb:GetItem"])

    def read_partition(self, grantee: iam.IGrantable) -> iam.Grant:
        """Query the table's items by their partition key."""
        return self._grant(grantee, ["dynamodb:Query"])

    def write(self, grantee: iam.IGrantable, actions: Sequence[str]) -> iam.Grant:
        """Use `actions`, which write, on the table."""
        return self._grant(grantee, actions, writes=True)

    def write_key(self, grantee: iam.IGrantable, key: str, actions: Sequence[str]) -> iam.Grant:
        """Use `actions`, which write, on the items of one partition key."""
        return grant_to_principal(
            self._table,
            grantee,
            actions=actions,
            resources=[self._table.table_arn],
            conditions={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [key]}},
        )

    def write_all(self, grantee: iam.IGrantable, actions: Sequence[str]) -> iam.Grant:
        """Use `actions`, which write, on the table, and read its indexes."""
        return self._grant(grantee, actions, f"{self._table.table_arn}/index/*", writes=True)

    def query(self, grantee: iam.IGrantable, index: str) -> iam.Grant:
        """Query one index."""
        index_arn = f"{self._table.table_arn}/index/{index}"
        return grant_to_principal(self._table, grantee, actions=["dynamodb:Query"], resources=[index_arn])

    def _grant(self, grantee: iam.IGrantable, actions: Sequence[str], *indexes: str, writes: bool = False) -> iam.Grant:
        grant_key(self._encryption_key, grantee, service="dynamodb", writes=writes)
        return grant_to_principal(self._table, grantee, actions=actions, resources=[self._table.table_arn, *indexes])


@checks_arguments
class GrantedTable(Construct):
    """A table of this stack or of another one, under the id `Resource`, and the rights on it."""

    def __init__(self, scope: Construct, id: str) -> None:  # noqa: A002 - the name that every construct has
        super().__init__(scope, id)
        self._table: dynamodb.ITable
        self._grants: TableGrants

    @property
    def table(self) -> dynamodb.ITable:
        """The table itself."""
        return self._table

    @property
    def table_name(self) -> str:
        """Name of the table."""
        return self._table.table_name

    def metric_throttled_requests(self, *, period: Duration | None = None) -> cloudwatch.Metric:
        """Reads and writes that DynamoDB throttled."""
        return cloudwatch.Metric(
            namespace="AWS/DynamoDB",
            metric_name="ThrottledRequests",
            dimensions_map={"TableName": self.table_name},
            statistic="Sum",
            period=period or Duration.minutes(5),
        )

    def _create(
        self,
        *,
        partition_key: str,
        sort_key: str | None = None,
        indexes: Sequence[dynamodb.GlobalSecondaryIndexPropsV2],
        time_to_live_attribute: str | None = None,
        stream: dynamodb.StreamViewType | None = None,
        encryption_key: kms.IKey | None,
        removal_policy: RemovalPolicy,
        replicas: Sequence[str] = (),
    ) -> None:
        require_removal_policy(removal_policy)
        if replicas and encryption_key is not None:
            refuse("encryption_key", encryption_key.node.path, "none with replicas, whose keys are AWS's own")
        if replicas and is_token(Stack.of(self).region):
            refuse("replicas", list(replicas), "replicas in a stack whose env names its Region")
        self._table = dynamodb.TableV2(
            self,
            "Resource",
            # The stacks of the other Regions name the table.
            table_name=PhysicalName.GENERATE_IF_NEEDED if replicas else None,
            replicas=[dynamodb.ReplicaTableProps(region=region) for region in replicas] or None,
            partition_key=string_attribute(partition_key),
            sort_key=None if sort_key is None else string_attribute(sort_key),
            global_secondary_indexes=list(indexes),
            time_to_live_attribute=time_to_live_attribute,
            dynamo_stream=stream,
            billing=dynamodb.Billing.on_demand(),
            encryption=_encryption(self, encryption_key),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            # If the deployment that creates a protected table fails, CloudFormation could not delete the table again.
            deletion_protection=removal_policy is RemovalPolicy.RETAIN,
            removal_policy=removal_policy,
        )
        protect_while_kept(self._table)
        self._grants = TableGrants(self._table, encryption_key)

    def _import(self, table_name: str, *, stream_arn: str | None = None, encryption_key: kms.IKey | None) -> None:
        self._table = dynamodb.TableV2.from_table_attributes(
            self, "Resource", table_name=table_name, table_stream_arn=stream_arn
        )
        self._grants = TableGrants(self._table, encryption_key)


def protect_while_kept(table: dynamodb.TableV2) -> None:
    """Remove the deletion protection where `RemovalPolicies.of(scope).destroy()` applies to the table."""
    Aspects.of(table).add(_ProtectionFollows())


@jsii.implements(IAspect)
class _ProtectionFollows:
    """Runs after aspects with the default priority, so it sees the removal policy that they set."""

    def visit(self, node: IConstruct) -> None:
        if isinstance(node, dynamodb.CfnGlobalTable) and node.cfn_options.deletion_policy is CfnDeletionPolicy.DELETE:
            replicas = Stack.of(node).resolve(node.replicas)
            for number in range(len(replicas)):
                node.add_property_override(f"Replicas.{number}.DeletionProtectionEnabled", value=False)


def require_table_name(argument: str, value: str, *, what: str = "a DynamoDB table's name") -> str:
    """Return the name if it is valid for a table or an index of DynamoDB."""
    return require_match(argument, value, TABLE_NAME, f"{what}: 3 to 255 of A-Z a-z 0-9 _ . -")


def string_attribute(name: str) -> dynamodb.Attribute:
    """A text attribute of a key."""
    return dynamodb.Attribute(name=str(name), type=dynamodb.AttributeType.STRING)


def _encryption(scope: Construct, key: kms.IKey | None) -> dynamodb.TableEncryptionV2:
    """Encryption by your key, or by the account's key for DynamoDB."""
    if key is None:
        return dynamodb.TableEncryptionV2.aws_managed_key()
    if is_token(Stack.of(scope).region):
        # A global table has a key in each Region, so its template must name the Region.
        refuse("encryption_key", key.node.path, "a key in a stack whose env names account and Region")
    return dynamodb.TableEncryptionV2.customer_managed_key(key)
