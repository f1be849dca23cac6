"""Grants that either take effect or raise an error. The CDK drops some grants without a warning."""

from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import IConstruct

from cdk_iot_secretfree.validation import is_token, refuse


def grant_to_principal(
    owner: IConstruct,
    grantee: iam.IGrantable,
    *,
    actions: Sequence[str],
    resources: Sequence[str],
    conditions: Mapping[str, Mapping[str, Any]] | None = None,
) -> iam.Grant:
    """Add one statement to the grantee's policy, for resources in the account of `owner`.

    Raises:
        InvalidArgumentError: for a principal of another account, whose own policy grants no access, and for a principal
        that cannot have a policy.
    """
    account = Stack.of(owner).account
    theirs = grantee.grant_principal.principal_account
    if theirs is not None and not is_token(theirs) and not is_token(account) and theirs != account:
        refuse(
            "grantee",
            f"a principal of account {theirs}",
            f"a role, user or group of account {account}; principals of other accounts can assume that role",
        )
    grant = iam.Grant.add_to_principal(
        grantee=grantee, actions=list(actions), resource_arns=list(resources), conditions=conditions
    )
    if not grant.success:
        refuse("grantee", f"a principal without policies: {_name(grantee)}", "a role, user or group")
    return grant


def arn_of_any_version(stack: Stack) -> str:
    """The ARN of a stack in a policy. Calls name the stack without its id, so the id is a wildcard."""
    return stack.format_arn(service="cloudformation", resource="stack", resource_name=f"{stack.stack_name}/*")


def _name(grantee: iam.IGrantable) -> str:
    return type(grantee.grant_principal).__name__
