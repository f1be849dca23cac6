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
    binds_keys = match is MatchPolicy.UDID
    function = RuntimeFunction(
        scope,
        "AuthorizerFunction",
        kind=FunctionKind.AUTHORIZER,
        handler="secretfree.handlers.authorizer.handler",
        description=f"Decides which devices of {product} may have a certificate",
        environment={
            **environment,
            Variable.REGISTRY_TABLE: registry.table_name,
            Variable.REGISTRY_KEY_INDEX: registry.key_index or RegistryIndex.KEY.value,
            Variable.MATCH_POLICY: match.value,
            **({Variable.LEDGER_TABLE: ledger.table_name} if binds_keys else {}),
        },
        options=options,
        timeout=_TIMEOUT,
        removal_policy=removal_policy,
    )
    registry.grant_lookup(function.role, by_key=match is MatchPolicy.PUBLIC_KEY)
    if binds_keys:
        ledger.grant_read_bindings(function.role)
        Annotations.of(scope).add_warning_v2(
            "cdk-iot-secretfree:matchByUdidAlone",
            "MatchPolicy.UDID gives the certificate of an enrolled device id to the first key that presents it. "
            "Enrol the devices' public keys, where they are known, and use UDID_AND_PUBLIC_KEY or PUBLIC_KEY.",
        )
    return function


# API Gateway waits 30 s for an authorizer at most; a device has given up on one that takes half of that.
_TIMEOUT: Final = Duration.seconds(10)
