"""The stack's resources: log groups, thing types, the device policy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from secretfree.contract import Output

from secretfree_cli.diagnose.collectors.reading import Reading
from secretfree_cli.product_line import outputs_of_line
from secretfree_cli.target import Target


@dataclass(frozen=True)
class Stack:
    """Physical ids of the stack's resources, by type and logical id, and its outputs."""

    resources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)

    def ids(self, kind: str) -> Sequence[str]:
        """Physical ids of one type of resource."""
        return list(self.resources.get(kind, {}).values())

    @property
    def log_groups(self) -> Sequence[str]:
        """The groups of the functions and of the API's access log."""
        existing = self.outputs.get(Output.LOG_GROUPS, "")
        return [*self.ids("AWS::Logs::LogGroup"), *(name for name in existing.split(",") if name)]

    @property
    def thing_types(self) -> frozenset[str]:
        """Names of the product line's thing type: from the output, or those of an older stack."""
        if (named := self.outputs.get(Output.THING_TYPE_NAME)) is not None:
            return frozenset({named})
        return frozenset(one.rpartition("/")[2] for one in self.ids("AWS::IoT::ThingType"))

    @property
    def policy_name(self) -> str | None:
        """The product line's IoT policy."""
        return self.outputs.get(Output.DEVICE_POLICY_NAME)

    @property
    def validity(self) -> timedelta | None:
        """Validity of the certificates that Private CA signs."""
        days = self.outputs.get(Output.CERTIFICATE_VALIDITY_DAYS, "")
        return timedelta(days=int(days)) if days.isdigit() else None


def read_stack(target: Target, reading: Reading) -> Stack:
    """Read the stack's resources and outputs; a target of `--table` has none."""
    if target.stack_name is None:
        return Stack()
    client = target.client("cloudformation")
    name = target.stack_name
    resources = reading.attempt("the stack's resources", lambda: _resources(client, name))
    outputs = reading.attempt("the stack's outputs", lambda: _outputs(client, name, target.product))
    return Stack(resources or {}, outputs or {})


def _resources(client: Any, name: str) -> Mapping[str, Mapping[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for page in client.get_paginator("list_stack_resources").paginate(StackName=name):
        for one in page["StackResourceSummaries"]:
            found[one["ResourceType"]][one["LogicalResourceId"]] = one.get("PhysicalResourceId", "")
    return found


def _outputs(client: Any, name: str, product: str | None) -> Mapping[str, str]:
    (stack,) = client.describe_stacks(StackName=name)["Stacks"]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}
    return outputs if product is None else outputs_of_line(outputs, product, name)
