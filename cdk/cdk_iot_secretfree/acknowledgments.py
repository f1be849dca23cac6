"""The reasons for cdk-nag's remaining findings, recorded on the constructs, where cdk-nag reads them."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from aws_cdk import Stack
from constructs import IConstruct


def acknowledge(construct: IConstruct, reasons: Mapping[str, str]) -> None:
    """Acknowledge rules for a construct and what is below it.

    Args:
        construct: the nearest construct to which the reasons apply.
        reasons: by rule. A name with a prefix, as `AwsSolutions-SQS3`, is a rule of that pack. A name without one, as
            `LambdaInsideVPC`, is a rule of the packs NIST 800-53, HIPAA and PCI.
    """
    by_rule = {rule: reason for name, reason in reasons.items() for rule in _in_packs(name)}
    # Newer releases of the CDK write the same by `Validations.of(construct).acknowledge`.
    construct.node.add_metadata(_METADATA, {f"Annotation::{rule}": reason for rule, reason in by_rule.items()})


def acknowledge_wildcard(construct: IConstruct, resource: str) -> None:
    """Acknowledge a statement's resource that has a wildcard, if this library has a reason for it."""
    if not resource.endswith("*"):
        return
    flat = flattened(Stack.of(construct).resolve(resource))
    reason = next((why for pattern, why in _WILDCARDS.items() if re.fullmatch(pattern, flat)), None)
    if reason is not None:
        acknowledge(construct, {f"AwsSolutions-IAM5[Resource::{flat}]": reason})


def with_own_key(reasons: Mapping[str, str]) -> Mapping[str, str]:
    """The reasons for a bucket that S3 encrypts with a key of its own."""
    return {**reasons, "S3DefaultEncryptionKMS": "S3 encrypts the bucket. `encryption_key` takes a key of yours."}


def flattened(value: Any) -> str:
    """A resolved value as cdk-nag names it in a finding."""
    if isinstance(value, str):
        return value.replace("${", "<").replace("}", ">")
    (function, argument) = next(iter(value.items()))
    if function == "Fn::Join":
        return str(argument[0]).join(map(flattened, argument[1]))
    if function == "Fn::GetAtt":
        return f"<{'.'.join(argument)}>"
    if function == "Ref":
        return f"<{argument}>"
    return json.dumps(value, separators=(",", ":"))


def _in_packs(name: str) -> list[str]:
    return [name] if re.match(r"[A-Za-z0-9.]+-", name) else [f"{pack}-{name}" for pack in _PACKS]


_METADATA: Final = "aws:cdk:acknowledged-rules"
_PACKS: Final = ("NIST.800.53.R4", "NIST.800.53.R5", "HIPAA.Security", "PCI.DSS.321")
_IOT: Final = r"arn:<AWS::Partition>:iot:(?:<AWS::Region>|[^:]+):(?:<AWS::AccountId>|[^:]+)"
_WILDCARDS: Final = {
    r"\*": "AWS's service authorization reference gives these actions no resource type.",
    rf"{_IOT}:thing/\*": "A thing is named by its device id, which is known at run time.",
    rf"{_IOT}:cert/\*": "A certificate's ARN has its own fingerprint, which is known at run time.",
    rf"{_IOT}:cacert/\*": "A CA certificate's ARN has its own fingerprint, which is known at deploy time.",
    rf"{_IOT}:client/\*": "An MQTT client is named by its device id, which is known at run time.",
    r".*<[A-Za-z0-9]+\.Arn>/manifests/\*": "A supplier names the manifests.",
    r".*<[A-Za-z0-9]+\.Arn>/results/\*": "Each import writes a folder of its own.",
    r".*<[A-Za-z0-9]+\.Arn>/(events|unreadable)/\*": "Firehose names the objects of the audit trail.",
}

INLINE_POLICY: Final = {
    "IAMNoInlinePolicy": "The policy is one role's alone, as the CDK makes it, and is deleted with the role."
}
LOG_NOT_ENCRYPTED: Final = {
    "CloudWatchLogGroupEncrypted": (
        "CloudWatch Logs encrypts the group with a key of its own. FunctionOptions(log_encryption_key=...) takes yours."
    )
}
ALARM_WITHOUT_ACTION: Final = {
    "CloudWatchAlarmAction": "The topic that an alarm notifies is the team's: it is an option, or added to the alarm."
}
BUCKET: Final = {
    "AwsSolutions-S1": "Server access logs need a bucket of the team's own. CloudTrail's data events say more.",
    "S3BucketLoggingEnabled": "Server access logs need a bucket of the team's own. CloudTrail's data events say more.",
    "S3BucketReplicationEnabled": "The bucket is versioned. A copy in another Region is the team's decision.",
}
FUNCTION: Final = {
    "AwsSolutions-L1": "The wheels are for one Python: 3.13 by default. Bundle(runtime=...) takes another.",
    "LambdaConcurrency": (
        "A default would fail in accounts whose quota is small. FunctionOptions has reserved concurrency."
    ),
    **INLINE_POLICY,
}
SYNCHRONOUS: Final = {
    "LambdaDLQ": "The caller waits for the answer and sees a failure: a dead-letter queue stays empty."
}
WITHOUT_DEAD_LETTERS: Final = {
    "LambdaDLQ": "The next run does what a failed one left. FunctionOptions(dead_letter_queue=...) takes a queue."
}
WITHOUT_NETWORK: Final = {
    "LambdaInsideVPC": "The function calls AWS's public endpoints alone. FunctionOptions(network=...) takes a VPC."
}
API: Final = {
    "AwsSolutions-APIG2": "The one input is a header, which the authorizer parses with bounds.",
    "AwsSolutions-COG4": "A device proves the possession of its key to the authorizer. It has no account.",
    "APIGWCacheEnabledAndEncrypted": "A cached answer would be another device's certificate.",
    "APIGWSSLEnabled": "The integrations are Lambda functions, which take no client certificate.",
}
CSR_IN_BODY: Final = {
    "AwsSolutions-APIG4": "An authorizer sees no body. The function decides by the authorizer's own rules."
}
EST: Final = {"AwsSolutions-APIG4": "EST has the CSR in the body. The function decides by the authorizer's own rules."}
_NO_WEB_ACL: Final = (
    "A web ACL costs by the month. ApiOptions(source_rate_limit=...) makes one, web_acl_arn takes yours."
)
API_WITHOUT_WEB_ACL: Final = {"AwsSolutions-APIG3": _NO_WEB_ACL, "APIGWAssociatedWithWAF": _NO_WEB_ACL}
_NO_EXECUTION_LOG: Final = (
    "The access log has each request. ApiOptions(execution_logging=...) adds API Gateway's own steps."
)
API_WITHOUT_EXECUTION_LOG: Final = {
    "AwsSolutions-APIG6": _NO_EXECUTION_LOG,
    "APIGWExecutionLoggingEnabled": _NO_EXECUTION_LOG,
}
API_WITHOUT_TRACING: Final = {"APIGWXrayEnabled": "X-Ray charges by trace. ApiOptions(tracing=True) switches it on."}
