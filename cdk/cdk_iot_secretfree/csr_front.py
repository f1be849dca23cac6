"""The function that takes a CSR as the body of a request, where `ApiOptions.csr_in_body` asks for it."""

from collections.abc import Mapping
from typing import Final

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct
from secretfree.contract import MatchPolicy, Variable

from cdk_iot_secretfree.authorizer import decision_environment, grant_decision
from cdk_iot_secretfree.function_options import FunctionKind, FunctionOptions
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.ledger import IIssuanceLedger
from cdk_iot_secretfree.registry import IDeviceRegistry


def make_csr_front(
    scope: Construct,
    *,
    product: str,
    match: MatchPolicy,
    registry: IDeviceRegistry,
    ledger: IIssuanceLedger,
    issuers: Mapping[str, lambda_.IFunction],
    retry_after: Duration,
    environment: Mapping[Variable, str],
    options: FunctionOptions,
    removal_policy: RemovalPolicy,
) -> RuntimeFunction:
    """Make the function, with the rights of the authorizer and that to invoke `issuers`, by path; it can issue nothing.

    `retry_after`: as of the API.
    """
    names = {path: function.function_name for path, function in issuers.items()}
    function = RuntimeFunction(
        scope,
        "CsrFrontFunction",
        kind=FunctionKind.CSR_FRONT,
        handler="secretfree.handlers.csr_front.handler",
        description=f"Takes requests of {product} devices that carry the CSR in the body",
        environment={
            **environment,
            **decision_environment(match, registry, ledger),
            Variable.ISSUER_FUNCTIONS: Stack.of(scope).to_json_string(names),
            Variable.RETRY_AFTER_SECONDS: str(int(retry_after.to_seconds())),
        },
        options=options,
        timeout=_TIMEOUT,
        removal_policy=removal_policy,
    )
    grant_decision(function, match, registry, ledger)
    for issuer in issuers.values():
        issuer.grant_invoke(function.role)
    return function


# As long as API Gateway waits.
_TIMEOUT: Final = Duration.seconds(29)
