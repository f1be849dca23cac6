"""Custom resources for what CloudFormation has no resource for in the account's IoT Core."""

from collections.abc import Mapping
from typing import Final

from aws_cdk import Annotations, CustomResource, Duration, RemovalPolicy, Stack
from constructs import Construct
from secretfree.contract import AccountResource, EndpointAttribute, RegistrationProperty, Variable

from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.options import FunctionOptions


class AccountResources(Construct):
    """What CloudFormation has no resource for in the account's IoT Core: one function for each stack."""

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        options: FunctionOptions,
    ) -> None:
        super().__init__(scope, id)
        self._registered: set[str] = set()
        self._function = RuntimeFunction(
            self,
            "Function",
            handler="secretfree.handlers.account_resources.handler",
            description="Looks up the IoT data endpoint and registers certificate authorities at deploy time",
            environment={Variable.PRODUCT: "account"},
            options=options,
            timeout=_CUSTOM_RESOURCE_TIMEOUT,
            removal_policy=RemovalPolicy.DESTROY,
            memory_size=512,
        )
        # Not with the registration that needs it: a registration that leaves the stack is deleted after the
        # permissions that came with it.
        self._function.allow(
            [
                "iot:DeleteCACertificate",
                "iot:DescribeCACertificate",
                "iot:ListTagsForResource",
                "iot:TagResource",
                "iot:UpdateCACertificate",
            ],
            [Stack.of(self).format_arn(service="iot", resource="cacert", resource_name="*")],
        )

    @staticmethod
    def of(scope: Construct, options: FunctionOptions) -> "AccountResources":
        """The stack's one, made when first asked for."""
        stack = Stack.of(scope)
        # The id never changes: CloudFormation refuses to move a custom resource to another function.
        existing = stack.node.try_find_child(_SINGLETON)
        return (
            existing if isinstance(existing, AccountResources) else AccountResources(stack, _SINGLETON, options=options)
        )

    def data_endpoint(self, scope: Construct, id: str) -> str:  # noqa: A002 - the name that every construct has
        """The account's ATS data endpoint, looked up once at deploy time (`DescribeEndpoint`, 10 a second)."""
        # The IAM reference gives DescribeEndpoint no resource type.
        self._function.allow(["iot:DescribeEndpoint"], ["*"])
        resource = self._resource(scope, id, AccountResource.IOT_DATA_ENDPOINT, {})
        return str(resource.get_att_string(EndpointAttribute.ADDRESS.value))

    def register_authority(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        authority_arn: str,
        mode: str,
        needs_verification: bool,
        signing_algorithm: str,
        revision: str | None,
    ) -> CustomResource:
        """Register a Private CA with IoT Core in the stack's Region; on delete it is deactivated and removed.

        `revision` changes with the CA's certificate: CloudFormation asks again where a property has changed.
        """
        if authority_arn in self._registered:
            Annotations.of(scope).add_warning_v2(
                "cdk-iot-secretfree:registeredTwice",
                "This stack registers one Private CA through two authorities, and the registration goes with the one "
                "that made it. Share one DeviceAuthority.",
            )
        self._registered.add(authority_arn)
        stack = Stack.of(scope)
        template_arn = f"arn:{stack.partition}:acm-pca:::template/EndEntityClientAuthCertificate/V1"
        # The IAM reference gives RegisterCACertificate and GetRegistrationCode no resource type.
        self._function.allow(["iot:RegisterCACertificate"], ["*"])
        self._function.allow(["acm-pca:GetCertificateAuthorityCertificate"], [authority_arn])
        if needs_verification:
            self._function.allow(["iot:GetRegistrationCode"], ["*"])
            self._function.allow(["acm-pca:GetCertificate"], [authority_arn])
            self._function.allow(
                ["acm-pca:IssueCertificate"],
                [authority_arn],
                {"StringEquals": {"acm-pca:TemplateArn": template_arn}},
            )
        return self._resource(
            scope,
            id,
            AccountResource.IOT_CA_REGISTRATION,
            {
                RegistrationProperty.AUTHORITY_ARN: authority_arn,
                RegistrationProperty.MODE: mode,
                RegistrationProperty.SIGNING_ALGORITHM: signing_algorithm,
                RegistrationProperty.TEMPLATE_ARN: template_arn,
                **({} if revision is None else {RegistrationProperty.REVISION: revision}),
            },
        )

    def _resource(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        kind: AccountResource,
        properties: Mapping[RegistrationProperty, str],
    ) -> CustomResource:
        return CustomResource(
            scope,
            id,
            service_token=self._function.function.function_arn,
            resource_type=kind.value,
            properties={name.value: value for name, value in properties.items()},
            # A function that could not answer is not waited for as long as CloudFormation would by itself: an hour.
            service_timeout=_SERVICE_TIMEOUT,
        )


_SINGLETON: Final = "SecretFreeIotAccount"
_CUSTOM_RESOURCE_TIMEOUT: Final = Duration.minutes(5)
# The function's own time, three times: Lambda tries an asynchronous invocation twice more.
_SERVICE_TIMEOUT: Final = Duration.minutes(20)
