"""The read-only rights of `secretfree diagnose` and `secretfree logs`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs

from cdk_iot_secretfree.account_resources import AccountResources
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.grants import arn_of_any_version, grant_to_principal

if TYPE_CHECKING:
    from cdk_iot_secretfree.provisioning import SecretFreeProvisioning


def grant_diagnose(provisioning: "SecretFreeProvisioning", grantee: iam.IGrantable) -> iam.Grant:
    """Let a principal read one device's records and logs, the state of the CAs, and the dead letters.

    The principal can change nothing and list no table.
    """
    grant = provisioning.registry.grant_lookup(grantee, by_key=False)
    # GetItem of the ledger, and the use of its key.
    grant = grant.combine(provisioning.ledger.grant_read_bindings(grantee))
    for actions, resources in _statements(provisioning):
        grant = grant.combine(grant_to_principal(provisioning, grantee, actions=actions, resources=resources))
    return grant


def _statements(provisioning: "SecretFreeProvisioning") -> Sequence[tuple[Sequence[str], Sequence[str]]]:
    stack = Stack.of(provisioning)
    tables = [provisioning.registry.table.table_arn, provisioning.ledger.table.table_arn]
    _ = AccountResources.of(provisioning).function  # makes its log group before the search below
    # The command searches every log group of the stack.
    made = [child for child in stack.node.find_all() if isinstance(child, logs.LogGroup)]
    existing = [
        child.log_group
        for child in stack.node.find_all()
        if isinstance(child, RuntimeFunction) and not isinstance(child.log_group, logs.LogGroup)
    ]
    # IAM's reference gives the ARN of a log group without `:*` at its end; its examples have `:*`.
    groups = list(
        dict.fromkeys(
            arn
            for group in (*made, *existing)
            for arn in (
                group.log_group_arn,
                stack.format_arn(
                    service="logs",
                    resource="log-group",
                    resource_name=group.log_group_name,
                    arn_format=ArnFormat.COLON_RESOURCE_NAME,
                ),
            )
        )
    )
    statements: list[tuple[Sequence[str], Sequence[str]]] = [
        (["dynamodb:DescribeTable"], tables),
        (["dynamodb:Query"], [provisioning.ledger.table.table_arn]),
        (["logs:FilterLogEvents"], groups),
        (["cloudformation:DescribeStacks", "cloudformation:ListStackResources"], [arn_of_any_version(stack)]),
        (
            ["iot:DescribeCertificate", "iot:ListAttachedPolicies"],
            [stack.format_arn(service="iot", resource="cert", resource_name="*")],
        ),
        (["iot:DescribeThing"], [stack.format_arn(service="iot", resource="thing", resource_name="*")]),
        (
            ["iot:GetPolicy"],
            [stack.format_arn(service="iot", resource="policy", resource_name=provisioning.device_policy.policy_name)],
        ),
        (
            ["iot:SearchIndex"],
            [stack.format_arn(service="iot", resource="index", resource_name="AWS_Things")],
        ),
        # The IAM reference gives these no resource type.
        (_WITHOUT_RESOURCES, ["*"]),
    ]
    authorities = list(dict.fromkeys(one.arn for issuer in provisioning.issuers for one in issuer.authorities))
    if authorities:
        statements += [
            (["acm-pca:DescribeCertificateAuthority", "acm-pca:GetCertificateAuthorityCertificate"], authorities),
            (
                ["iot:DescribeCACertificate"],
                [stack.format_arn(service="iot", resource="cacert", resource_name="*")],
            ),
        ]
    queues = [
        one.dead_letters.queue_arn
        for one in (provisioning.blocking, provisioning.retirement, provisioning.following)
        if one is not None
    ]
    if queues:
        statements.append((["sqs:GetQueueAttributes", "sqs:ReceiveMessage"], queues))
    return statements


_WITHOUT_RESOURCES: Final = ("cloudwatch:GetMetricStatistics", "iot:ListPrincipalThings")
