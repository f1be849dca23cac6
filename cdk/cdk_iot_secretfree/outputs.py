"""The stack outputs of a product line, which `secretfree --stack NAME` reads."""

import re
from typing import TYPE_CHECKING

from aws_cdk import CfnOutput, Stack
from secretfree.contract import AuthorityField, Output

from cdk_iot_secretfree.validation import refuse

if TYPE_CHECKING:
    from cdk_iot_secretfree.provisioning import SecretFreeProvisioning


def add_outputs(provisioning: "SecretFreeProvisioning") -> None:
    """Add the outputs, with plain keys for the stack's first product line and suffixed keys for each further one."""
    stack = Stack.of(provisioning)
    product = provisioning.product
    suffix = ""
    if stack.node.try_find_child(Output.PRODUCT.value) is not None:
        suffix = "".join(part[:1].upper() + part[1:] for part in re.split("[_-]", product))
    if stack.node.try_find_child(Output.PRODUCT.value + suffix) is not None:
        refuse("add_outputs", f"product {product} twice in stack {stack.node.id}", "each product line once")
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
    if provisioning.authority is not None:
        outputs[Output.AUTHORITY_ARN] = provisioning.authority.arn
    validities = (issuer.validity_days for issuer in provisioning.issuers if issuer.validity_days is not None)
    validity = next(validities, None)
    if validity is not None:
        outputs[Output.CERTIFICATE_VALIDITY_DAYS] = str(validity)
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
    for key, value in outputs.items():
        CfnOutput(stack, key.value + suffix, value=value)
