"""Resource types that the local cloud accepts in a template without effect.

They are network resources, firewalls, or another way of provisioning that the local cloud does not serve: fleet
provisioning's certificate provider. Without them, ministack 1.5.33 refuses the whole template because of unrecognized
types.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

TYPES: Mapping[str, tuple[str, ...]] = {
    "AWS::EC2::EIP": ("AllocationId", "PublicIp"),
    "AWS::EC2::FlowLog": ("Id",),
    "AWS::EC2::NatGateway": ("NatGatewayId",),
    "AWS::EC2::SecurityGroupEgress": ("Id",),
    "AWS::EC2::SecurityGroupIngress": ("Id",),
    "AWS::IoT::CertificateProvider": ("Arn",),
    "AWS::WAFv2::LoggingConfiguration": (),
    "AWS::WAFv2::WebACLAssociation": (),
}
"""The attributes of each type (AWS CloudFormation template reference)."""

_VPC = "AWS::EC2::VPC"


def install() -> None:
    """Add the types to this process's CloudFormation."""
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS  # noqa: SLF001 -- there is no setting for it
    for kind, attributes in TYPES.items():
        handlers.setdefault(kind, _inert(attributes))
    handlers[_VPC]["create"] = _with_cidr_block(handlers[_VPC]["create"])


def _with_cidr_block(create: Any) -> Any:
    """Add the attribute that ministack's VPCs lack. The security group of an interface endpoint refers to it."""

    def create_with_attribute(logical_id: str, properties: Mapping[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        physical_id, attributes = create(logical_id, properties, stack)
        return physical_id, {**attributes, "CidrBlock": properties.get("CidrBlock", "10.0.0.0/16")}

    return create_with_attribute


def _inert(attributes: tuple[str, ...]) -> dict[str, Any]:
    def named(physical_id: str) -> tuple[str, dict[str, str]]:
        return physical_id, dict.fromkeys(attributes, physical_id)

    return {
        "create": lambda logical_id, _properties, _stack: named(f"{logical_id}-{uuid.uuid4().hex[:12]}"),
        "update": lambda physical_id, _old, _new, _stack: named(physical_id),
        "delete": lambda _physical_id, _properties: None,
    }
