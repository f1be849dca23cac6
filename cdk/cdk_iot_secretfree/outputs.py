"""The stack outputs of a product line, which `secretfree --stack NAME` reads."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from aws_cdk import CfnOutput, Stack
from constructs import Construct
from secretfree.contract import AuthorityField, Output

from cdk_iot_secretfree.validation import refuse

if TYPE_CHECKING:
    from cdk_iot_secretfree.provisioning import SecretFreeProvisioning


def add_outputs(provisioning: "SecretFreeProvisioning") -> None:
    """Add the outputs, with plain keys for the stack's first product line and suffixed keys for each further one."""
    stack = Stack.of(provisioning)
    product = provisioning.product
    outputs = {
        Output.PROVISIONING_URL: provisioning.url,
        Output.REGISTRY_TABLE: provisioning.registry.table_name,
        Output.LEDGER_TABLE: provisioning.ledger.table_name,
        Output.IOT_ENDPOINT: provisioning.iot_endpoint,
        Output.DEVICE_POLICY_NAME: provisioning.device_policy.policy_name,
        Output.THING_TYPE_NAME: provisioning.thing_type_name,
        Output.PRODUCT: product,
        Output.MATCH_POLICY: provisioning.match.value,
        Output.DEVICE_PROFILE: provisioning.device_profile.value,
    }
    if provisioning.reenroll_domain is not None:
        outputs[Output.EST_REENROLL_URL] = f"https://{provisioning.reenroll_domain.domain_name}"
    if provisioning.authority is not None:
        outputs[Output.AUTHORITY_ARN] = provisioning.authority.arn
    validities = (issuer.validity_days for issuer in provisioning.issuers if issuer.validity_days is not None)
    validity = next(validities, None)
    if validity is not None:
        outputs[Output.CERTIFICATE_VALIDITY_DAYS] = str(validity)
    if provisioning.blocking is not None:
        outputs[Output.REVOKER] = provisioning.blocking.function.function_name
    authorities = {
        issuer.name: {
            AuthorityField.CURRENT.value: issuer.authority.arn,
            AuthorityField.PREVIOUS.value: [one.arn for one in issuer.authorities[1:]],
            AuthorityField.VALIDITY_DAYS.value: issuer.validity_days,
        }
        for issuer in provisioning.issuers
        if issuer.authority is not None
    }
    if authorities:
        outputs[Output.AUTHORITIES] = stack.to_json_string(authorities)
    if groups := _existing_log_groups(provisioning):
        outputs[Output.LOG_GROUPS] = ",".join(groups)
    # Under one construct, so that no id of the stack's own collides with these.
    existing = stack.node.try_find_child(_SCOPE)
    scope = existing if isinstance(existing, Construct) else Construct(stack, _SCOPE)
    suffix = ""
    if _is_taken(stack, scope, outputs, suffix):
        suffix = "".join(part[:1].upper() + part[1:] for part in re.split("[_-]", product))
    if _is_taken(stack, scope, outputs, suffix):
        refuse("add_outputs", f"product {product} twice in stack {stack.node.id}", "each product line once")
    for key, value in outputs.items():
        CfnOutput(scope, key.value + suffix, value=value).override_logical_id(key.value + suffix)


def _is_taken(stack: Stack, scope: Construct, keys: Iterable[Output], suffix: str) -> bool:
    """Whether another line of the stack, or an output of its own, has one of the keys."""
    lines, own = scope.node, stack.node
    return any(
        lines.try_find_child(key.value + suffix) is not None
        or isinstance(own.try_find_child(key.value + suffix), CfnOutput)
        for key in keys
    )


def _existing_log_groups(provisioning: "SecretFreeProvisioning") -> Sequence[str]:
    """Names of the log groups outside the stack, which the command cannot find among its resources."""
    options = provisioning.function_options.overrides.values()
    given = [one.log_group for one in options if one.log_group is not None]
    return list(dict.fromkeys(group.log_group_name for group in given))


_SCOPE: Final = "SecretFreeOutputs"
