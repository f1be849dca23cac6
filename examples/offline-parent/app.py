"""A subordinate CA whose certificate an offline root signs.

1. Deploy. The stack outputs the CA's certificate signing request.
2. Sign it with the offline root, as a CA of path length 0. Save the result as `signed.pem`, and the certificates above
   it as `chain.pem`, beside this file.
3. Deploy again. The CA becomes active, is registered with IoT Core and signs devices.
"""

from pathlib import Path

from aws_cdk import App, Stack
from cdk_iot_secretfree import AuthoritySubject, DeviceAuthority, Issuer, SecretFreeProvisioning

HERE = Path(__file__).parent


def pem(name: str) -> str | None:
    """The file's text, or None before the root has signed."""
    file = HERE / name
    return file.read_text(encoding="utf-8") if file.exists() else None


app = App()
stack = Stack(app, "OfflineParent")

authority = DeviceAuthority.pending_offline_parent(
    stack,
    "Authority",
    subject=AuthoritySubject(common_name="Widget Device CA", organization="Example"),
    signed_certificate=pem("signed.pem"),
    chain=pem("chain.pem"),
)
provisioning = SecretFreeProvisioning(
    stack,
    "Provisioning",
    product="widget",
    issuers=[Issuer.private_ca(authority)],
)
provisioning.add_outputs()

app.synth()
