"""The authorizer: the function that decides which devices may have a certificate."""

from collections.abc import Mapping
from typing import Final

from aws_cdk import Annotations, Duration
from constructs import Construct
from secretfree.contract import MatchPolicy, RegistryIndex, Variable

from cdk_iot_secretfree.function_options import FunctionKind
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.product_line import ProductLine


def make_authorizer(scope: Construct, line: ProductLine) -> RuntimeFunction:
    """Make the function with the right to read the registry and, for `UDID` only, the ledger."""
    function = RuntimeFunction(
        scope,
        "AuthorizerFunction",
        kind=FunctionKind.AUTHORIZER,
        handler="secretfree.handlers.authorizer.handler",
        description=f"Decides which devices of {line.product} may have a certificate",
        environment={**line.environment, **decision_environment(line)},
        options=line.functions,
        timeout=_TIMEOUT,
        removal_policy=line.removal_policy,
    )
    grant_decision(function, line)
    if line.match is MatchPolicy.UDID:
        Annotations.of(scope).add_warning_v2(
            "cdk-iot-secretfree:matchByUdidAlone",
            "MatchPolicy.UDID gives the certificate of an enrolled device id to the first key that presents it. "
            "Enrol the devices' public keys, where they are known, and use UDID_AND_PUBLIC_KEY or PUBLIC_KEY.",
        )
    return function


def decision_environment(line: ProductLine) -> Mapping[Variable, str]:
    """The configuration of a function that decides about requests."""
    environment = {
        Variable.REGISTRY_TABLE: line.registry.table_name,
        Variable.REGISTRY_KEY_INDEX: line.registry.key_index or RegistryIndex.KEY.value,
        Variable.MATCH_POLICY: line.match.value,
    }
    return environment | ({Variable.LEDGER_TABLE: line.ledger.table_name} if line.match is MatchPolicy.UDID else {})


def grant_decision(function: RuntimeFunction, line: ProductLine) -> None:
    """Let a function read the data for a decision: the registry, and the ledger for `UDID` only."""
    line.registry.grant_lookup(function.rights, by_key=line.match is MatchPolicy.PUBLIC_KEY)
    if line.match is MatchPolicy.UDID:
        line.ledger.grant_read_bindings(function.rights)


# API Gateway waits at most 30 s for an authorizer. Most devices give up after half of that.
_TIMEOUT: Final = Duration.seconds(10)
