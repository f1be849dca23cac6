"""The sweeper: the function that finishes or rolls back issuances that devices abandoned."""

from typing import Final

from aws_cdk import Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from constructs import Construct
from secretfree.contract import Variable

from cdk_iot_secretfree.function_options import FunctionKind
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.issuers.settings import runtime_settings
from cdk_iot_secretfree.product_line import ProductLine
from cdk_iot_secretfree.things import grant_retirement, grant_things


def make_sweeper(scope: Construct, line: ProductLine) -> RuntimeFunction:
    """Make the function, its schedule, and its rights to finish or close the issuances of all issuers."""
    stack = Stack.of(scope)
    function = RuntimeFunction(
        scope,
        "SweeperFunction",
        kind=FunctionKind.SWEEPER,
        handler="secretfree.handlers.sweeper.handler",
        description=f"Finishes or rolls back issuances of {line.product} that no device came back for",
        environment={**line.issuing_environment(stack), Variable.ISSUERS: runtime_settings(stack, line.issuers)},
        options=line.functions,
        timeout=_TIMEOUT,
        removal_policy=line.removal_policy,
    )
    for issuer in line.issuers:
        issuer.grant_sweep(function)
    line.ledger.grant_sweep(function.rights)
    grant_things(function, line.thing_groups)
    grant_retirement(function)
    rule = events.Rule(scope, "SweeperSchedule", schedule=events.Schedule.rate(line.functions.sweep_interval))
    # The next run does the work of a lost run, so neither the event nor the run is retried.
    rule.add_target(targets.LambdaFunction(function.function, retry_attempts=0))
    function.function.configure_async_invoke(retry_attempts=0)
    return function


_TIMEOUT: Final = Duration.minutes(5)
