"""An existing registry table and Private CA, which the stack does not create, change or delete."""

from aws_cdk import App, Stack
from cdk_iot_secretfree import DeviceAuthority, DeviceRegistry, Issuer, KeyAlgorithm, SecretFreeProvisioning

app = App()
stack = Stack(app, "ExistingTableAndCa")

# Context, so that the code contains no account's names: `cdk deploy --context ca-arn=... --context table=...`.
ca_arn = app.node.try_get_context("ca-arn") or (
    "arn:aws:acm-pca:eu-central-1:111122223333:certificate-authority/11111111-2222-3333-4444-555555555555"
)
table_name = app.node.try_get_context("table") or "shipped-devices"

# The table has the partition key `device-id` (S) and, for each device, `pubkey`.
registry = DeviceRegistry.from_table_name(stack, "Registry", table_name)
authority = DeviceAuthority.from_arn(stack, "Authority", ca_arn, key_algorithm=KeyAlgorithm.EC_P256)
provisioning = SecretFreeProvisioning(
    stack,
    "Provisioning",
    product="widget",
    issuers=[Issuer.private_ca(authority)],
    registry=registry,
)
provisioning.add_outputs()

app.synth()
