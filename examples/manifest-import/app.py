"""Enrolment in the cloud: a factory uploads a manifest to a bucket, and the import enrols its devices."""

from aws_cdk import App, CfnOutput, Stack
from cdk_iot_secretfree import AuthoritySubject, DeviceAuthority, Issuer, ManifestImport, SecretFreeProvisioning

app = App()
stack = Stack(app, "ManifestImport")

authority = DeviceAuthority.root(stack, "Authority", subject=AuthoritySubject(common_name="Widget Device CA"))
provisioning = SecretFreeProvisioning(
    stack,
    "Provisioning",
    product="widget",
    issuers=[Issuer.private_ca(authority)],
)
provisioning.add_outputs()

manifests = ManifestImport(stack, "Import", provisioning)
CfnOutput(stack, "ManifestBucket", value=manifests.bucket.bucket_name)

app.synth()
