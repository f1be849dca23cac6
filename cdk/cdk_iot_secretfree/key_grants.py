"""Rights on a customer-managed key: never for direct calls, only through the one service that holds the data."""

from typing import Final

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms


def grant_key(key: kms.IKey | None, grantee: iam.IGrantable, *, service: str, writes: bool) -> None:
    """Let a principal use the key through a service of the key's Region, as in `dynamodb`.

    With `kms:ViaService` the principal cannot decrypt what it obtained elsewhere. A key whose own policy does not
    trust the account's IAM policies needs a statement of yours.
    """
    if key is None:
        return
    stack = Stack.of(key)
    iam.Grant.add_to_principal(
        grantee=grantee,
        actions=list(_WRITE_ACTIONS if writes else _READ_ACTIONS),
        resource_arns=[key.key_arn],
        conditions={"StringEquals": {"kms:ViaService": f"{service}.{stack.region}.amazonaws.com"}},
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
