"""The registry: the table of devices that may have a certificate."""

from collections.abc import Sequence
from typing import Final, Protocol

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct
from secretfree.contract import RegistryAttribute, RegistryIndex

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.tables import READ_ACTIONS, TABLE_NAME, GrantedTable, require_table_name, string_attribute
from cdk_iot_secretfree.validation import require_match


class IDeviceRegistry(Protocol):
    """A registry of this app, or an imported one."""

    @property
    def table(self) -> dynamodb.ITable:
        """The table itself."""

    @property
    def key_index(self) -> str | None:
        """The index on `key-fingerprint`; None where an imported table has none."""

    @property
    def table_name(self) -> str:
        """Name of the table."""

    def grant_lookup(self, grantee: iam.IGrantable, *, by_key: bool) -> iam.Grant:
        """Let the runtime look up one device, by device id or by key, but list none."""

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal read and list devices."""

    def grant_enroll(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal read, add, change and remove devices: for the factory's importer, never for the runtime."""

    def grant_import(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let `ManifestImport` enrol: read, add, change and remove devices."""


@checks_arguments
class _GrantingRegistry(GrantedTable):
    """The index and the grants of an owned registry and of an imported one."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        key_index: str | None,
    ) -> None:
        super().__init__(scope, id)
        self._key_index = key_index

    @property
    def key_index(self) -> str | None:
        """The index on `key-fingerprint`."""
        return self._key_index

    def grant_lookup(self, grantee: iam.IGrantable, *, by_key: bool) -> iam.Grant:
        """Let the runtime look up one device, by device id or by key, but list none."""
        items = self._grants.read_items(grantee)
        return items.combine(self._grants.query(grantee, self._key_index)) if by_key and self._key_index else items

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal read and list devices."""
        return self._grants.read(grantee)

    def grant_enroll(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal read, add, change and remove devices: for the factory's importer, never for the runtime."""
        return self._grants.write_all(grantee, _ENROLL_ACTIONS)

    def grant_import(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let `ManifestImport` enrol: read, add, change and remove devices."""
        grant = self._grants.write(grantee, _IMPORT_ACTIONS)
        return grant.combine(self._grants.query(grantee, self._key_index)) if self._key_index else grant


@checks_arguments
class DeviceRegistry(_GrantingRegistry):
    """The table of devices that may have a certificate: device id and public key, no secret.

    Retained, encrypted, protected from deletion and restorable to any second of 35 days by default.

    Args:
        scope: the parent.
        id: the construct's id.
        encryption_key: your key, in a stack whose env names account and Region; by default the account's key
            for DynamoDB, managed by AWS.
        removal_policy: what happens to the table when it leaves the stack; RETAIN also protects it from deletion.
        replicas: further Regions of the table, in a stack whose env names its Region; not with `encryption_key`.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        encryption_key: kms.IKey | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN,
        replicas: Sequence[str] = (),
    ) -> None:
        super().__init__(scope, id, RegistryIndex.KEY.value)
        self._create(
            partition_key=RegistryAttribute.DEVICE_ID,
            replicas=replicas,
            indexes=[
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=RegistryIndex.KEY.value,
                    partition_key=string_attribute(RegistryAttribute.KEY_FINGERPRINT),
                    projection_type=dynamodb.ProjectionType.KEYS_ONLY,
                ),
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=RegistryIndex.BATCH.value,
                    partition_key=string_attribute(RegistryAttribute.BATCH),
                    sort_key=string_attribute(RegistryAttribute.DEVICE_ID),
                    projection_type=dynamodb.ProjectionType.KEYS_ONLY,
                ),
            ],
            stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
            encryption_key=encryption_key,
            removal_policy=removal_policy,
        )

    @staticmethod
    def from_table_name(
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        table_name: str,
        *,
        key_index: str | None = None,
        stream_arn: str | None = None,
        encryption_key: kms.IKey | None = None,
    ) -> IDeviceRegistry:
        """Use an existing table in the stack's account and Region, with partition key `device-id` (S).

        Args:
            scope: the parent.
            id: the construct's id.
            table_name: the table's name.
            key_index: the name of its index on `key-fingerprint`, which `MatchPolicy.PUBLIC_KEY` needs.
            stream_arn: the ARN of its stream, with new and old images. Without it, a blocked device gets no new
                certificate, but its existing ones stay active.
            encryption_key: the table's customer-managed key, where it has one.

        Raises:
            InvalidArgumentError: for anything but a table's name.
        """
        require_table_name("table_name", table_name)
        if key_index is not None:
            require_table_name("key_index", key_index, what="an index's name")
        if stream_arn is not None:
            require_match("stream_arn", stream_arn, _STREAM_ARN, "a stream's ARN: arn:...:table/NAME/stream/LABEL")
        return _ImportedRegistry(
            scope,
            id,
            table_name=table_name,
            key_index=key_index,
            stream_arn=stream_arn,
            encryption_key=encryption_key,
        )


class _ImportedRegistry(_GrantingRegistry):
    """A registry from another stack or tool."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        table_name: str,
        key_index: str | None,
        stream_arn: str | None,
        encryption_key: kms.IKey | None,
    ) -> None:
        super().__init__(scope, id, key_index)
        self._import(table_name, stream_arn=stream_arn, encryption_key=encryption_key)


_STREAM_ARN: Final = r"arn:[a-z-]+:dynamodb:[a-z0-9-]+:[0-9]{12}:table/" + TABLE_NAME + r"/stream/[0-9TZ:.-]+"
_ENROLL_ACTIONS: Final = (
    *READ_ACTIONS,
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
