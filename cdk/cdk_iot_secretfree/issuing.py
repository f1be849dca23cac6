"""The functions that issue certificates: one behind the API for each issuer, and its queue where the mode has one."""

from collections.abc import Mapping, Sequence

from aws_cdk import RemovalPolicy, Stack
from constructs import Construct
from secretfree.contract import Variable

from cdk_iot_secretfree.function_options import FunctionOptions
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.issuers.issuer import Issuer
from cdk_iot_secretfree.issuers.modes import IssuanceMode, IssuingFunctions, IssuingLine
from cdk_iot_secretfree.issuers.settings import runtime_settings
from cdk_iot_secretfree.ledger import IIssuanceLedger
from cdk_iot_secretfree.registry import IDeviceRegistry
from cdk_iot_secretfree.things import grant_things


def make_issuing_functions(
    scope: Construct,
    *,
    product: str,
    issuers: Sequence[Issuer],
    mode: IssuanceMode,
    registry: IDeviceRegistry,
    ledger: IIssuanceLedger,
    thing_groups: Sequence[str],
    environment: Mapping[Variable, str],
    options: FunctionOptions,
    removal_policy: RemovalPolicy,
) -> Mapping[str, IssuingFunctions]:
    """Make the functions of each issuer, by its name. Each has the rights of its own issuer alone."""

    def functions_of(issuer: Issuer) -> IssuingFunctions:
        def grant(function: RuntimeFunction) -> None:
            issuer.grant_issue(function)
            ledger.grant_record(function.role)
            registry.grant_lookup(function.role, by_key=False)
            grant_things(function, thing_groups)

        line = IssuingLine(
            product=product,
            issuer=issuer,
            issuers=len(issuers),
            environment={
                **environment,
                Variable.ISSUER: issuer.name,
                Variable.ISSUERS: runtime_settings(Stack.of(scope), [issuer]),
            },
            ledger=ledger,
            grant=grant,
            functions=options,
            removal_policy=removal_policy,
        )
        return mode.bind(scope, line)

    return {issuer.name: functions_of(issuer) for issuer in issuers}
