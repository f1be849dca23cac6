"""The ledger: the table of what was issued."""

import json
from collections.abc import Mapping
from typing import Final, Protocol

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct
from secretfree.contract import LedgerAttribute, LedgerIndex, LedgerRecord, Variable

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.membership import RegionMembership
from cdk_iot_secretfree.tables import READ_ACTIONS, TABLE_NAME, GrantedTable, require_table_name, string_attribute
from cdk_iot_secretfree.validation import require_match


class IIssuanceLedger(Protocol):
    """A ledger of this app, or an imported one."""

    @property
    def table(self) -> dynamodb.ITable:
        """The table itself."""

    @property
    def table_name(self) -> str:
        """Name of the table."""

    @property
    def deployment_id(self) -> str:
        """Distinguishes this ledger's requests to a CA from those of other ledgers: the ARN of its first table."""

    @property
    def environment(self) -> Mapping[Variable, str]:
        """The environment of a function that writes the ledger, apart from the table's name."""

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal read and list what was issued."""

    def grant_read_bindings(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a function read single records: the key that a device id is bound to, the state of a certificate."""

    def grant_record(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let an issuer record each step."""

    def grant_follow(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the follower read one device's records, and record certificates of other Regions."""

    def grant_sweep(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the sweeper find the unfinished issuances, and finish or close them."""

    def grant_revoke(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the revoker read one device's records, and record revocations."""

    def grant_retire(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the retirer read one device's records, and record retired certificates."""

    def grant_operate(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let an operator read all records, request renewals, and mark a retired device's records as history."""


@checks_arguments
class _GrantingLedger(GrantedTable):
    """The grants of an owned ledger and of an imported one."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        deployment_id: str | None = None,
        membership: RegionMembership | None = None,
    ) -> None:
        super().__init__(scope, id)
        self._deployment_id = deployment_id
        self._membership = membership

    @property
    def deployment_id(self) -> str:
        """Distinguishes this ledger's requests to a CA from those of other ledgers: the ARN of its first table.

        The ledgers of one product line in several Regions share it.
        """
        shared = None if self._membership is None else self._membership.deployment_id
        return self._deployment_id or shared or self._table.table_arn

    @property
    def environment(self) -> Mapping[Variable, str]:
        """The environment of a function that writes the ledger, apart from the table's name."""
        if self._membership is None:
            return {}
        return {
            Variable.ANNOUNCEMENTS_TABLE: self._membership.announcements_table,
            Variable.REGIONS: json.dumps(self._membership.regions),
        }

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal read and list what was issued."""
        return self._grants.read(grantee)

    def grant_read_bindings(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a function read single records: the key that a device id is bound to, the state of a certificate."""
        return self._grants.read_items(grantee)

    def grant_record(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let an issuer read and record each step, and count only on the tickets' item."""
        grant = self._grants.write(grantee, ["dynamodb:GetItem", "dynamodb:PutItem"])
        counted = self._grants.write_key(grantee, LedgerRecord.TICKETS.value, ["dynamodb:UpdateItem"])
        return self._announcing(grantee, grant.combine(counted))

    def grant_follow(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the follower read one device's records, and record certificates that other Regions issued or retired."""
        return self._grants.write(grantee, ["dynamodb:GetItem", *_RETIRE_ACTIONS])

    def grant_sweep(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the sweeper find the unfinished issuances, and finish or close them."""
        swept = self._grants.write(grantee, _SWEEP_ACTIONS)
        for index in LedgerIndex:
            swept = swept.combine(self._grants.query(grantee, index))
        return self._announcing(grantee, swept)

    def grant_revoke(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the revoker read one device's records, and record revocations."""
        grant = self._grants.write(grantee, ["dynamodb:PutItem", "dynamodb:Query"])
        return grant if self._membership is None else grant.combine(self._membership.grants.announce(grantee))

    def _announcing(self, grantee: iam.IGrantable, grant: iam.Grant) -> iam.Grant:
        """Let the function announce certificates in use to the other Regions, where there are any."""
        if self._membership is None:
            return grant
        return grant.combine(self._membership.grants.announce_with_chain(grantee))

    def grant_retire(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the retirer read one device's records, and record retired certificates."""
        # A retirement is announced with the chain of the certificate in use.
        reads_chains = () if self._membership is None else ("dynamodb:GetItem",)
        return self._announcing(grantee, self._grants.write(grantee, [*reads_chains, *_RETIRE_ACTIONS]))

    def grant_operate(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let an operator read all records, request renewals, and mark a retired device's records as history."""
        return self._grants.write(grantee, _OPERATE_ACTIONS)


@checks_arguments
class IssuanceLedger(_GrantingLedger):
    """The table of what was issued: the lease that serialises requests, the steps done, the certificates.

    It is separate from the registry, so that an issuer cannot change which devices are allowed.

    Args:
        scope: the parent.
        id: the construct's id.
        encryption_key: your key, in a stack whose env names account and Region; by default the account's key
            for DynamoDB, managed by AWS.
        removal_policy: what happens to the table when it leaves the stack; RETAIN also protects it from deletion.
        membership: of a `RegionStack`, for a product line of several Regions.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        encryption_key: kms.IKey | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN,
        membership: RegionMembership | None = None,
    ) -> None:
        super().__init__(scope, id, membership=membership)
        self._create(
            partition_key=LedgerAttribute.DEVICE_ID,
            sort_key=LedgerAttribute.RECORD,
            time_to_live_attribute=LedgerAttribute.EXPIRES_AT.value,
            indexes=[
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=LedgerIndex.PENDING.value,
                    partition_key=string_attribute(LedgerAttribute.PENDING),
                    sort_key=dynamodb.Attribute(
                        name=LedgerAttribute.LEASE_EXPIRES.value, type=dynamodb.AttributeType.NUMBER
                    ),
                    projection_type=dynamodb.ProjectionType.KEYS_ONLY,
                ),
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=LedgerIndex.ENDING.value,
                    partition_key=string_attribute(LedgerAttribute.ENDING),
                    sort_key=dynamodb.Attribute(name=LedgerAttribute.ENDS_AT.value, type=dynamodb.AttributeType.NUMBER),
                    projection_type=dynamodb.ProjectionType.KEYS_ONLY,
                ),
            ],
            encryption_key=encryption_key,
            removal_policy=removal_policy,
        )

    @staticmethod
    def from_table_name(
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        table_name: str,
        *,
        deployment_id: str | None = None,
        encryption_key: kms.IKey | None = None,
        membership: RegionMembership | None = None,
    ) -> IIssuanceLedger:
        """Use an existing ledger in the stack's account and Region, for example one restored from a backup.

        The table needs the keys, the indexes and the time to live of a ledger of this library. Two product lines must
        not share a ledger: each would finish or delete the other's issuances.

        Args:
            scope: the parent.
            id: the construct's id.
            table_name: the table's name.
            deployment_id: for a restored table, the ARN of the ledger's first table. Requests to the CA then carry the
                same idempotency tokens as before, so a request that was under way is completed and not repeated. By
                default this table's own ARN.
            encryption_key: the table's customer-managed key, where it has one.
            membership: of a `RegionStack`, for a product line of several Regions.

        Raises:
            InvalidArgumentError: for an invalid table name or ARN.
        """
        require_table_name("table_name", table_name)
        if deployment_id is not None:
            require_match("deployment_id", deployment_id, _TABLE_ARN, _TABLE_ARN_FORM)
        return _ImportedLedger(
            scope,
            id,
            table_name=table_name,
            deployment_id=deployment_id,
            encryption_key=encryption_key,
            membership=membership,
        )


class _ImportedLedger(_GrantingLedger):
    """A ledger from another stack or from a restore."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        table_name: str,
        deployment_id: str | None,
        encryption_key: kms.IKey | None,
        membership: RegionMembership | None,
    ) -> None:
        super().__init__(scope, id, deployment_id, membership)
        self._import(table_name, encryption_key=encryption_key)


_TABLE_ARN: Final = rf"arn:[a-z-]+:dynamodb:[a-z0-9-]+:[0-9]{{12}}:table/{TABLE_NAME}"
_TABLE_ARN_FORM: Final = "a DynamoDB table's ARN: arn:aws:dynamodb:REGION:ACCOUNT:table/NAME"
_OPERATE_ACTIONS: Final = (
    *READ_ACTIONS,
    "dynamodb:DeleteItem",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
)
_RETIRE_ACTIONS: Final = ("dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem")
_SWEEP_ACTIONS: Final = ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem")
