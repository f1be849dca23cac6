"""The IoT policy of all devices of a product line. A deployment makes it; the runtime never does."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import Annotations, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from constructs import Construct

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.validation import refuse, require_match

POLICY_LIMIT: Final = 2_048
"""Maximum characters of a policy document, without white space (AWS IoT Core quota, fixed)."""

_THING: Final = "${iot:Connection.Thing.ThingName}"


@checks_arguments
class DevicePolicy(ABC):
    """The rights of a provisioned device."""

    @staticmethod
    def least_privilege(topic_prefix: str) -> "DevicePolicy":
        """Access to the device's own topics, shadows and jobs, connected as itself. Nothing of other devices.

        A device reaches `<topic_prefix>/<thing name>/...`, and `$aws/things/<thing name>/shadow/...` and `/jobs/...`.
        Its client id is the thing name, and the certificate has to be attached to that thing. No product line's prefix
        may lie below another's: a device `x` of the prefix `widget` may use all of `widget/x/...`.

        Args:
            topic_prefix: 1 to 5 topic levels of letters, digits, `_`, `-`, `.`, without wildcard or leading slash; at
                most 189 characters, so that a topic below the longest thing name fits in AWS IoT Core's 256 bytes.

        Raises:
            InvalidArgumentError: for any other prefix.
        """
        require_match("topic_prefix", topic_prefix, _TOPIC_PREFIX, _TOPIC_PREFIX_FORM, known=True)
        if len(topic_prefix) > _LONGEST_TOPIC_PREFIX:
            refuse("topic_prefix", f"{len(topic_prefix)} characters", f"at most {_LONGEST_TOPIC_PREFIX}")
        return _LeastPrivilege(topic_prefix)

    @staticmethod
    def from_statements(statements: Sequence[iam.PolicyStatement]) -> "DevicePolicy":
        """Your own statements, without principals. Length and policy variables are checked at synth.

        Raises:
            InvalidArgumentError: for no statement, for a document of more than 2,048 characters, and for a variable or
            a condition key that IoT Core does not support (IoT Core denies everything if one is unresolved).
        """
        if not statements:
            refuse("statements", "none", "at least one iam.PolicyStatement")
        return _Statements(tuple(statements))

    @staticmethod
    def from_name(policy_name: str) -> "DevicePolicy":
        """A policy that exists in the account and Region.

        Raises:
            InvalidArgumentError: for an invalid policy name.
        """
        require_match("policy_name", policy_name, r"[\w+=,.@-]{1,128}", "1 to 128 of A-Z a-z 0-9 _ + = , . @ -")
        return _Imported(policy_name)

    @abstractmethod
    def bind(self, scope: Construct, id: str, *, removal_policy: RemovalPolicy) -> "BoundDevicePolicy":  # noqa: A002
        """Make the policy in a stack."""


@checks_arguments
@dataclass(frozen=True, kw_only=True)
class BoundDevicePolicy:
    """A device policy in a stack.

    Args:
        policy_name: the policy that is attached to certificates. resource: the policy, if it is made here. document:
        its document, if it is made here. topic_prefix: of `DevicePolicy.least_privilege`.
    """

    policy_name: str
    resource: iot.CfnPolicy | None = None
    document: Mapping[str, Any] | None = None
    topic_prefix: str | None = None


class _Owned(DevicePolicy):
    def bind(self, scope: Construct, id: str, *, removal_policy: RemovalPolicy) -> BoundDevicePolicy:  # noqa: A002
        document = self._document(scope)
        check_document(document, Stack.of(scope))
        resource = iot.CfnPolicy(scope, id, policy_document=document)
        resource.apply_removal_policy(removal_policy)
        return BoundDevicePolicy(
            policy_name=resource.ref, resource=resource, document=document, topic_prefix=self._topic_prefix()
        )

    @abstractmethod
    def _document(self, scope: Construct) -> dict[str, Any]:
        """The policy's document."""

    def _topic_prefix(self) -> str | None:
        return None


@dataclass(frozen=True)
class _LeastPrivilege(_Owned):
    topic_prefix: str

    def _topic_prefix(self) -> str | None:
        return self.topic_prefix

    def _document(self, scope: Construct) -> dict[str, Any]:
        stack = Stack.of(scope)
        areas = (f"{self.topic_prefix}/{_THING}", f"$aws/things/{_THING}/shadow", f"$aws/things/{_THING}/jobs")

        def arns(kind: str) -> list[str]:
            return [stack.format_arn(service="iot", resource=kind, resource_name=f"{area}/*") for area in areas]

        client = stack.format_arn(service="iot", resource="client", resource_name=_THING)
        attached = {"Bool": {"iot:Connection.Thing.IsAttached": "true"}}
        return {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "iot:Connect", "Resource": client, "Condition": attached},
                {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": arns("topic")},
                {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": arns("topicfilter")},
            ],
        }


@dataclass(frozen=True)
class _Statements(_Owned):
    statements: tuple[iam.PolicyStatement, ...]

    def _document(self, scope: Construct) -> dict[str, Any]:  # noqa: ARG002 - nothing of the stack is needed
        statements = [statement.to_statement_json() for statement in self.statements]
        for statement in statements:
            if any(key.endswith("Principal") for key in statement):
                refuse("statements", "a statement with a principal", "statements without: the device is the principal")
        return {"Version": "2012-10-17", "Statement": statements}


@dataclass(frozen=True)
class _Imported(DevicePolicy):
    policy_name: str

    def bind(self, scope: Construct, id: str, *, removal_policy: RemovalPolicy) -> BoundDevicePolicy:  # noqa: A002, ARG002
        return BoundDevicePolicy(policy_name=self.policy_name)


def warn_of_nested_prefixes(scope: Construct, policy: BoundDevicePolicy, others: Iterable[BoundDevicePolicy]) -> None:
    """Warn if a line's topic prefix lies below another line's: a device could use topics of both."""
    for other in others:
        if policy.topic_prefix is None or other.topic_prefix is None:
            continue
        upper, lower = sorted((policy.topic_prefix, other.topic_prefix), key=len)
        if lower.startswith(f"{upper}/"):
            device = lower.removeprefix(f"{upper}/").partition("/")[0]
            Annotations.of(scope).add_warning_v2(
                f"cdk-iot-secretfree:nestedTopicPrefix-{lower}",
                f"The topic prefix {lower!r} of one product line lies below {upper!r} of another: a device of the "
                f"other with the id {device!r} has its topics. Give the lines prefixes of which none is below another.",
            )


def check_document(document: Mapping[str, Any], stack: Stack) -> None:
    """Refuse a document that IoT Core would refuse, or whose variables never resolve.

    A value that is known only at deploy time counts with its greatest length, so an accepted document fits in every
    Region and partition.

    Raises:
        InvalidArgumentError: naming the variable, the condition key, or the length.
    """
    resolved = _with_longest_forms(stack.resolve(document))
    text = json.dumps(resolved, separators=(",", ":"), ensure_ascii=False)
    length = len(re.sub(r"\s", "", text))
    if length > POLICY_LIMIT:
        refuse("device_policy", f"a document of {length} characters", f"at most {POLICY_LIMIT} (AWS IoT Core, fixed)")
    for variable in re.findall(r"\$\{([^}]*)\}", text):
        if not re.fullmatch(_KNOWN_VARIABLE, variable):
            refuse("device_policy", f"${{{variable}}}", _VARIABLE_FORM)
    for key in _condition_keys(resolved):
        if key.startswith(_DEVICE_KEYS) and not re.fullmatch(_KNOWN_VARIABLE, key):
            refuse("device_policy", f"condition key {key}", _CONDITION_KEY_FORM)


_TOPIC_PREFIX: Final = r"[A-Za-z0-9_.-]{1,64}(/[A-Za-z0-9_.-]{1,64}){0,4}"
_TOPIC_PREFIX_FORM: Final = "1 to 5 topic levels of A-Z a-z 0-9 _ . -, without wildcard or leading slash"
# 256 bytes of a topic (AWS IoT Core quota, fixed) less a thing name of 64, two slashes and one more character.
_LONGEST_TOPIC_PREFIX: Final = 189
_DN: Final = (
    "Country|Organization|OrganizationalUnit|DistinguishedNameQualifier|State|CommonName|SerialNumber|Title|Surname|"
    "GivenName|Initials|Pseudonym|GenerationQualifier"
)
_ALTERNATIVE_NAME: Final = "RFC822Name|DNSName|DirectoryName|UniformResourceIdentifier|IPAddress"
# AWS IoT Core Developer Guide: basic, thing and X.509 certificate policy variables.
_KNOWN_VARIABLE: Final = (
    r"\*|\?|\$|aws:SourceIp|iot:(?:ClientId|SourceIp|DomainName|CertificateId"
    r"|Connection\.Thing\.(?:ThingName|ThingTypeName|IsAttached|Attributes\[[A-Za-z0-9_.,@/:#-]{1,128}\])"
    rf"|Certificate\.(?:Available|SerialNumber|(?:Subject|Issuer)\.(?:{_DN})(?:\.\d+)?"
    rf"|(?:Subject|Issuer)\.AlternativeName\.(?:{_ALTERNATIVE_NAME})(?:\.\d+)?))"
)
_VARIABLE_FORM: Final = (
    "a policy variable of AWS IoT Core: ${iot:ClientId}, ${iot:Connection.Thing.ThingName}, "
    "${iot:Connection.Thing.Attributes[name]}, ${iot:Certificate.Subject.CommonName}, ..."
)
# Condition keys about the device. Keys that belong to actions, such as iot:ConnectAttributes, are not all listed.
_DEVICE_KEYS: Final = ("iot:Connection.", "iot:Certificate.")
_CONDITION_KEY_FORM: Final = (
    "a condition key of AWS IoT Core: iot:Connection.Thing.IsAttached, iot:Connection.Thing.ThingTypeName, "
    "iot:Certificate.Subject.CommonName, ..."
)
_LONGEST: Final = {"AWS::Partition": "aws-us-gov", "AWS::Region": "ap-northeast-1", "AWS::AccountId": "0" * 12}


def _with_longest_forms(value: Any) -> Any:
    """The resolved document, with each CloudFormation intrinsic replaced by text of its greatest length."""
    if isinstance(value, list):
        return [_with_longest_forms(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Fn::Join"}:
        separator, parts = value["Fn::Join"]
        return separator.join(str(_with_longest_forms(part)) for part in parts)
    if set(value) == {"Ref"}:
        return _LONGEST.get(value["Ref"], value["Ref"])
    if set(value) == {"Fn::Sub"}:
        return _substituted(value["Fn::Sub"])
    return {key: _with_longest_forms(item) for key, item in value.items()}


def _substituted(arguments: Any) -> str:
    """The text that `Fn::Sub` makes, with or without values. It turns `${!Name}` into a literal `${Name}`."""
    text, values = arguments if isinstance(arguments, list) else (arguments, {})
    known = {**_LONGEST, **{name: str(_with_longest_forms(value)) for name, value in values.items()}}

    def replaced(found: re.Match[str]) -> str:
        name = found[1]
        if name.startswith("!"):
            return f"${{{name[1:]}}}"
        # As for `Ref`: a resource of the template counts with its name. CloudFormation refuses all other names.
        return known.get(name, name if re.fullmatch(r"(AWS::)?[A-Za-z0-9.]+", name) else found[0])

    return re.sub(r"\$\{([^}]*)\}", replaced, text)


def _condition_keys(document: Any) -> Iterator[str]:
    statements = document.get("Statement", []) if isinstance(document, dict) else []
    for statement in statements if isinstance(statements, list) else [statements]:
        if isinstance(statement, dict):
            for compared in statement.get("Condition", {}).values():
                yield from compared
