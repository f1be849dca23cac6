"""One product line in two Regions: one registry, a CA in each Region, certificates that are valid in both.

With the context `shared-authority=ARN`, devices may also use `/shared`, where one CA signs for both Regions.
"""

import os

from aws_cdk import App
from cdk_iot_secretfree import (
    AuthoritySubject,
    DeviceAuthority,
    Issuer,
    MultiRegionProvisioning,
    RegionStack,
    SecretFreeProvisioning,
)


def line(stack: RegionStack) -> SecretFreeProvisioning:
    """Make the product line in one Region's stack."""
    authority = DeviceAuthority.root(stack, "Authority", subject=AuthoritySubject(common_name="Example Device CA"))
    issuers = [Issuer.private_ca(authority)]
    arn = stack.node.try_get_context("shared-authority")
    if arn is not None:
        shared = DeviceAuthority.from_arn(stack, "SharedAuthority", arn)
        issuers.append(Issuer.private_ca(shared, name="shared-ca", path="shared"))
    provisioning = SecretFreeProvisioning(
        stack,
        "Provisioning",
        product="widget",
        issuers=issuers,
        membership=stack.membership,
    )
    provisioning.add_alarms()
    provisioning.add_outputs()
    return provisioning


app = App()
MultiRegionProvisioning(
    app,
    "Widget",
    account=os.environ.get("CDK_DEFAULT_ACCOUNT", "111122223333"),
    regions=["us-east-1", "eu-west-1"],
    line=line,
)
app.synth()
