"""Custom resources for settings of AWS IoT Core that CloudFormation has no resource for."""

from collections.abc import Mapping
from typing import Any, Final

import jsii
from aws_cdk import (
    Annotations,
    Aspects,
    CustomResource,
    Duration,
    IAspect,
    IStableStringProducer,
    Lazy,
    RemovalPolicy,
    Stack,
)
from aws_cdk import aws_lambda as lambda_
from constructs import Construct, IConstruct
from secretfree.contract import Variable
from secretfree.contract_of_deployment import AccountResource, EndpointAttribute, RegistrationProperty, StreamProperty

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.function_options import FunctionKind, FunctionOptions, FunctionSettings
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.validation import refuse


@checks_arguments
class AccountResources(Construct):
    """Serves the settings of AWS IoT Core that CloudFormation has no resource for. Each stack has one function.

    The function takes the options that were given explicitly, in any order: by `configure`, or by the `functions`
    argument of the product lines and authorities of the stack. It is made at synth, when all options are known.
    """

    def __init__(self, scope: Construct, id: str) -> None:  # noqa: A002 - the name that every construct has
        super().__init__(scope, id)
        self._registered: set[str] = set()
        self._options: FunctionOptions | None = None
        self._given_by: str | None = None
        self._is_configured = False
        self._runtime: RuntimeFunction | None = None
        self._statements: list[tuple[list[str], list[str], Mapping[str, Any] | None]] = []
        Aspects.of(self).add(_AtSynth(self))
        # Granted here and not with a registration: when a registration leaves the stack, CloudFormation would remove
        # its permissions before it deletes the registration.
        self._allow(
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
    def of(scope: Construct) -> "AccountResources":
        """The stack's instance, made at the first call."""
        stack = Stack.of(scope)
        # The id never changes: CloudFormation refuses to move a custom resource to another function.
        existing = stack.node.try_find_child(_SINGLETON)
        return existing if isinstance(existing, AccountResources) else AccountResources(stack, _SINGLETON)

    def configure(self, *, functions: FunctionOptions) -> None:
        """Set how the function runs. Options of the stack's product lines and authorities for it are then ignored.

        Args:
            functions: the options. Call this before you make constructs whose own options differ.

        Raises:
            InvalidArgumentError: if the function exists already with other options.
        """
        self._refuse_if_made(functions)
        self._options, self._is_configured = functions, True

    @property
    def function(self) -> lambda_.Function:
        """The function. Reading this property makes it, and its options cannot change afterwards."""
        return self.runtime.function

    @property
    def runtime(self) -> RuntimeFunction:
        """The function, its role and its log group. Reading this property makes them and fixes the options."""
        if self._runtime is None:
            self._runtime = self._make(self._options or FunctionOptions())
        return self._runtime

    def accept(self, functions: FunctionOptions | None, *, given_by: Construct) -> None:
        """Take the options of a product line or an authority. None changes nothing.

        Raises:
            InvalidArgumentError: if another construct of the stack has other options for this function.
        """
        if functions is None or self._is_configured:
            return
        self._refuse_if_made(functions)
        if self._options is not None and _settings(self._options) != _settings(functions):
            refuse(
                "functions",
                f"options that differ from those of {self._given_by} for the function that the stack has once",
                "the same, or AccountResources.of(stack).configure(functions=...) before both",
            )
        if self._options is None:
            self._options, self._given_by = functions, given_by.node.path

    def data_endpoint(self, scope: Construct, id: str) -> str:  # noqa: A002 - the name that every construct has
        """The account's ATS data endpoint, looked up once at deploy time (`DescribeEndpoint`, 10 a second).

        Each product line has its own look-up. A shared one would get another id when its product line leaves the stack.
        The functions' versions would then get new ids without new content, which Lambda refuses.
        """
        # DescribeEndpoint has no resource type (service authorization reference).
        self._allow(["iot:DescribeEndpoint"], ["*"])
        resource = self._resource(scope, id, AccountResource.IOT_DATA_ENDPOINT, {})
        return str(resource.get_att_string(EndpointAttribute.ADDRESS.value))

    def table_stream(self, scope: Construct, id: str, table_name: str) -> str:  # noqa: A002
        """The ARN of the stream of a global table's replica in the stack's Region, looked up at deploy time."""
        table = Stack.of(self).format_arn(service="dynamodb", resource="table", resource_name=table_name)
        self._allow(["dynamodb:DescribeTable"], [table])
        resource = self._resource(scope, id, AccountResource.TABLE_STREAM, {StreamProperty.TABLE_NAME: table_name})
        return str(resource.get_att_string(StreamProperty.STREAM_ARN.value))

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
        """Register a Private CA with IoT Core in the stack's Region; on delete, deactivate and remove it.

        `revision` changes with the CA's certificate: a changed property makes CloudFormation register it again.
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
        self._allow(["iot:RegisterCACertificate"], ["*"])
        self._allow(["acm-pca:GetCertificateAuthorityCertificate"], [authority_arn])
        if needs_verification:
            self._allow(["iot:GetRegistrationCode"], ["*"])
            self._allow(["acm-pca:GetCertificate"], [authority_arn])
            self._allow(
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

    def _make(self, options: FunctionOptions) -> RuntimeFunction:
        made = RuntimeFunction(
            self,
            "Function",
            kind=FunctionKind.ACCOUNT,
            handler="secretfree.handlers.account_resources.handler",
            description="Looks up the IoT data endpoint and registers certificate authorities at deploy time",
            environment={Variable.PRODUCT: "account"},
            options=options,
            timeout=_CUSTOM_RESOURCE_TIMEOUT,
            removal_policy=RemovalPolicy.DESTROY,
        )
        for statement in self._statements:
            made.allow(*statement)
        return made

    def _allow(self, actions: list[str], resources: list[str], conditions: Mapping[str, Any] | None = None) -> None:
        self._statements.append((actions, resources, conditions))
        if self._runtime is not None:
            self._runtime.allow(actions, resources, conditions)

    def _refuse_if_made(self, functions: FunctionOptions) -> None:
        made_with = self._options or FunctionOptions()
        if self._runtime is not None and _settings(made_with) != _settings(functions):
            refuse("functions", "options, after the function was made", "them before the first use of the function")

    def _resource(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        kind: AccountResource,
        properties: Mapping[RegistrationProperty, str] | Mapping[StreamProperty, str],
    ) -> CustomResource:
        return CustomResource(
            scope,
            id,
            service_token=Lazy.string(_Arn(self)),
            resource_type=kind.value,
            properties={name.value: value for name, value in properties.items()},
            # By default, CloudFormation waits an hour for a function that does not answer.
            service_timeout=_SERVICE_TIMEOUT,
        )


@jsii.implements(IAspect)
class _AtSynth:
    """Makes the function at synth, if it does not exist yet. Aspects of the parent constructs apply to it too."""

    def __init__(self, owner: AccountResources) -> None:
        self._owner = owner

    def visit(self, node: IConstruct) -> None:
        if node is self._owner:
            _ = self._owner.runtime


@jsii.implements(IStableStringProducer)
class _Arn:
    """The function's ARN, for custom resources that are made before the function."""

    def __init__(self, owner: AccountResources) -> None:
        self._owner = owner

    def produce(self) -> str:
        return self._owner.function.function_arn


def _settings(options: FunctionOptions) -> FunctionSettings:
    return options.of(FunctionKind.ACCOUNT)


_SINGLETON: Final = "SecretFreeIotAccount"
_CUSTOM_RESOURCE_TIMEOUT: Final = Duration.minutes(5)
# Three times the function's timeout, with a margin: Lambda retries an asynchronous invocation twice.
_SERVICE_TIMEOUT: Final = Duration.minutes(20)
