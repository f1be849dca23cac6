"""AWS IoT Core's fleet provisioning for fleets with claim certificates, by the product line's rules."""

from collections.abc import Mapping
from typing import Final

from aws_cdk import Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from constructs import Construct
from secretfree.contract import FLEET_THING_NAME, FLEET_THING_TYPE, Variable

from cdk_iot_secretfree.acknowledgments import INLINE_POLICY, acknowledge, acknowledge_wildcard
from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.authorizer import decision_environment, grant_decision
from cdk_iot_secretfree.function_options import FunctionKind
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.inline_rights import InlineRights
from cdk_iot_secretfree.issuers.issuer import Issuer
from cdk_iot_secretfree.issuers.settings import runtime_settings
from cdk_iot_secretfree.product_line import ProductLine
from cdk_iot_secretfree.provisioning import SecretFreeProvisioning
from cdk_iot_secretfree.things import grant_certificate_look_up, grant_thing_making
from cdk_iot_secretfree.validation import refuse, require_match


@checks_arguments
class FleetProvisioning(Construct):
    """Provisions devices that connect with a claim certificate, by fleet provisioning of AWS IoT Core.

    The certificate provider signs the CSR of `CreateCertificateFromCsr` if the registry and the proof of possession
    allow it. The template's pre-provisioning hook allows only certificates that the provider signed. So a claim
    certificate alone grants nothing.

    AWS IoT Core has one certificate provider in an account and Region. It signs for each fleet there that uses
    `CreateCertificateFromCsr`, and takes effect after a few minutes.

    Attributes:
        provider_function: signs.
        hook_function: allows.
        template: has the thing, its type and groups, and the device policy.

    Args:
        scope: the parent.
        id: the construct's id.
        provisioning: the product line.
        template_name: a part of the devices' MQTT topics, 1 to 36 of `A-Z a-z 0-9 _ -`. It is the provider's name too.
        issuer: the name of the Private CA's issuer that signs; the first one when absent.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        provisioning: SecretFreeProvisioning,
        *,
        template_name: str,
        issuer: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        form = "1 to 36 of A-Z a-z 0-9 _ -; known at synth"
        self._name = require_match("template_name", template_name, r"[0-9A-Za-z_-]{1,36}", form, known=True)
        for other in Stack.of(self).node.find_all():
            if isinstance(other, FleetProvisioning) and other is not self:
                refuse("scope", f"a stack with {other.node.path}", "one FleetProvisioning in an account and Region")
        line = provisioning.product_line
        chosen = _issuer(line, issuer)
        self.provider_function = self._make_provider(line, chosen).function
        self.hook_function = self._make_hook(line, chosen).function
        self._let_iot_core_invoke()
        self._provider = iot.CfnCertificateProvider(
            self,
            "CertificateProvider",
            certificate_provider_name=self._name,
            lambda_function_arn=self.provider_function.function_arn,
            account_default_for_operations=["CreateCertificateFromCsr"],
        )
        self._provider.node.add_dependency(self.provider_function)
        self.template = self._make_template(line)

    def _make_provider(self, line: ProductLine, issuer: Issuer) -> RuntimeFunction:
        function = self._make_function(
            "ProviderFunction",
            line,
            issuer,
            kind=FunctionKind.FLEET_PROVIDER,
            description=f"Signs for devices of {line.product} in fleet provisioning",
            timeout=_PROVIDER_TIMEOUT,
        )
        grant_decision(function, line)
        issuer.grant_sign(function)
        grant_thing_making(function)
        grant_certificate_look_up(function)
        return function

    def _make_hook(self, line: ProductLine, issuer: Issuer) -> RuntimeFunction:
        function = self._make_function(
            "HookFunction",
            line,
            issuer,
            kind=FunctionKind.FLEET_HOOK,
            description=f"Allows devices of {line.product} in fleet provisioning",
            timeout=_HOOK_TIMEOUT,
        )
        line.registry.grant_lookup(function.rights, by_key=False)
        return function

    def _make_function(
        self, name: str, line: ProductLine, issuer: Issuer, *, kind: FunctionKind, description: str, timeout: Duration
    ) -> RuntimeFunction:
        stack = Stack.of(self)
        environment: Mapping[Variable, str] = {
            **decision_environment(line),
            **line.issuing_environment(stack),
            Variable.ISSUER: issuer.name,
            Variable.ISSUERS: runtime_settings(stack, [issuer]),
        }
        function = RuntimeFunction(
            self,
            name,
            kind=kind,
            handler=f"secretfree.handlers.{kind.value.replace('-', '_')}.handler",
            description=description,
            environment=environment,
            options=line.functions,
            timeout=timeout,
            removal_policy=line.removal_policy,
        )
        line.ledger.grant_record(function.rights)
        return function

    def _let_iot_core_invoke(self) -> None:
        stack = Stack.of(self)
        for function, resource in (
            (self.provider_function, f"certificateprovider:{self._name}"),
            (self.hook_function, f"provisioningtemplate/{self._name}"),
        ):
            function.add_permission(
                "InvokedByIotCore",
                principal=iam.ServicePrincipal("iot.amazonaws.com"),
                source_account=stack.account,
                source_arn=f"arn:{stack.partition}:iot:{stack.region}:{stack.account}:{resource}",
            )

    def _make_template(self, line: ProductLine) -> iot.CfnProvisioningTemplate:
        rights = self._make_provisioning_rights(line)
        template = iot.CfnProvisioningTemplate(
            self,
            "Template",
            template_name=self._name,
            description=f"Devices of {line.product}",
            template_type="FLEET_PROVISIONING",
            enabled=True,
            provisioning_role_arn=rights.role.role_arn,
            pre_provisioning_hook=iot.CfnProvisioningTemplate.ProvisioningHookProperty(
                payload_version="2020-04-01", target_arn=self.hook_function.function_arn
            ),
            template_body=Stack.of(self).to_json_string(_template_body(line)),
        )
        template.node.add_dependency(self.hook_function, rights.role)
        return template

    def _make_provisioning_rights(self, line: ProductLine) -> InlineRights:
        """The role with which AWS IoT Core provisions from the template. The provider has already made the thing."""
        stack = Stack.of(self)
        rights = InlineRights(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal(
                "iot.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": stack.account}}
            ),
        )

        def arn(resource: str, name: str) -> str:
            return stack.format_arn(service="iot", resource=resource, resource_name=name)

        things, groups = arn("thing", "*"), [arn("thinggroup", name) for name in line.thing_groups]
        statements = [
            (["iot:CreateThing", "iot:DescribeThing", "iot:ListThingGroupsForThing"], [things]),
            (["iot:DescribeThingType"], [arn("thingtype", line.thing_type_name)]),
            (["iot:AttachPolicy", "iot:DescribeCertificate", "iot:UpdateCertificate"], [arn("cert", "*")]),
            (["iot:GetPolicy"], [arn("policy", line.device_policy.policy_name)]),
            # The IAM reference gives this no resource type.
            (["iot:AttachThingPrincipal"], ["*"]),
        ]
        if groups:
            statements.append((["iot:AddThingToThingGroup", "iot:DescribeThingGroup"], [things, *groups]))
        for actions, resources in statements:
            rights.add_to_policy(iam.PolicyStatement(actions=actions, resources=resources))
            for resource in resources:
                acknowledge_wildcard(rights.role, resource)
        acknowledge(rights.role, INLINE_POLICY)
        return rights


def _issuer(line: ProductLine, name: str | None) -> Issuer:
    private = {one.name: one for one in line.issuers if one.authority is not None}
    if name is None and private:
        return next(iter(private.values()))
    if name not in private:
        refuse("issuer", name, f"the name of an issuer that is a Private CA: {', '.join(private) or 'there is none'}")
    return private[name]


def _template_body(line: ProductLine) -> Mapping[str, object]:
    """Provisions the thing that the hook names. A thing keeps its type: the provider refused one of another type."""
    groups = {"ThingGroups": list(line.thing_groups)} if line.thing_groups else {}
    thing = {"ThingName": {"Ref": FLEET_THING_NAME}, FLEET_THING_TYPE: line.thing_type_name, **groups}
    return {
        "Parameters": {FLEET_THING_NAME: {"Type": "String"}, _CERTIFICATE_ID: {"Type": "String"}},
        "Resources": {
            "thing": {
                "Type": "AWS::IoT::Thing",
                "OverrideSettings": {
                    "AttributePayload": "DO_NOTHING",
                    FLEET_THING_TYPE: "DO_NOTHING",
                    "ThingGroups": "MERGE",
                },
                "Properties": thing,
            },
            "certificate": {
                "Type": "AWS::IoT::Certificate",
                "Properties": {"CertificateId": {"Ref": _CERTIFICATE_ID}, "Status": "Active"},
            },
            "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": line.device_policy.policy_name}},
        },
    }


_CERTIFICATE_ID: Final = "AWS::IoT::Certificate::Id"
_PROVIDER_TIMEOUT: Final = Duration.seconds(29)
# AWS IoT Core waits no longer for a pre-provisioning hook.
_HOOK_TIMEOUT: Final = Duration.seconds(5)
