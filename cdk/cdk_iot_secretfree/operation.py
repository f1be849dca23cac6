"""The rights of the operator's commands that change a device's state: block, retire, renew, reissue."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from aws_cdk import Stack
from aws_cdk import aws_iam as iam

from cdk_iot_secretfree.grants import arn_of_any_version, grant_to_principal

if TYPE_CHECKING:
    from cdk_iot_secretfree.provisioning import SecretFreeProvisioning


def grant_operate(provisioning: "SecretFreeProvisioning", grantee: iam.IGrantable) -> iam.Grant:
    """Let a principal block, unblock, retire, renew, reissue and show devices of the product line.

    Retiring replaces a device's entry in the registry, so the right to enrol is included. The principal cannot make a
    certificate, change a policy or call a function.
    """
    grant = provisioning.registry.grant_enroll(grantee).combine(provisioning.ledger.grant_operate(grantee))
    for actions, resources in _statements(provisioning):
        grant = grant.combine(grant_to_principal(provisioning, grantee, actions=actions, resources=resources))
    return grant


def _statements(provisioning: "SecretFreeProvisioning") -> Sequence[tuple[Sequence[str], Sequence[str]]]:
    stack = Stack.of(provisioning)

    def every(resource: str) -> str:
        return stack.format_arn(service="iot", resource=resource, resource_name="*")

    return [
        (["cloudformation:DescribeStacks"], [arn_of_any_version(stack)]),
        (_CERTIFICATES, [every("cert")]),
        (["iot:DescribeThing", "iot:DeleteThing", "iot:ListThingPrincipals"], [every("thing")]),
        (["iot:DeleteConnection"], [every("client")]),
        # A job is created for things.
        (["iot:CreateJob"], [every("job"), every("thing")]),
        (["iot:DescribeJob", "iot:ListJobExecutionsForJob"], [every("job")]),
        # The IAM reference gives these no resource type.
        (["iot:DetachThingPrincipal", "iot:ListPrincipalThings"], ["*"]),
    ]


_CERTIFICATES: Final = (
    "iot:DeleteCertificate",
    "iot:DescribeCertificate",
    "iot:DetachPolicy",
    "iot:ListAttachedPolicies",
    "iot:UpdateCertificate",
)
