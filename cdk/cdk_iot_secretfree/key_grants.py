"""Rights on a customer-managed key: only through the service that stores the data, never for direct calls."""

from typing import Final

from aws_cdk import Annotations, ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from cdk_iot_secretfree.grants import grant_to_principal
from cdk_iot_secretfree.inline_rights import InlineRights


def grant_key(key: kms.IKey | None, grantee: iam.IGrantable, *, service: str, writes: bool) -> None:
    """Let a principal use the key through a service of the key's Region, as in `dynamodb`.

    Because of `kms:ViaService` the principal cannot decrypt data that it obtained elsewhere. A key whose own policy
    does not trust the account's IAM policies needs a statement of yours.
    """
    if key is None:
        return
    stack = Stack.of(key)
    if isinstance(grantee, InlineRights):
        grantee.put_apart()
    grant_to_principal(
        key,
        grantee,
        actions=_WRITE_ACTIONS if writes else _READ_ACTIONS,
        resources=[key.key_arn],
        conditions={"StringEquals": {"kms:ViaService": f"{service}.{stack.region}.amazonaws.com"}},
    )


def allow_log_encryption(key: kms.IKey, scope: Construct) -> None:
    """Let CloudWatch Logs use the key for the log groups of the account and Region of `scope`.

    A log group's name is known only after its creation, which needs the key's policy. So the policy names all log
    groups of the account (CloudWatch Logs user guide, encrypt log data).
    """
    stack = Stack.of(scope)
    added = key.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal(f"logs.{stack.region}.amazonaws.com")],
            actions=["kms:Decrypt*", "kms:Describe*", "kms:Encrypt*", "kms:GenerateDataKey*", "kms:ReEncrypt*"],
            resources=["*"],
            conditions={
                "ArnLike": {
                    "kms:EncryptionContext:aws:logs:arn": stack.format_arn(
                        service="logs",
                        resource="log-group",
                        resource_name="*",
                        arn_format=ArnFormat.COLON_RESOURCE_NAME,
                    )
                }
            },
        )
    )
    if not added.statement_added:
        Annotations.of(scope).add_warning_v2(
            "cdk-iot-secretfree:logKeyPolicy",
            "log_encryption_key is imported, so its policy is not changed here. Let the principal "
            "logs.REGION.amazonaws.com use it (kms:Encrypt*, kms:Decrypt*, kms:ReEncrypt*, kms:GenerateDataKey*, "
            "kms:Describe*), or no log group can be made.",
        )


_READ_ACTIONS: Final = ("kms:Decrypt",)
_WRITE_ACTIONS: Final = (
    "kms:Decrypt",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)
