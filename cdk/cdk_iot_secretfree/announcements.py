"""The announcements of a product line of several Regions: a global table of what each Region issued last."""

from typing import Final

from aws_cdk import PhysicalName, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from constructs import Construct
from secretfree.contract import AnnouncementAttribute

from cdk_iot_secretfree.tables import TableGrants, protect_while_kept, string_attribute


def make_announcements(
    scope: Construct,
    id: str,  # noqa: A002 - the name that every construct has
    *,
    replicas: list[str],
    removal_policy: RemovalPolicy,
) -> dynamodb.TableV2:
    """Make the table in the first Region, with its replicas in the others.

    The table has one item for each device, issuer and Region. Only the Region that the item names writes it, so no
    Region overwrites another's. The item expires 90 days after its certificate.
    """
    table = dynamodb.TableV2(
        scope,
        id,
        table_name=PhysicalName.GENERATE_IF_NEEDED,
        partition_key=string_attribute(AnnouncementAttribute.DEVICE_ID),
        sort_key=string_attribute(AnnouncementAttribute.RECORD),
        time_to_live_attribute=AnnouncementAttribute.EXPIRES_AT.value,
        billing=dynamodb.Billing.on_demand(),
        # The replication of a global table needs both images.
        dynamo_stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
        replicas=[dynamodb.ReplicaTableProps(region=region) for region in replicas],
        encryption=dynamodb.TableEncryptionV2.aws_managed_key(),
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
        deletion_protection=removal_policy is RemovalPolicy.RETAIN,
        removal_policy=removal_policy,
    )
    protect_while_kept(table)
    return table


class AnnouncementsGrants:
    """Rights on one Region's replica of the announcements."""

    def __init__(self, table: dynamodb.ITable) -> None:
        self._grants = TableGrants(table, None)

    def announce(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a function that issues or revokes announce it to the other Regions."""
        return self._grants.write(grantee, _ANNOUNCE)

    def announce_with_chain(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a function announce a certificate in use, and store the chain of its CA once."""
        return self._grants.write(grantee, ["dynamodb:GetItem", *_ANNOUNCE])

    def follow(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let the follower read all Regions' announcements of a device, and the chain of its certificate."""
        return self._grants.read_partition(grantee).combine(self._grants.read_items(grantee))


_ANNOUNCE: Final = ("dynamodb:PutItem",)
