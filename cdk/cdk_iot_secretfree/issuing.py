"""The functions that issue certificates: one behind the API for each issuer."""

from collections.abc import Mapping

from aws_cdk import Stack
from constructs import Construct
from secretfree.contract import Variable

from cdk_iot_secretfree.function_options import FunctionKind
from cdk_iot_secretfree.functions import API_TIMEOUT, RuntimeFunction
from cdk_iot_secretfree.issuers.issuer import Issuer
from cdk_iot_secretfree.issuers.settings import runtime_settings
from cdk_iot_secretfree.product_line import ProductLine
from cdk_iot_secretfree.things import grant_things


def make_issuing_functions(scope: Construct, line: ProductLine) -> Mapping[str, RuntimeFunction]:
    """Make the function of each issuer, by the issuer's name. Each has only the rights of its own issuer."""
    stack = Stack.of(scope)
    environment = line.issuing_environment(stack)

    def function_of(issuer: Issuer) -> RuntimeFunction:
        function = RuntimeFunction(
            scope,
            issuer.construct_id,
            kind=FunctionKind.ISSUER,
            handler="secretfree.handlers.issuer.handler",
            description=f"Issues certificates to devices of {line.product}: {issuer.name}",
            environment={
                **environment,
                Variable.ISSUER: issuer.name,
                Variable.ISSUERS: runtime_settings(stack, [issuer]),
            },
            options=line.functions,
            timeout=API_TIMEOUT,
            removal_policy=line.removal_policy,
        )
        issuer.grant_issue(function)
        line.ledger.grant_record(function.rights)
        line.registry.grant_lookup(function.rights, by_key=False)
        grant_things(function, line.thing_groups)
        return function

    return {issuer.name: function_of(issuer) for issuer in line.issuers}
