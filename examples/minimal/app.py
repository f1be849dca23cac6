"""The minimal stack: a root CA, one product line, and the outputs for the command line."""

from aws_cdk import App, Stack
from cdk_iot_secretfree import AuthoritySubject, DeviceAuthority, Issuer, SecretFreeProvisioning

app = App()
stack = Stack(app, "Minimal")

authority = DeviceAuthority.root(stack, "Authority", subject=AuthoritySubject(common_name="Widget Device CA"))
provisioning = SecretFreeProvisioning(
    stack,
    "Provisioning",
    product="widget",
    issuers=[Issuer.private_ca(authority)],
)
provisioning.add_outputs()

app.synth()
