"""The public face as a team types it: checked by mypy --strict, never run."""

from collections.abc import Mapping

from aws_cdk import App, Duration, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from cdk_iot_secretfree import (
    ApiOptions,
    AuthoritySubject,
    BoundDevicePolicy,
    Bundle,
    CertificateSubject,
    DeviceAuthority,
    DevicePolicy,
    DeviceProfile,
    DeviceRegistry,
    EstOptions,
    FunctionOptions,
    IDeviceRegistry,
    IIssuanceLedger,
    IotRegistration,
    Issuer,
    KeyAlgorithm,
    MatchPolicy,
    Revocation,
    RevocationList,
    SampleOptions,
    SecretFreeProvisioning,
    SecretFreeStack,
    ThingGroup,
    ThingType,
    UsageMode,
)

app = App()
stack = Stack(app, "Stack")
subject = AuthoritySubject(common_name="Widget root", organization="Widgets", country="DE")

root: DeviceAuthority = DeviceAuthority.root(stack, "Root", subject=subject, key_algorithm=KeyAlgorithm.EC_P384)
subordinate: DeviceAuthority = DeviceAuthority.subordinate_of(
    stack,
    "Devices",
    root,
    subject=subject,
    usage_mode=UsageMode.GENERAL_PURPOSE,
    revocation=Revocation(crl=RevocationList(custom_cname="crl.example.com"), ocsp=True),
    registration=IotRegistration.SNI_ONLY,
)
brought: DeviceAuthority = DeviceAuthority.from_arn(stack, "Brought", "arn:...", key_algorithm=KeyAlgorithm.RSA_2048)
pending: DeviceAuthority = DeviceAuthority.pending_offline_parent(stack, "Offline", subject=subject)

registry: IDeviceRegistry = DeviceRegistry(stack, "Registry")
existing: IDeviceRegistry = DeviceRegistry.from_table_name(stack, "Existing", "devices", key_index="by-key")

provisioning = SecretFreeProvisioning(
    stack,
    "Provisioning",
    product="widget",
    issuers=[Issuer.private_ca(subordinate, validity=Duration.days(365)), Issuer.iot_core()],
    device_policy=DevicePolicy.least_privilege("widget"),
    match=MatchPolicy.UDID_AND_PUBLIC_KEY,
    device_profile=DeviceProfile.STANDARD,
    registry=existing,
    subject=CertificateSubject(organization="Widgets"),
    thing_type=ThingType.created(searchable_attributes=["line"]),
    thing_groups=[ThingGroup.created(), ThingGroup.named("field")],
    thing_attributes={"line": "1"},
    renewal_window=Duration.days(30),
    encryption_key=kms.Key(stack, "Key"),
    api=ApiOptions(rate_limit=10, est=EstOptions(default_issuer="private-ca", reenroll=None)),
    functions=FunctionOptions(bundle=Bundle(runtime=lambda_.Runtime.PYTHON_3_13)),
)

api: apigateway.RestApi = provisioning.api
reenroll_domain: apigateway.DomainName | None = provisioning.reenroll_domain
url: str = provisioning.url
registry_of: IDeviceRegistry = provisioning.registry
ledger: IIssuanceLedger = provisioning.ledger
authorizer: lambda_.Function = provisioning.authorizer_function
issuers: Mapping[str, lambda_.Function] = provisioning.issuer_functions
policy: BoundDevicePolicy = provisioning.device_policy
authority: DeviceAuthority | None = provisioning.authority

role = iam.Role(stack, "Importer", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
enroll: iam.Grant = provisioning.grant_enroll(role)
read: iam.Grant = provisioning.grant_read(role)
allowed: cloudwatch.Metric = provisioning.metric_allowed()
denied: cloudwatch.Metric = provisioning.metric_denied(reason="key-mismatch", period=Duration.minutes(1))
latency: cloudwatch.Metric = provisioning.metric_stage_latency("sign", statistic="p50")

sample = SecretFreeStack(app, "Sample", options=SampleOptions(product="sensor"))
of_sample: SecretFreeProvisioning = sample.provisioning

# What must not pass: mypy reports an ignore that ignores nothing.
SecretFreeProvisioning(stack, "A", "widget", [Issuer.iot_core()])  # type: ignore[call-arg]
SecretFreeProvisioning(stack, "B", product="widget", issuers=[Issuer.iot_core()], match="UDID")  # type: ignore[arg-type]
SecretFreeProvisioning(stack, "C", product="widget")  # type: ignore[call-arg]
DevicePolicy.least_privilege()  # type: ignore[call-arg]
DeviceAuthority.root(stack, "D", subject="CN=root")  # type: ignore[arg-type]

launch = SecretFreeProvisioning(stack, "Launch", product="widget", issuers=[Issuer.iot_core()], issuance_rate=50)
