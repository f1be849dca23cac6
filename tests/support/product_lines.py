"""Product lines for the tests of the construct."""

from typing import Any

from cdk_iot_secretfree import Issuer, SecretFreeProvisioning
from constructs import Construct


def iot_core_only(scope: Construct, **options: Any) -> SecretFreeProvisioning:
    """A product line with AWS IoT Core's own CA as its only issuer."""
    return SecretFreeProvisioning(scope, "Provisioning", product="widget", issuers=[Issuer.iot_core()], **options)
