"""The values that the product lines of all Regions share."""

from dataclasses import dataclass

from cdk_iot_secretfree.announcements import AnnouncementsGrants
from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.registry import IDeviceRegistry


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class RegionMembership:
    """The values that one Region's product line shares with the others. Made by `MultiRegionProvisioning`.

    Args:
        region: this one.
        regions: all of them, the first one first.
        registry: this Region's replica.
        announcements_table: name of this Region's replica of the announcements.
        announcements_stream: the ARN of its stream.
        grants: rights on it.
        deployment_id: the same in every Region, so that a shared CA issues one certificate for a device that sends
        requests to two Regions at once.
    """

    region: str
    regions: tuple[str, ...]
    registry: IDeviceRegistry
    announcements_table: str
    announcements_stream: str
    grants: AnnouncementsGrants
    deployment_id: str
