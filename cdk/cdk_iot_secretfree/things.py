"""The things of a product line: their type, their groups, and the rights on them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aws_cdk import Fn, RemovalPolicy, Stack
from aws_cdk import aws_iot as iot
from constructs import Construct

from cdk_iot_secretfree.argument_types import checks_arguments
from cdk_iot_secretfree.functions import RuntimeFunction
from cdk_iot_secretfree.validation import refuse, require_match


@checks_arguments
class ThingType(ABC):
    """The AWS IoT thing type of a product line's things."""

    @staticmethod
    def created(*, searchable_attributes: Sequence[str] = ()) -> "ThingType":
        """A new type, named by CloudFormation, with up to three searchable attributes."""
        if len(searchable_attributes) > 3:
            refuse("searchable_attributes", searchable_attributes, "at most three names")
        return _OwnedThingType(tuple(searchable_attributes))

    @staticmethod
    def named(name: str) -> "ThingType":
        """One that exists.

        A thing of this type counts as the product line's own. Share the type only with lines whose device ids differ.
        """
        return _ImportedThingType(require_match("name", name, _IOT_NAME, _IOT_NAME_FORM))

    @abstractmethod
    def bind(self, scope: Construct, id: str, *, product: str, removal_policy: RemovalPolicy) -> str:  # noqa: A002
        """Create it in a stack and return its name."""


@checks_arguments
class ThingGroup(ABC):
    """A static IoT thing group that every provisioned thing joins."""

    @staticmethod
    def created(*, description: str | None = None) -> "ThingGroup":
        """A new group, named by CloudFormation."""
        return _OwnedThingGroup(description)

    @staticmethod
    def named(name: str) -> "ThingGroup":
        """One that exists."""
        return _ImportedThingGroup(require_match("name", name, _IOT_NAME, _IOT_NAME_FORM))

    @abstractmethod
    def bind(self, scope: Construct, id: str, *, removal_policy: RemovalPolicy) -> str:  # noqa: A002
        """Create it in a stack and return its name."""


def grant_things(function: RuntimeFunction, groups: Sequence[str]) -> None:
    """Let a function issue in AWS IoT Core, and revoke a late worker's certificate. Resource names are device ids."""
    stack = Stack.of(function)
    things = stack.format_arn(service="iot", resource="thing", resource_name="*")
    certificates = stack.format_arn(service="iot", resource="cert", resource_name="*")
    grant_thing_making(function)
    function.allow(
        [
            "iot:AttachPolicy",
            "iot:UpdateCertificate",
        ],
        [certificates],
    )
    grant_certificate_look_up(function)
    # The IAM reference gives this no resource type.
    function.allow(["iot:AttachThingPrincipal"], ["*"])
    if groups:
        in_groups = [stack.format_arn(service="iot", resource="thinggroup", resource_name=name) for name in groups]
        function.allow(["iot:AddThingToThingGroup"], [things, *in_groups])


def grant_thing_making(function: RuntimeFunction) -> None:
    """Let a function make a thing, or see that the one of that name is the product line's own."""
    things = Stack.of(function).format_arn(service="iot", resource="thing", resource_name="*")
    function.allow(["iot:CreateThing", "iot:DescribeThing"], [things])


def grant_certificate_look_up(function: RuntimeFunction) -> None:
    """Let a function read whether a certificate is active. Its id is known only at run time."""
    certificates = Stack.of(function).format_arn(service="iot", resource="cert", resource_name="*")
    function.allow(["iot:DescribeCertificate"], [certificates])


def grant_closing(function: RuntimeFunction) -> None:
    """Let a function deactivate, detach and delete certificates. It also needs `grant_certificate_look_up`."""
    certificates = Stack.of(function).format_arn(service="iot", resource="cert", resource_name="*")
    function.allow(["iot:UpdateCertificate"], [certificates])
    grant_retirement(function)


def grant_retirement(function: RuntimeFunction) -> None:
    """Let a function detach and delete certificates, in addition to what `grant_things` allows."""
    certificates = Stack.of(function).format_arn(service="iot", resource="cert", resource_name="*")
    function.allow(["iot:DeleteCertificate", "iot:DetachPolicy", "iot:ListAttachedPolicies"], [certificates])
    # The IAM reference gives this no resource type.
    function.allow(["iot:DetachThingPrincipal"], ["*"])


def check_things(thing_groups: Sequence[ThingGroup], thing_attributes: Mapping[str, str]) -> None:
    # A thing can be in at most ten static groups (AWS IoT Core quota).
    if len(thing_groups) > 10:
        refuse("thing_groups", f"{len(thing_groups)} groups", "at most 10")
    name_form = "names of 1 to 128 of A-Z a-z 0-9 _ . , @ / : # -"
    value_form = "values of 1 to 800 of A-Z a-z 0-9 _ . , @ / : # = [ ] -"
    for name, value in thing_attributes.items():
        require_match("thing_attributes", name, _ATTRIBUTE_NAME, name_form)
        require_match("thing_attributes", value, _ATTRIBUTE_VALUE, value_form)


@dataclass(frozen=True)
class _OwnedThingType(ThingType):
    searchable_attributes: tuple[str, ...]

    def bind(self, scope: Construct, id: str, *, product: str, removal_policy: RemovalPolicy) -> str:  # noqa: A002
        resource = iot.CfnThingType(
            scope,
            id,
            thing_type_properties=iot.CfnThingType.ThingTypePropertiesProperty(
                thing_type_description=f"Devices of {product}",
                searchable_attributes=list(self.searchable_attributes) or None,
            ),
        )
        resource.apply_removal_policy(removal_policy)
        return _name_in_arn(resource.attr_arn)


@dataclass(frozen=True)
class _ImportedThingType(ThingType):
    name: str

    def bind(self, scope: Construct, id: str, *, product: str, removal_policy: RemovalPolicy) -> str:  # noqa: A002, ARG002
        return self.name


@dataclass(frozen=True)
class _OwnedThingGroup(ThingGroup):
    description: str | None

    def bind(self, scope: Construct, id: str, *, removal_policy: RemovalPolicy) -> str:  # noqa: A002
        properties = iot.CfnThingGroup.ThingGroupPropertiesProperty(thing_group_description=self.description)
        resource = iot.CfnThingGroup(
            scope, id, thing_group_properties=properties if self.description is not None else None
        )
        resource.apply_removal_policy(removal_policy)
        return _name_in_arn(resource.attr_arn)


@dataclass(frozen=True)
class _ImportedThingGroup(ThingGroup):
    name: str

    def bind(self, scope: Construct, id: str, *, removal_policy: RemovalPolicy) -> str:  # noqa: A002, ARG002
        return self.name


_IOT_NAME: Final = r"[a-zA-Z0-9:_-]{1,128}"
_IOT_NAME_FORM: Final = "1 to 128 of A-Z a-z 0-9 : _ -"
_ATTRIBUTE_NAME: Final = r"[a-zA-Z0-9_.,@/:#-]{1,128}"
_ATTRIBUTE_VALUE: Final = r"[a-zA-Z0-9_.,@/:#=\[\]-]{1,800}"


def _name_in_arn(arn: str) -> str:
    """The name at the end of an IoT ARN. The documentation contradicts itself on what `Ref` returns."""
    return Fn.select(1, Fn.split("/", arn))
