"""The functions that issue certificates: one behind the API for each issuer."""

from collections.abc import Mapping, Sequence
from typing import Final

from aws_cdk import Duration, RemovalPolicy, Stack
from constructs import Construct
from secretfree.contract import Variable

from cdk_iot_secretfree.function_options import FunctionKind, FunctionOptions
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.issuers.issuer import Issuer
from cdk_iot_secretfree.issuers.settings import runtime_settings
from cdk_iot_secretfree.ledger import IIssuanceLedger
from cdk_iot_secretfree.registry import IDeviceRegistry
from cdk_iot_secretfree.things import grant_things


def make_issuing_functions(
    scope: Construct,
    *,
    product: str,
    issuers: Sequence[Issuer],
    registry: IDeviceRegistry,
    ledger: IIssuanceLedger,
    thing_groups: Sequence[str],
    environment: Mapping[Variable, str],
    options: FunctionOptions,
    removal_policy: RemovalPolicy,
) -> Mapping[str, RuntimeFunction]:
    """Make the function of each issuer, by the issuer's name. Each has the rights of its own issuer alone."""

    def function_of(issuer: Issuer) -> RuntimeFunction:
        function = RuntimeFunction(
            scope,
            issuer.construct_id,
            kind=FunctionKind.ISSUER,
            handler="secretfree.handlers.issuer.handler",
            description=f"Issues certificates to devices of {product}: {issuer.name}",
            environment={
                **environment,
                Variable.ISSUER: issuer.name,
                Variable.ISSUERS: runtime_settings(Stack.of(scope), [issuer]),
            },
            options=options,
            timeout=_API_TIMEOUT,
            removal_policy=removal_policy,
        )
        issuer.grant_issue(function)
        ledger.grant_record(function.role)
        registry.grant_lookup(function.role, by_key=False)
        grant_things(function, thing_groups)
        return function

    return {issuer.name: function_of(issuer) for issuer in issuers}


# API Gateway waits as long for the integration; the function must not go on behind its back.
_API_TIMEOUT: Final = Duration.seconds(29)
