"""`SecretFreeProvisioning`: everything that one product line needs to provision devices that carry no secret."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct
from secretfree.contract import AlarmName, DeviceProfile, MatchPolicy, Variable

from cdk_iot_secretfree.account_resources import AccountResources
from cdk_iot_secretfree.alarms import RUNBOOKS, AlarmThresholds, ProvisioningAlarms
from cdk_iot_secretfree.api import ProvisioningApi
from cdk_iot_secretfree.api_options import ApiOptions
from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.authority.device_authority import DeviceAuthority
from cdk_iot_secretfree.authorizer import make_authorizer
from cdk_iot_secretfree.blocking import Blocking, known_stream
from cdk_iot_secretfree.csr_front import make_csr_front
from cdk_iot_secretfree.dashboard import ProvisioningDashboard
from cdk_iot_secretfree.device_policy import BoundDevicePolicy, DevicePolicy, warn_of_nested_prefixes
from cdk_iot_secretfree.diagnosis import grant_diagnose
from cdk_iot_secretfree.est import make_est
from cdk_iot_secretfree.following import Following
from cdk_iot_secretfree.function_options import FunctionOptions
from cdk_iot_secretfree.issuers.checks import (
    check_issuers,
    check_region,
    check_subject_variables,
    renewal_window_hours,
)
from cdk_iot_secretfree.issuers.issuer import Issuer
from cdk_iot_secretfree.issuing import make_issuing_functions
from cdk_iot_secretfree.ledger import IIssuanceLedger, IssuanceLedger
from cdk_iot_secretfree.membership import RegionMembership
from cdk_iot_secretfree.metrics import ProductLineMetrics
from cdk_iot_secretfree.operation import grant_operate
from cdk_iot_secretfree.options import CertificateSubject, Retirement
from cdk_iot_secretfree.outputs import add_outputs
from cdk_iot_secretfree.product_line import ProductLine
from cdk_iot_secretfree.registry import DeviceRegistry, IDeviceRegistry
from cdk_iot_secretfree.retirement import ConnectRetirement
from cdk_iot_secretfree.sweeper import make_sweeper
from cdk_iot_secretfree.things import ThingGroup, ThingType, check_things
from cdk_iot_secretfree.validation import refuse, require_product, require_range, require_removal_policy


@checks_arguments
class SecretFreeProvisioning(ProductLineMetrics, Construct):
    """Issues certificates to the devices of one product line. A device has only a key pair.

    Args:
        scope: the parent.
        id: the construct's id.
        product: the product line, a metric dimension: 1 to 64 of `A-Z a-z 0-9 _ -`.
        issuers: the issuers that sign: `Issuer.private_ca(...)` (`POST /new`), `Issuer.iot_core()` (`POST /proto`), or
        several, each with its own name and path. issuance_rate: devices a second that the account's quotas allow, 1 to
        1,000: the smallest of the quotas that the
            dashboard shows. Above it, each device gets a time for its turn; the pace then follows AWS's throttling.
        device_policy: the rights of a provisioned device; `DevicePolicy.least_privilege(product)` when absent. match:
        how a device is found in the registry. device_profile: the device family, which determines the accepted forms of
        a CSR. registry: the table of devices; created here when absent. ledger: the table of what was issued, for
        example a restored one; created here when absent. membership: of the `RegionStack` that this line is in; it
        contains the registry. subject: further parts of every device certificate's subject; the CN is the device id.
        thing_type: of every thing; created here when absent. thing_groups: that every thing joins, at most ten.
        thing_attributes: that every thing gets, at most three with a named or created type (AWS IoT Core's quota
            of attributes for things with a type is 50, of which a type makes three searchable).
        renewal_window: how long before its end a certificate may be renewed, whole hours, at most half of the
            validity. When absent, a third of the validity and at most 30 days. Each device's own window begins in
            the first half of this one.
        retirement: when the certificate that a renewal replaces is retired; by default, when the device connects with
        the new one. api: the API's settings. functions: how the Lambdas run. encryption_key: of the tables that are
        created here. The stack's env must then name account and Region. By
            default the account's key for DynamoDB, managed by AWS.
        removal_policy: what happens to tables, logs, policy, thing type and groups when they leave the stack.

    Raises:
        InvalidArgumentError: naming the argument, what was given and what is accepted.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        product: str,
        issuers: Sequence[Issuer],
        issuance_rate: int = 10,
        device_policy: DevicePolicy | None = None,
        match: MatchPolicy = MatchPolicy.UDID_AND_PUBLIC_KEY,
        device_profile: DeviceProfile = DeviceProfile.STANDARD,
        registry: IDeviceRegistry | None = None,
        ledger: IIssuanceLedger | None = None,
        membership: RegionMembership | None = None,
        subject: CertificateSubject | None = None,
        thing_type: ThingType | None = None,
        thing_groups: Sequence[ThingGroup] = (),
        thing_attributes: Mapping[str, str] | None = None,
        renewal_window: Duration | None = None,
        retirement: Retirement = Retirement.ON_CONNECT,
        api: ApiOptions | None = None,
        functions: FunctionOptions | None = None,
        encryption_key: kms.IKey | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN,
    ) -> None:
        super().__init__(scope, id)
        require_product(product)
        check_issuers(issuers)
        check_region(Stack.of(self), issuers)
        require_range("issuance_rate", issuance_rate, 1, 1_000, "devices a second")
        check_things(thing_groups, thing_attributes or {})
        require_removal_policy(removal_policy)
        if match is MatchPolicy.PUBLIC_KEY and registry is not None and registry.key_index is None:
            refuse("registry", "a table without key_index", "one with an index on key-fingerprint, for PUBLIC_KEY")
        if membership is not None and encryption_key is not None:
            refuse("encryption_key", encryption_key.node.path, "none with membership: global tables have AWS's keys")
        if membership is not None and registry is not None:
            refuse("registry", registry.table_name, "none with membership, which brings the registry")
        self._encryption_key = encryption_key
        shared = registry if membership is None else membership.registry
        held_registry: IDeviceRegistry = shared or DeviceRegistry(
            self, "Registry", encryption_key=encryption_key, removal_policy=removal_policy
        )
        held_ledger: IIssuanceLedger = ledger or IssuanceLedger(
            self, "Ledger", encryption_key=encryption_key, removal_policy=removal_policy, membership=membership
        )
        account = AccountResources.of(self)
        account.accept(functions, given_by=self)
        iot_endpoint = account.data_endpoint(self, "IotDataEndpoint")
        bound_policy = (device_policy or DevicePolicy.least_privilege(product)).bind(
            self, "DevicePolicy", removal_policy=removal_policy
        )
        warn_of_nested_prefixes(self, bound_policy, _policies_of_others(self))
        check_subject_variables(Stack.of(self).resolve(bound_policy.document), issuers, match)
        self._line = ProductLine(
            product=product,
            match=match,
            device_profile=device_profile,
            issuers=tuple(issuers),
            issuance_rate=issuance_rate,
            registry=held_registry,
            ledger=held_ledger,
            device_policy=bound_policy,
            subject=subject or CertificateSubject(),
            thing_type_name=(thing_type or ThingType.created()).bind(
                self, "ThingType", product=product, removal_policy=removal_policy
            ),
            thing_groups=[
                group.bind(self, f"ThingGroup{number}", removal_policy=removal_policy)
                for number, group in enumerate(thing_groups, start=1)
            ],
            thing_attributes=thing_attributes or {},
            renewal_window_hours=renewal_window_hours(renewal_window, issuers),
            iot_endpoint=iot_endpoint,
            functions=functions or FunctionOptions(),
            removal_policy=removal_policy,
        )

        self._authorizer = make_authorizer(self, self._line)
        self._issuing = make_issuing_functions(self, self._line)
        self._sweeper = make_sweeper(self, self._line)
        stream_arn = known_stream(self, held_registry)
        self._blocking = None if stream_arn is None else Blocking(self, "Blocking", self._line, stream_arn=stream_arn)
        self._retirement = (
            ConnectRetirement(self, "Retirement", self._line) if retirement is Retirement.ON_CONNECT else None
        )
        self._following = (
            None
            if membership is None or self.authority is None
            else Following(self, "Following", self._line, membership=membership)
        )

        options = api or ApiOptions()
        self._api = ProvisioningApi(
            self,
            "Api",
            name=f"{product}-provisioning",
            authorizer=self._authorizer.invoked,
            options=options,
            functions=self._line.functions,
            removal_policy=removal_policy,
        )
        answering = {issuer.path: self._issuing[issuer.name].invoked for issuer in issuers}
        for path, function in answering.items():
            self._api.add_post(path, function)
        if options.csr_in_body:
            front = make_csr_front(self, self._line, issuers=answering, retry_after=options.retry_after)
            for path in answering:
                self._api.add_csr_post(path, front.invoked)
        if options.est is not None:
            est = make_est(self, self._line, options.est, issuers=answering, retry_after=options.retry_after)
            self._api.add_est(est.invoked)

    @property
    def product_line(self) -> ProductLine:
        """The checked arguments and the resources made from them, for further parts of the product line."""
        return self._line

    @property
    def product(self) -> str:
        """The product line."""
        return self._line.product

    @property
    def match(self) -> MatchPolicy:
        """How a device is found in the registry."""
        return self._line.match

    @property
    def device_profile(self) -> DeviceProfile:
        """The device family, which determines the accepted forms of a CSR."""
        return self._line.device_profile

    @property
    def function_options(self) -> FunctionOptions:
        """How the Lambdas run, for further functions of the product line."""
        return self._line.functions

    @property
    def encryption_key(self) -> kms.IKey | None:
        """Your key for the tables, or None."""
        return self._encryption_key

    @property
    def removal_policy(self) -> RemovalPolicy:
        """What happens to tables, logs and other data when they leave the stack."""
        return self._line.removal_policy

    @property
    def api(self) -> apigateway.RestApi:
        """The REST API."""
        return self._api.rest_api

    @property
    def url(self) -> str:
        """The base of the devices' URLs, without a slash at its end: `{url}/new`, `{url}/proto`."""
        return self._api.url

    @property
    def reenroll_domain(self) -> apigateway.DomainName | None:
        """The domain name with mutual TLS, where EST's `simplereenroll` is; None where the API has none."""
        return self._api.reenroll_domain

    @property
    def iot_endpoint(self) -> str:
        """The account's IoT data endpoint (ATS), part of each answer to a device."""
        return self._line.iot_endpoint

    @property
    def registry(self) -> IDeviceRegistry:
        """The table of devices that may have a certificate."""
        return self._line.registry

    @property
    def ledger(self) -> IIssuanceLedger:
        """The table of what was issued."""
        return self._line.ledger

    @property
    def authorizer_function(self) -> lambda_.Function:
        """The function that decides."""
        return self._authorizer.function

    @property
    def issuer_functions(self) -> Mapping[str, lambda_.Function]:
        """The functions behind the API, by the issuer's name: `private-ca`, `iot-core`."""
        return {name: made.function for name, made in self._issuing.items()}

    @property
    def issuers(self) -> Sequence[Issuer]:
        """The issuers."""
        return self._line.issuers

    @property
    def account_function(self) -> lambda_.Function:
        """The function for deploy time, one for each stack: `AccountResources.of(stack).function`."""
        return AccountResources.of(self).function

    @property
    def sweeper_function(self) -> lambda_.Function:
        """The function that finishes or rolls back issuances that devices abandoned."""
        return self._sweeper.function

    @property
    def blocking(self) -> Blocking | None:
        """The revocation of blocked devices' certificates. None for a registry without a known stream."""
        return self._blocking

    @property
    def retirement(self) -> ConnectRetirement | None:
        """The part that retires old certificates when devices connect; None with `Retirement.AT_END`."""
        return self._retirement

    @property
    def following(self) -> Following | None:
        """The part that registers other Regions' certificates; None with one Region, or without a Private CA."""
        return self._following

    @property
    def device_policy(self) -> BoundDevicePolicy:
        """The IoT policy that every certificate gets."""
        return self._line.device_policy

    @property
    def thing_type_name(self) -> str:
        """Name of the thing type that every thing gets."""
        return self._line.thing_type_name

    @property
    def authority(self) -> DeviceAuthority | None:
        """The Private CA that signs first, or None."""
        return next((issuer.authority for issuer in self._line.issuers if issuer.authority is not None), None)

    def runtime_environment(self) -> Mapping[Variable, str]:
        """The environment of every function of the product line."""
        return self._line.environment

    def grant_enroll(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal add, change and remove devices: for the factory's importer."""
        return self._line.registry.grant_enroll(grantee)

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal read the registry and the ledger."""
        return self._line.registry.grant_read(grantee).combine(self._line.ledger.grant_read(grantee))

    def grant_diagnose(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal run `secretfree diagnose` and `secretfree logs`: read only."""
        return grant_diagnose(self, grantee)

    def grant_operate(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal run `secretfree block`, `unblock`, `retire`, `renew`, `reissue` and `show`."""
        return grant_operate(self, grantee)

    def add_alarms(
        self,
        *,
        topic: sns.ITopic | None = None,
        ticket_topic: sns.ITopic | None = None,
        thresholds: AlarmThresholds | None = None,
        without: Sequence[AlarmName] = (),
        runbook_base: str = RUNBOOKS,
    ) -> ProvisioningAlarms:
        """Add the product line's alarms; call this once. No alarm fires without traffic, or on a single clone.

        Args:
            topic: receives a message when an alarm fires and when it clears; without one, CloudWatch only shows the
            alarms. ticket_topic: for alarms of `Severity.TICKET`; `topic` when absent. thresholds: when each fires.
            without: alarms that are left out. runbook_base: precedes the runbook's file name in an alarm's description,
            as in a wiki's address.
        """
        return ProvisioningAlarms(
            self,
            "Alarms",
            provisioning=self,
            topic=topic,
            ticket_topic=ticket_topic,
            thresholds=thresholds or AlarmThresholds(),
            without=without,
            runbook_base=runbook_base,
        )

    def add_dashboard(self, *, quotas: Mapping[str, int] | None = None) -> ProvisioningDashboard:
        """Add the product line's CloudWatch dashboard; call this once.

        Args:
            quotas: your account's calls a second, as in `{"RegisterCertificate": 50}`; AWS's defaults when absent.
        """
        return ProvisioningDashboard(self, "Dashboard", provisioning=self, quotas=quotas or {})

    def add_outputs(self) -> None:
        """Add the stack's outputs for `secretfree --stack NAME`: addresses, tables, policy, product.

        The first line of a stack has plain keys, such as `ProvisioningUrl`. The keys of a further line end with the
        letters and digits of its product, as `ProvisioningUrlGadget`; `secretfree --stack NAME --product gadget` finds
        them.

        Raises:
            InvalidArgumentError: if the line, or one whose product has the same letters and digits, already has
                outputs.
        """
        add_outputs(self)


def _policies_of_others(line: SecretFreeProvisioning) -> Sequence[BoundDevicePolicy]:
    """The policies of the app's earlier product lines in the same account and Region, if synth knows these."""
    place = Stack.of(line).environment
    return [
        other.device_policy
        for other in line.node.root.node.find_all()
        if isinstance(other, SecretFreeProvisioning) and other is not line and Stack.of(other).environment == place
    ]
