"""Two product lines that share one CA, each in its own stack with its own tables, policy and API."""

from aws_cdk import App, Duration, Stack
from cdk_iot_secretfree import AuthoritySubject, DeviceAuthority, Issuer, SecretFreeProvisioning
from constructs import Construct


class ProductLine(Stack):
    """One product line."""

    def __init__(self, scope: Construct, id: str, *, product: str, authority: DeviceAuthority) -> None:  # noqa: A002
        super().__init__(scope, id)
        self.provisioning = SecretFreeProvisioning(
            self,
            "Provisioning",
            product=product,
            issuers=[Issuer.private_ca(authority, validity=Duration.days(365))],
        )
        self.provisioning.add_outputs()


app = App()
shared = Stack(app, "SharedAuthority")
authority = DeviceAuthority.root(shared, "Authority", subject=AuthoritySubject(common_name="Example Device CA"))

ProductLine(app, "Sensors", product="sensor", authority=authority)
ProductLine(app, "Gateways", product="gateway", authority=authority)

app.synth()
