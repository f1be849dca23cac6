"""The Lambda functions. Each has its own role, log group and environment. All share one bundle."""

from collections.abc import Mapping
from typing import Any

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct
from secretfree.contract import Variable

from cdk_iot_secretfree.options import FunctionOptions


class RuntimeFunction(Construct):
    """One handler of the `secretfree` package as a Lambda function.

    The role may write the function's own log group, and nothing else without a grant. `removal_policy` applies to the
    log group too: the log of refused devices is evidence, so it is kept where the tables are kept.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002 - the name that every construct has
        *,
        handler: str,
        description: str,
        environment: Mapping[Variable, str],
        options: FunctionOptions,
        timeout: Duration,
        removal_policy: RemovalPolicy,
        memory_size: int | None = None,
        concurrency: int | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.log_group = logs.LogGroup(self, "Log", retention=options.log_retention, removal_policy=removal_policy)
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.log_group.grant_write(self.role)
        self.function = lambda_.Function(
            self,
            "Resource",
            runtime=options.bundle.runtime,
            architecture=options.bundle.architecture,
            code=options.bundle.code(self),
            handler=handler,
            description=description,
            environment={
                variable.value: value
                for variable, value in {**environment, Variable.LOG_LEVEL: options.log_level}.items()
            },
            timeout=timeout,
            memory_size=memory_size or options.memory_size,
            reserved_concurrent_executions=concurrency,
            log_group=self.log_group,
            role=self.role,
        )

    def allow(self, actions: list[str], resources: list[str], conditions: Mapping[str, Any] | None = None) -> None:
        """Add one statement to the role."""
        self.role.add_to_policy(iam.PolicyStatement(actions=actions, resources=resources, conditions=conditions))
