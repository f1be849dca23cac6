"""The Lambda functions. Each has its own role, log group and environment. All share one bundle."""

from collections.abc import Mapping
from typing import Any, Final

from aws_cdk import Annotations, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct
from secretfree.contract import Variable

from cdk_iot_secretfree import acknowledgments
from cdk_iot_secretfree.acknowledgments import acknowledge, acknowledge_wildcard
from cdk_iot_secretfree.function_options import ASYNCHRONOUS, FunctionKind, FunctionOptions, FunctionSettings
from cdk_iot_secretfree.inline_rights import InlineRights
from cdk_iot_secretfree.key_grants import allow_log_encryption, grant_key

# API Gateway waits as long for an integration. A function that answers through it must not run longer.
API_TIMEOUT: Final = Duration.seconds(29)


class RuntimeFunction(Construct):
    """One handler of the `secretfree` package as a Lambda function.

    Without further grants, the role may only write the function's log group. `removal_policy` applies to the log group
    too: the log of refused devices is evidence, so it is kept where the tables are kept.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        kind: FunctionKind,
        handler: str,
        description: str,
        environment: Mapping[Variable, str],
        options: FunctionOptions,
        timeout: Duration,
        removal_policy: RemovalPolicy,
    ) -> None:
        super().__init__(scope, id)
        settings = options.of(kind)
        self.log_group = settings.log_group or make_log_group(self, "Log", options, removal_policy)
        self.rights = InlineRights(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.role = self.rights.role
        if options.log_encryption_key is not None:
            self.rights.put_apart()
        # The log group's own grant reads each part of the principal back: a tenth of all calls to the CDK's process.
        self.rights.add_to_policy(
            iam.PolicyStatement(
                actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[self.log_group.log_group_arn]
            )
        )
        self._grant(settings)
        self.function = lambda_.Function(
            self,
            "Resource",
            runtime=settings.bundle.runtime,
            architecture=settings.bundle.architecture,
            code=settings.bundle.code(self),
            handler=handler,
            description=description,
            environment={
                variable.value: value
                for variable, value in {**environment, Variable.LOG_LEVEL: settings.log_level}.items()
            },
            timeout=timeout,
            memory_size=settings.memory_size,
            reserved_concurrent_executions=settings.reserved_concurrency,
            log_group=self.log_group,
            role=self.role,
            tracing=lambda_.Tracing.ACTIVE if settings.tracing else None,
            dead_letter_queue=settings.dead_letter_queue,
            snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if settings.snap_start else None,
            **_in_network(settings),
        )
        self._acknowledge(kind, settings)
        self._alias = self._published() if settings.snap_start else None

    @property
    def invoked(self) -> lambda_.IFunction:
        """The target of invocations: the function, or with SnapStart the alias of its published version."""
        return self._alias or self.function

    def allow(self, actions: list[str], resources: list[str], conditions: Mapping[str, Any] | None = None) -> None:
        """Add one statement to the role."""
        self.rights.add_to_policy(iam.PolicyStatement(actions=actions, resources=resources, conditions=conditions))
        for resource in resources:
            acknowledge_wildcard(self.role, resource)

    def _acknowledge(self, kind: FunctionKind, settings: FunctionSettings) -> None:
        reasons = dict(acknowledgments.FUNCTION)
        if settings.network is None:
            reasons |= acknowledgments.WITHOUT_NETWORK
        if settings.dead_letter_queue is None:
            is_asynchronous = kind in ASYNCHRONOUS
            reasons |= acknowledgments.WITHOUT_DEAD_LETTERS if is_asynchronous else acknowledgments.SYNCHRONOUS
        acknowledge(self, reasons)
        if settings.tracing:
            acknowledge_wildcard(self.role, "*")

    def _published(self) -> lambda_.Alias:
        Annotations.of(self.function).acknowledge_warning(
            "@aws-cdk/aws-lambda:snapStartRequirePublish", "The alias below has a published version."
        )
        return lambda_.Alias(self, "Alias", alias_name="live", version=self.function.current_version)

    def _grant(self, settings: FunctionSettings) -> None:
        if settings.network is not None:
            # Lambda itself creates the interfaces with this role. The function's own code must not.
            self.allow(list(_INTERFACE_ACTIONS), ["*"])
            self.rights.add_to_policy(
                iam.PolicyStatement(
                    effect=iam.Effect.DENY,
                    actions=list(_INTERFACE_ACTIONS),
                    resources=["*"],
                    # Only calls of a function's code carry this key (Lambda developer guide, VPC permissions).
                    conditions={"ArnLike": {"lambda:SourceFunctionArn": "arn:*:lambda:*:*:function:*"}},
                )
            )
        if settings.dead_letter_queue is not None:
            grant_key(settings.dead_letter_queue.encryption_master_key, self.role, service="sqs", writes=True)


def send_failed_to(feed: lambda_.EventSourceMapping, queue: sqs.IQueue) -> None:
    """Send the stream records that failed at every try to a queue. The function needs the right to send there.

    The CDK's own option for this grants more rights on the queue than sending.
    """
    resource = feed.node.default_child
    assert isinstance(resource, lambda_.CfnEventSourceMapping)  # noqa: S101 - so it is made, for the type checker
    resource.destination_config = lambda_.CfnEventSourceMapping.DestinationConfigProperty(
        on_failure=lambda_.CfnEventSourceMapping.OnFailureProperty(destination=queue.queue_arn)
    )


def make_log_group(
    scope: Construct,
    id: str,  # noqa: A002 - the name that every construct has
    options: FunctionOptions,
    removal_policy: RemovalPolicy,
    *,
    name: str | None = None,
) -> logs.LogGroup:
    """Make a log group with the retention and the key of `options`."""
    key = options.log_encryption_key
    if key is not None:
        allow_log_encryption(key, scope)
    group = logs.LogGroup(
        scope,
        id,
        log_group_name=name,
        retention=options.log_retention,
        encryption_key=key,
        removal_policy=removal_policy,
    )
    if key is None:
        acknowledge(group, acknowledgments.LOG_NOT_ENCRYPTED)
    return group


def _in_network(settings: FunctionSettings) -> dict[str, Any]:
    if (network := settings.network) is None:
        return {}
    return {
        "vpc": network.vpc,
        "vpc_subnets": network.subnets,
        "security_groups": list(network.security_groups) or None,
    }


# The actions of AWSLambdaVPCAccessExecutionRole without those on logs. CreateFunction requires them on all resources.
_INTERFACE_ACTIONS: Final = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
)
