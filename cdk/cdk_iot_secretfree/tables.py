"""The two tables: the registry says who may have a certificate, the ledger what was issued."""

from collections.abc import Sequence
from typing import Final, Protocol

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct
from secretfree.contract import LedgerAttribute, LedgerIndex, RegistryAttribute, RegistryIndex

from cdk_iot_secretfree.validation import is_token, refuse, require_match, require_removal_policy

_TABLE_NAME: Final = r"[a-zA-Z0-9_.-]{3,255}"
_TABLE_NAME_FORM: Final = "a DynamoDB table's name: 3 to 255 of A-Z a-z 0-9 _ . -"


class IDeviceRegistry(Protocol):
    """A registry, made here or brought along."""

    @property
    def table(self) -> dynamodb.ITable:
        """The table itself."""

    @property
    def key_index(self) -> str | None:
        """The index on `key-fingerprint`; None where a brought table has none."""

    @property
    def table_name(self) -> str:
        """Name of the table."""

    def grant_lookup(self, grantee: iam.IGrantable, *, by_key: bool) -> iam.Grant:
        """Let the runtime look up one device, by device id or by key. Nothing can be listed with it."""

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal read and list devices."""

    def grant_enroll(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal read, add, change and remove devices: for the factory's importer, never for the runtime."""

    def grant_import(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let `ManifestImport` enrol: as `grant_enroll`, but it can list nothing."""


class DeviceRegistry(Construct):
    """The table of devices that may have a certificate: device id and public key, no secret.

    Retained, encrypted, protected from deletion and restorable to any second of 35 days by default.

    Args:
        scope: the parent.
        id: the construct's id.
        encryption_key: a key of yours, in a stack whose env names account and Region; by default the account's key
            for DynamoDB, managed by AWS.
        removal_policy: what happens to the table when it leaves the stack; RETAIN also protects it from deletion.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        encryption_key: kms.IKey | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN,
    ) -> None:
        super().__init__(scope, id)
        require_removal_policy(removal_policy)
        self._encryption_key = encryption_key
        self._table = dynamodb.TableV2(
            self,
            "Resource",
            partition_key=_string(RegistryAttribute.DEVICE_ID),
            global_secondary_indexes=[
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=RegistryIndex.KEY.value,
                    partition_key=_string(RegistryAttribute.KEY_FINGERPRINT),
                    projection_type=dynamodb.ProjectionType.KEYS_ONLY,
                ),
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=RegistryIndex.BATCH.value,
                    partition_key=_string(RegistryAttribute.BATCH),
                    sort_key=_string(RegistryAttribute.DEVICE_ID),
                    projection_type=dynamodb.ProjectionType.KEYS_ONLY,
                ),
            ],
            billing=dynamodb.Billing.on_demand(),
            encryption=_encryption(self, encryption_key),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            # A protected table could not be taken back where the deployment that makes it fails.
            deletion_protection=removal_policy is RemovalPolicy.RETAIN,
            removal_policy=removal_policy,
        )

    @property
    def table(self) -> dynamodb.ITable:
        """The table itself."""
        return self._table

    @property
    def table_name(self) -> str:
        """Name of the table."""
        return self._table.table_name

    @property
    def key_index(self) -> str | None:
        """The index on `key-fingerprint`."""
        return RegistryIndex.KEY.value

    def grant_lookup(self, grantee: iam.IGrantable, *, by_key: bool) -> iam.Grant:
        """Let the runtime look up one device, by device id or by key. Nothing can be listed with it."""
        return _grant_lookup(self._table, grantee, RegistryIndex.KEY if by_key else None, self._encryption_key)

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal read and list devices."""
        return _grant(self._table, grantee, _READ_ACTIONS, self._encryption_key)

    def grant_enroll(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal read, add, change and remove devices: for the factory's importer, never for the runtime."""
        return _grant(self._table, grantee, _ENROLL_ACTIONS, self._encryption_key, writes=True)

    def grant_import(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let `ManifestImport` enrol: as `grant_enroll`, but it can list nothing."""
        return _grant_import(self._table, grantee, RegistryIndex.KEY, self._encryption_key)

    def metric_throttled_requests(self, *, period: Duration | None = None) -> cloudwatch.IMetric:
        """Reads and writes that DynamoDB throttled."""
        return _throttled(self._table, period)

    @staticmethod
    def from_table_name(
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        table_name: str,
        *,
        key_index: str | None = None,
        encryption_key: kms.IKey | None = None,
    ) -> IDeviceRegistry:
        """A table that exists already, in the stack's account and Region, with partition key `device-id` (S).

        Args:
            scope: the parent.
            id: the construct's id.
            table_name: the table's name.
            key_index: the name of its index on `key-fingerprint`, which `MatchPolicy.PUBLIC_KEY` needs.
            encryption_key: the table's customer-managed key, where it has one.

        Raises:
            InvalidArgumentError: for what is no table's name.
        """
        require_match("table_name", table_name, _TABLE_NAME, _TABLE_NAME_FORM)
        if key_index is not None:
            require_match("key_index", key_index, _TABLE_NAME, "an index's name: 3 to 255 of A-Z a-z 0-9 _ . -")
        return _BroughtRegistry(scope, id, table_name=table_name, key_index=key_index, encryption_key=encryption_key)


class IssuanceLedger(Construct):
    """The table of what was issued: the lease that serialises requests, the steps done, the certificates.

    Apart from the registry, so that the issuer cannot change who is allowed.

    Args:
        scope: the parent.
        id: the construct's id.
        encryption_key: a key of yours, in a stack whose env names account and Region; by default the account's key
            for DynamoDB, managed by AWS.
        removal_policy: what happens to the table when it leaves the stack; RETAIN also protects it from deletion.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        encryption_key: kms.IKey | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN,
    ) -> None:
        super().__init__(scope, id)
        require_removal_policy(removal_policy)
        self._encryption_key = encryption_key
        self._table = dynamodb.TableV2(
            self,
            "Resource",
            partition_key=_string(LedgerAttribute.DEVICE_ID),
            sort_key=_string(LedgerAttribute.RECORD),
            time_to_live_attribute=LedgerAttribute.EXPIRES_AT.value,
            global_secondary_indexes=[
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=LedgerIndex.PENDING.value,
                    partition_key=_string(LedgerAttribute.PENDING),
                    sort_key=dynamodb.Attribute(
                        name=LedgerAttribute.LEASE_EXPIRES.value, type=dynamodb.AttributeType.NUMBER
                    ),
                    projection_type=dynamodb.ProjectionType.KEYS_ONLY,
                ),
            ],
            billing=dynamodb.Billing.on_demand(),
            encryption=_encryption(self, encryption_key),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            # A protected table could not be taken back where the deployment that makes it fails.
            deletion_protection=removal_policy is RemovalPolicy.RETAIN,
            removal_policy=removal_policy,
        )

    @property
    def table(self) -> dynamodb.ITable:
        """The table itself."""
        return self._table

    @property
    def table_name(self) -> str:
        """Name of the table."""
        return self._table.table_name

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal read and list what was issued."""
        return _grant(self._table, grantee, _READ_ACTIONS, self._encryption_key)

    def grant_read_bindings(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the authorizer read the key that a device id is bound to (`MatchPolicy.UDID`)."""
        return _grant_lookup(self._table, grantee, None, self._encryption_key)

    def grant_record(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let an issuer record each step. It reads a record only through the condition that its write fails on."""
        return _grant(self._table, grantee, _STEP_ACTIONS, self._encryption_key, writes=True, indexes=False)

    def grant_queue(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the front of `IssuanceMode.queued()` read what was issued, and mark who waits."""
        return _grant(self._table, grantee, _QUEUE_ACTIONS, self._encryption_key, writes=True, indexes=False)

    def grant_sweep(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the sweeper find the unfinished issuances, and finish or close them."""
        return _grant_query(self._table, grantee, LedgerIndex.PENDING).combine(
            _grant(self._table, grantee, _SWEEP_ACTIONS, self._encryption_key, writes=True, indexes=False)
        )

    def metric_throttled_requests(self, *, period: Duration | None = None) -> cloudwatch.IMetric:
        """Reads and writes that DynamoDB throttled."""
        return _throttled(self._table, period)


class _BroughtRegistry(Construct):
    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        table_name: str,
        key_index: str | None,
        encryption_key: kms.IKey | None,
    ) -> None:
        super().__init__(scope, id)
        self._table = dynamodb.TableV2.from_table_name(self, "Resource", table_name)
        self._key_index = key_index
        self._encryption_key = encryption_key

    @property
    def table(self) -> dynamodb.ITable:
        return self._table

    @property
    def table_name(self) -> str:
        return self._table.table_name

    @property
    def key_index(self) -> str | None:
        return self._key_index

    def grant_lookup(self, grantee: iam.IGrantable, *, by_key: bool) -> iam.Grant:
        return _grant_lookup(self._table, grantee, self._key_index if by_key else None, self._encryption_key)

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        return _grant(self._table, grantee, _READ_ACTIONS, self._encryption_key)

    def grant_enroll(self, grantee: iam.IGrantable) -> iam.Grant:
        return _grant(self._table, grantee, _ENROLL_ACTIONS, self._encryption_key, writes=True)

    def grant_import(self, grantee: iam.IGrantable) -> iam.Grant:
        return _grant_import(self._table, grantee, self._key_index, self._encryption_key)


_READ_ACTIONS: Final = (
    "dynamodb:BatchGetItem",
    "dynamodb:DescribeTable",
    "dynamodb:GetItem",
    "dynamodb:Query",
    "dynamodb:Scan",
)
_ENROLL_ACTIONS: Final = (
    *_READ_ACTIONS,
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:DeleteItem",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
)
_IMPORT_ACTIONS: Final = (
    "dynamodb:BatchGetItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:DeleteItem",
    "dynamodb:DescribeTable",
    "dynamodb:PutItem",
    "dynamodb:Scan",
    "dynamodb:UpdateItem",
)
_STEP_ACTIONS: Final = ("dynamodb:PutItem",)
_QUEUE_ACTIONS: Final = ("dynamodb:GetItem", "dynamodb:PutItem")
_SWEEP_ACTIONS: Final = ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem")


def _string(name: RegistryAttribute | LedgerAttribute) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name.value, type=dynamodb.AttributeType.STRING)


def _encryption(scope: Construct, key: kms.IKey | None) -> dynamodb.TableEncryptionV2:
    if key is None:
        return dynamodb.TableEncryptionV2.aws_managed_key()
    if is_token(Stack.of(scope).region):
        # A global table has a key for each Region, so that its template names the Region.
        refuse("encryption_key", key.node.path, "a key in a stack whose env names account and Region")
    return dynamodb.TableEncryptionV2.customer_managed_key(key)


def _grant(
    table: dynamodb.ITable,
    grantee: iam.IGrantable,
    actions: Sequence[str],
    key: kms.IKey | None,
    *,
    writes: bool = False,
    indexes: bool = True,
) -> iam.Grant:
    if key is not None:
        (key.grant_encrypt_decrypt if writes else key.grant_decrypt)(grantee)
    resources = [table.table_arn, *([f"{table.table_arn}/index/*"] if indexes else [])]
    return iam.Grant.add_to_principal(grantee=grantee, actions=list(actions), resource_arns=resources)


def _grant_lookup(
    table: dynamodb.ITable, grantee: iam.IGrantable, index: str | None, key: kms.IKey | None
) -> iam.Grant:
    if index is not None:
        _grant_query(table, grantee, index)
    return _grant(table, grantee, ["dynamodb:GetItem"], key, indexes=False)


def _grant_import(
    table: dynamodb.ITable, grantee: iam.IGrantable, index: str | None, key: kms.IKey | None
) -> iam.Grant:
    if index is not None:
        _grant_query(table, grantee, index)
    return _grant(table, grantee, _IMPORT_ACTIONS, key, writes=True, indexes=False)


def _grant_query(table: dynamodb.ITable, grantee: iam.IGrantable, index: str) -> iam.Grant:
    return iam.Grant.add_to_principal(
        grantee=grantee, actions=["dynamodb:Query"], resource_arns=[f"{table.table_arn}/index/{index}"]
    )


def _throttled(table: dynamodb.ITable, period: Duration | None) -> cloudwatch.IMetric:
    return cloudwatch.Metric(
        namespace="AWS/DynamoDB",
        metric_name="ThrottledRequests",
        dimensions_map={"TableName": table.table_name},
        statistic="Sum",
        period=period or Duration.minutes(5),
    )
