"""The authorizer: the function that decides which devices may have a certificate."""

from collections.abc import Mapping
from typing import Final

from aws_cdk import Annotations, Duration, RemovalPolicy
from constructs import Construct
from secretfree.contract import MatchPolicy, RegistryIndex, Variable

from cdk_iot_secretfree.function_options import FunctionKind, FunctionOptions
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.ledger import IIssuanceLedger
from cdk_iot_secretfree.registry import IDeviceRegistry


def make_authorizer(
    scope: Construct,
    *,
    product: str,
    match: MatchPolicy,
    registry: IDeviceRegistry,
    ledger: IIssuanceLedger,
    environment: Mapping[Variable, str],
    options: FunctionOptions,
    removal_policy: RemovalPolicy,
) -> RuntimeFunction:
    """Make the function, with the right to read what `match` needs: the registry, and the ledger for `UDID` only."""
    function = RuntimeFunction(
        scope,
        "AuthorizerFunction",
        kind=FunctionKind.AUTHORIZER,
        handler="secretfree.handlers.authorizer.handler",
        description=f"Decides which devices of {product} may have a certificate",
        environment={**environment, **decision_environment(match, registry, ledger)},
        options=options,
        timeout=_TIMEOUT,
        removal_policy=removal_policy,
    )
    grant_decision(function, match, registry, ledger)
    if match is MatchPolicy.UDID:
        Annotations.of(scope).add_warning_v2(
            "cdk-iot-secretfree:matchByUdidAlone",
            "MatchPolicy.UDID gives the certificate of an enrolled device id to the first key that presents it. "
            "Enrol the devices' public keys, where they are known, and use UDID_AND_PUBLIC_KEY or PUBLIC_KEY.",
        )
    return function


def decision_environment(
    match: MatchPolicy, registry: IDeviceRegistry, ledger: IIssuanceLedger
) -> Mapping[Variable, str]:
    """What a function needs to know to decide about a request."""
    environment = {
        Variable.REGISTRY_TABLE: registry.table_name,
        Variable.REGISTRY_KEY_INDEX: registry.key_index or RegistryIndex.KEY.value,
        Variable.MATCH_POLICY: match.value,
    }
    return environment | ({Variable.LEDGER_TABLE: ledger.table_name} if match is MatchPolicy.UDID else {})


def grant_decision(
    function: RuntimeFunction, match: MatchPolicy, registry: IDeviceRegistry, ledger: IIssuanceLedger
) -> None:
    """Let a function read what a decision needs: the registry, and the ledger for `UDID` only."""
    registry.grant_lookup(function.role, by_key=match is MatchPolicy.PUBLIC_KEY)
    if match is MatchPolicy.UDID:
        ledger.grant_read_bindings(function.role)


# API Gateway waits 30 s for an authorizer at most; a device has given up on one that takes half of that.
_TIMEOUT: Final = Duration.seconds(10)
