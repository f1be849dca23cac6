"""Two Regions of one product line on fake clouds of their own; the test decides when a write is replicated."""

from dataclasses import dataclass, replace
from datetime import timedelta

from secretfree.adapters.dynamodb.announcing import DynamoDbAnnouncements
from secretfree.adapters.dynamodb.ledger import DynamoDbLedger
from secretfree.adapters.foreign_certificates import ForeignCertificates
from secretfree.adapters.iot_connections import IotConnections
from secretfree.config.announcements import AnnouncementsConfig
from secretfree.config.issuers import IssuerSettings
from secretfree.contract import IssuerKind, IssuerSetting
from secretfree.errors import SecretFreeError
from secretfree.following.following import Followed, follow
from secretfree.following.ports import FollowingPorts
from secretfree.issuance.calls import OutOfTimeError
from secretfree.issuance.ports import ThrottledError, UnreachableError
from secretfree.request.device_id import DeviceId
from secretfree.retirement.retiring import RetirementPorts
from support.fake_cloud import CA_ARN, NEXT_CA_ARN, FakeClock, FakeCloud, Killed
from support.revoking import Revoker
from support.world import ANNOUNCEMENTS, World

OTHER_CA = CA_ARN.replace("1111-2222", "9999-2222").replace("eu-central-1", "us-east-1")
_AGAIN = (SecretFreeError, ThrottledError, UnreachableError, OutOfTimeError, Killed)


@dataclass
class Region:
    """One of them."""

    world: World
    revoker: Revoker
    authorities: tuple[str, ...]

    @property
    def name(self) -> str:
        assert self.world.region is not None
        return self.world.region

    def follow(self, device: str = "widget-1") -> Followed:
        """Deal with what the other Region announced of the device, once."""
        client = self.world.cloud.client
        current, *previous = self.authorities
        values = {IssuerSetting.AUTHORITY_ARN: current}
        if previous:
            values[IssuerSetting.PREVIOUS_AUTHORITY_ARNS] = ",".join(previous)
        settings = IssuerSettings("private-ca", IssuerKind.PRIVATE_CA, values)
        quiet = DynamoDbLedger(client("dynamodb"), table=self.world.ledger)
        issuing = replace(self.world.ports, ledger=quiet)
        ports = FollowingPorts(
            announcements=DynamoDbAnnouncements(client("dynamodb"), table=ANNOUNCEMENTS),
            records=quiet,
            registration=ForeignCertificates(settings, issuing.issuer, client("iot"), issuing.things),
            connections=IotConnections(client("iot-data")),
            issuing=issuing,
            retirement=RetirementPorts(ledger=quiet, things=issuing.things),
        )
        deadline = self.world.clock.monotonic() + self.world.budget
        return follow(
            DeviceId.parse(device),
            region=self.name,
            ports=ports,
            policy=self.world.policy,
            clock=self.world.clock,
            deadline=deadline,
        )

    def follow_until_done(self, device: str = "widget-1", most: int = 30) -> Followed:
        """Deliver again until it is dealt with, as the queue does."""
        for _ in range(most):
            try:
                return self.follow(device)
            except _AGAIN:
                self.world.clock.sleep(60)
        raise AssertionError("never dealt with")

    def announced(self) -> set[tuple[str, str]]:
        """The keys of the announcements in this Region's replica, without the chains beside them."""
        replica = self.world.cloud.other_ledgers[ANNOUNCEMENTS]
        return {key for key, item in replica.items() if "region" in item}

    def active(self) -> set[str]:
        """Certificates that may connect: active, with a policy, on a thing."""
        return {
            one.certificate_id
            for one in self.world.cloud.certificates.values()
            if one.status == "ACTIVE" and one.policies and one.things
        }


class TwoRegions:
    """Both. `one_ca`: they share a CA. The registry and the announcements are replicated by `replicate` alone."""

    def __init__(self, *, one_ca: bool) -> None:
        clock = FakeClock()
        clouds = FakeCloud(clock=clock), FakeCloud(clock=clock)
        if one_ca:
            clouds[1].orders = clouds[0].orders
        else:
            clouds[1].authority_arn = OTHER_CA
        self.clock = clock
        self.regions = []
        for name, cloud in zip(("eu-central-1", "us-east-1"), clouds, strict=True):
            world = World(IssuerKind.PRIVATE_CA, cloud=cloud, deployment="both", region=name)
            place = AnnouncementsConfig(table=ANNOUNCEMENTS, region=name, regions=("eu-central-1", "us-east-1"))
            world.policy = replace(world.policy, authorities=place.trusted((cloud.authority_arn,)))
            self.regions.append(
                Region(world, Revoker(world, authorities=(cloud.authority_arn, NEXT_CA_ARN)), (cloud.authority_arn,))
            )
        self.here, self.there = self.regions

    def replicate(self, source: Region | None = None) -> None:
        """Give the other Region what `source`, or each of them, wrote to the global tables."""
        for region in self.regions if source is None else [source]:
            other = self.there if region is self.here else self.here
            announced = region.world.cloud.other_ledgers.setdefault(ANNOUNCEMENTS, {})
            own = {"S": region.name}  # an item without a Region is a chain
            mine = {key: item for key, item in announced.items() if item.get("region", own) == own}
            other.world.cloud.other_ledgers.setdefault(ANNOUNCEMENTS, {}).update(mine)

    def enrol(self, device: str = "widget-1", key: int = 0, **attributes: str) -> None:
        """Write the device's item, in both replicas; the change is in both streams."""
        for region in self.regions:
            region.revoker.enrol(device, key, **attributes)

    def enrol_here(self, device: str = "widget-1", key: int = 0, **attributes: str) -> None:
        """Write the device's item in the first Region; `replicate_registry` brings it to the other one."""
        self.here.revoker.enrol(device, key, **attributes)

    def replicate_registry(self, device: str = "widget-1") -> None:
        """Give the second Region the device's item as the first one has it. The change is in its stream."""
        cloud = self.there.world.cloud
        before = cloud.registry.get(device)
        if device in self.here.world.cloud.registry:
            cloud.registry[device] = self.here.world.cloud.registry[device]
        self.there.revoker.changed(device, before)

    def rotate(self, *authorities: str) -> None:
        """Deploy both Regions with other CAs, which they share."""
        for region in self.regions:
            region.world.rotate(*authorities)
            region.authorities = authorities

    def converge(self, device: str = "widget-1") -> None:
        """Deliver everything until nothing changes any more."""
        for _ in range(4):
            for region in self.regions:
                while region.revoker.stream:
                    region.revoker.deliver()
                self.replicate(region)
            for region in self.regions:
                region.follow_until_done(device)

    def pass_time(self, after: timedelta) -> None:
        self.clock.sleep(after.total_seconds())
