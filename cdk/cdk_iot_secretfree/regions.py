"""A product line in several Regions: a stack in each, one registry, and certificates that are valid in all."""

from collections.abc import Callable, Sequence
from typing import Final

from aws_cdk import Environment, IStackSynthesizer, RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct
from secretfree.contract import RegistryIndex

from cdk_iot_secretfree.account_resources import AccountResources
from cdk_iot_secretfree.announcements import AnnouncementsGrants, make_announcements
from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.membership import RegionMembership
from cdk_iot_secretfree.registry import DeviceRegistry
from cdk_iot_secretfree.validation import refuse, require_match, require_removal_policy


@checks_arguments
class RegionStack(Stack):
    """One Region's stack. `membership` is for the `SecretFreeProvisioning` in it."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        env: Environment,
        synthesizer: IStackSynthesizer | None,
        termination_protection: bool,
    ) -> None:
        super().__init__(
            scope,
            id,
            env=env,
            synthesizer=synthesizer,
            termination_protection=termination_protection,
            description="Secret-free provisioning of IoT devices: one of several Regions",
        )
        self._membership: RegionMembership | None = None

    @property
    def membership(self) -> RegionMembership:
        """The values that this Region's product line shares with the others."""
        if self._membership is None:
            raise RuntimeError("the stack is a part of no MultiRegionProvisioning")
        return self._membership


@checks_arguments
class MultiRegionProvisioning(Construct):
    """A product line in several Regions of one account. Each has an API, issuers and a ledger of its own.

    The registry is one global table. Each Region registers the others' certificates within seconds. So a device can
    connect to any Region, even if another one fails. The first Region's stack makes the tables, so it is deployed
    before the others.

    Args:
        scope: the app, or a Stage.
        id: the construct's id; the stacks are named after it and their Region.
        account: the AWS account, twelve digits.
        regions: two or more. The first one's stack owns the tables. It stays the first when others join or leave.
        line: makes the product line in a Region's stack. It passes `membership=stack.membership`.
        synthesizer: makes each stack's synthesizer; the CDK's own by default.
        removal_policy: what happens to the global tables when they leave the first stack.

    Raises:
        InvalidArgumentError: naming the argument, what was given and what is accepted.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        account: str,
        regions: Sequence[str],
        line: Callable[[RegionStack], object],
        synthesizer: Callable[[], IStackSynthesizer] | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN,
    ) -> None:
        super().__init__(scope, id)
        require_match("account", account, r"[0-9]{12}", "an AWS account's twelve digits", known=True)
        for region in regions:
            require_match("regions", region, _REGION, "names of Regions, as us-east-1", known=True)
        if len(regions) < 2 or len(set(regions)) < len(regions):
            refuse("regions", list(regions), "two or more Regions, each once")
        require_removal_policy(removal_policy)
        self._stacks = {
            region: RegionStack(
                self,
                region,
                env=Environment(account=account, region=region),
                synthesizer=None if synthesizer is None else synthesizer(),
                termination_protection=removal_policy is RemovalPolicy.RETAIN,
            )
            for region in regions
        }
        home, *others = self._stacks.values()
        registry = DeviceRegistry(home, "Registry", removal_policy=removal_policy, replicas=list(regions[1:]))
        announcements = make_announcements(
            home, "Announcements", replicas=list(regions[1:]), removal_policy=removal_policy
        )
        home._membership = RegionMembership(  # noqa: SLF001 - the stack is this construct's own
            region=regions[0],
            regions=tuple(regions),
            registry=registry,
            announcements_table=announcements.table_name,
            announcements_stream=announcements.table_stream_arn or "",
            grants=AnnouncementsGrants(announcements),
            deployment_id=announcements.table_arn,
        )
        for stack in others:
            stack.add_dependency(home)
            stack._membership = _of_replica(stack, tuple(regions), registry, announcements)  # noqa: SLF001
        self._lines = {region: line(stack) for region, stack in self._stacks.items()}

    @property
    def stacks(self) -> dict[str, RegionStack]:
        """The stacks by Region, the first one first."""
        return dict(self._stacks)

    @property
    def lines(self) -> dict[str, object]:
        """The product lines that `line` made, by Region."""
        return dict(self._lines)


def _of_replica(
    stack: RegionStack, regions: tuple[str, ...], registry: DeviceRegistry, announcements: dynamodb.TableV2
) -> RegionMembership:
    """The membership of a Region whose replicas the first Region's stack makes."""
    resources = AccountResources.of(stack)
    registry_stream = resources.table_stream(stack, "RegistryStream", registry.table_name)
    announcements_stream = resources.table_stream(stack, "AnnouncementsStream", announcements.table_name)
    replica = dynamodb.TableV2.from_table_name(stack, "Announcements", announcements.table_name)
    return RegionMembership(
        region=stack.region,
        regions=regions,
        registry=DeviceRegistry.from_table_name(
            stack,
            "Registry",
            registry.table_name,
            key_index=RegistryIndex.KEY.value,
            stream_arn=registry_stream,
        ),
        announcements_table=announcements.table_name,
        announcements_stream=announcements_stream,
        grants=AnnouncementsGrants(replica),
        deployment_id=announcements.table_arn,
    )


_REGION: Final = r"[a-z]{2}(-[a-z]+)+-[0-9]"
