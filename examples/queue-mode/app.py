"""Queue mode, for a launch: devices wait in a queue and are issued at a fixed pace that keeps to the quotas."""

from aws_cdk import App, Duration, Stack
from cdk_iot_secretfree import AuthoritySubject, DeviceAuthority, IssuanceMode, Issuer, SecretFreeProvisioning

app = App()
stack = Stack(app, "QueueMode")

authority = DeviceAuthority.root(stack, "Authority", subject=AuthoritySubject(common_name="Widget Device CA"))
provisioning = SecretFreeProvisioning(
    stack,
    "Provisioning",
    product="widget",
    issuers=[Issuer.private_ca(authority)],
    issuance=IssuanceMode.queued(rate=10, retention=Duration.days(4)),
)
provisioning.add_outputs()

app.synth()
