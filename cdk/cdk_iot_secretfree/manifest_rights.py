"""The rights of the manifest import: of its function, of its state machine, and on the machine's children."""

import json
from typing import Final

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct
from secretfree.contract import ManifestFolder

from cdk_iot_secretfree.acknowledgments import acknowledge, acknowledge_wildcard, flattened
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.grants import grant_to_principal
from cdk_iot_secretfree.key_grants import grant_key
from cdk_iot_secretfree.registry import IDeviceRegistry


def grant_function(
    runtime: RuntimeFunction, bucket: s3.Bucket, registry: IDeviceRegistry, encryption_key: kms.IKey | None
) -> None:
    registry.grant_import(runtime.rights)
    runtime.allow(["s3:GetObject"], [bucket.arn_for_objects(f"{part}*") for part in ManifestFolder])
    runtime.allow(["s3:PutObject"], [bucket.arn_for_objects(f"{ManifestFolder.RESULTS}*")])
    grant_key(encryption_key, runtime.rights, service="s3", writes=True)


def grant_state_machine(role: iam.Role, function_arn: str, bucket: s3.Bucket, encryption_key: kms.IKey | None) -> None:
    role.add_to_policy(iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[function_arn]))
    role.add_to_policy(
        iam.PolicyStatement(
            actions=["s3:GetObject"], resources=[bucket.arn_for_objects(f"{ManifestFolder.MANIFESTS}*")]
        )
    )
    role.add_to_policy(
        iam.PolicyStatement(
            actions=["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"],
            resources=[bucket.arn_for_objects(f"{ManifestFolder.RESULTS}*")],
        )
    )
    # The log delivery and X-Ray have no resource types (Service Authorization Reference).
    role.add_to_policy(iam.PolicyStatement(actions=list(_OBSERVABILITY_ACTIONS), resources=["*"]))
    for wildcard in ("*", *(bucket.arn_for_objects(f"{part}*") for part in ManifestFolder)):
        acknowledge_wildcard(role, wildcard)
    grant_key(encryption_key, role, service="s3", writes=True)


def grant_drop(bucket: s3.Bucket, grantee: iam.IGrantable, encryption_key: kms.IKey | None) -> iam.Grant:
    """Let a principal put manifests and read results."""
    grant_key(encryption_key, grantee, service="s3", writes=True)
    listing = grant_to_principal(
        bucket,
        grantee,
        actions=["s3:ListBucket"],
        resources=[bucket.bucket_arn],
        conditions={"StringLike": {"s3:prefix": [f"{ManifestFolder.RESULTS}*"]}},
    )
    reading = grant_to_principal(
        bucket,
        grantee,
        actions=["s3:GetObject"],
        resources=[bucket.arn_for_objects(f"{ManifestFolder.RESULTS}*")],
    )
    writing = grant_to_principal(
        bucket,
        grantee,
        actions=["s3:AbortMultipartUpload", "s3:PutObject"],
        resources=[bucket.arn_for_objects(f"{ManifestFolder.MANIFESTS}*")],
    )
    return listing.combine(reading).combine(writing)


def grant_children(scope: Construct, role: iam.Role, machine: sfn.StateMachine) -> None:
    """Let the machine run its Distributed Map's children, by a separate policy, because it names the machine."""
    executions = Stack.of(scope).format_arn(
        service="states",
        resource="execution",
        resource_name=machine.state_machine_name,
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )
    # The CDK's own policy for the children names the same executions in a longer form.
    name = json.dumps(
        {"Fn::Select": [6, {"Fn::Split": [":", Stack.of(scope).resolve(machine.state_machine_arn)]}]},
        separators=(",", ":"),
    )
    stack = Stack.of(scope)
    prefix = flattened(stack.resolve(executions)).rpartition(":")[0]
    own = flattened(stack.resolve(executions))
    wildcards = [f"{own}:*", f"{own}/*", f"{prefix}:{name}:*", f"{prefix}:{name}/*:*"]
    running = "Step Functions names an execution when it starts it; the state machine is named."
    acknowledge(scope, {f"AwsSolutions-IAM5[Resource::{wildcard}]": running for wildcard in wildcards})
    iam.Policy(
        scope,
        "ChildrenPolicy",
        roles=[role],
        statements=[
            iam.PolicyStatement(actions=["states:StartExecution"], resources=[machine.state_machine_arn]),
            iam.PolicyStatement(
                actions=["states:DescribeExecution", "states:StopExecution"],
                resources=[f"{executions}{separator}*" for separator in (":", "/")],
            ),
        ],
    )


_OBSERVABILITY_ACTIONS: Final = (
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
)
