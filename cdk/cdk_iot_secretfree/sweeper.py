"""The sweeper: the function that finishes, or rolls back, the issuances that their devices abandoned."""

from collections.abc import Mapping, Sequence
from typing import Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from constructs import Construct
from secretfree.contract import Variable

from cdk_iot_secretfree.function_options import FunctionKind, FunctionOptions
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.issuers.issuer import Issuer
from cdk_iot_secretfree.ledger import IIssuanceLedger
from cdk_iot_secretfree.things import grant_retirement, grant_things


def make_sweeper(
    scope: Construct,
    *,
    product: str,
    issuers: Sequence[Issuer],
    ledger: IIssuanceLedger,
    thing_groups: Sequence[str],
    environment: Mapping[Variable, str],
    options: FunctionOptions,
    removal_policy: RemovalPolicy,
) -> RuntimeFunction:
    """Make the function, its schedule, and its rights to finish or close what any of `issuers` began."""
    function = RuntimeFunction(
        scope,
        "SweeperFunction",
        kind=FunctionKind.SWEEPER,
        handler="secretfree.handlers.sweeper.handler",
        description=f"Finishes or rolls back issuances of {product} that no device came back for",
        environment=environment,
        options=options,
        timeout=_TIMEOUT,
        removal_policy=removal_policy,
    )
    for issuer in issuers:
        issuer.grant_sweep(function)
    ledger.grant_sweep(function.role)
    grant_things(function, thing_groups)
    grant_retirement(function)
    rule = events.Rule(scope, "SweeperSchedule", schedule=events.Schedule.rate(options.sweep_interval))
    # The next run finds what a lost run leaves. So neither the event's delivery nor the run is retried.
    rule.add_target(targets.LambdaFunction(function.function, retry_attempts=0))
    function.function.configure_async_invoke(retry_attempts=0)
    return function


_TIMEOUT: Final = Duration.minutes(5)
