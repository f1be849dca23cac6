"""Shared by the construct's tests: one process, one synth for each shape, no bundling unless a test is about it."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aws_cdk import App, Environment, Stack
from aws_cdk.assertions import Annotations, Match, Template
from cdk_iot_secretfree import SampleOptions, SecretFreeStack
from constructs import Construct
from secretfree.contract import Variable

WITHOUT_BUNDLING = {"aws:cdk:bundling-stacks": []}


class Synthesised:
    """A stack's template, and the questions that tests ask of it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.template = Template.from_stack(stack)
        self.json: dict[str, Any] = self.template.to_json()

    @property
    def resources(self) -> dict[str, Any]:
        return self.json["Resources"]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        return {name: resource for name, resource in self.resources.items() if resource["Type"] == kind}

    def only(self, kind: str) -> dict[str, Any]:
        """The properties of the one resource of a type."""
        (resource,) = self.of_type(kind).values()
        return resource["Properties"]

    def function(self, handler: str, issuer: str | None = None) -> dict[str, Any]:
        """The one function of a handler (and issuer)."""
        (found,) = [
            resource["Properties"]
            for resource in self.of_type("AWS::Lambda::Function").values()
            if resource["Properties"]["Handler"] == f"secretfree.handlers.{handler}.handler"
            and (issuer is None or resource["Properties"]["Environment"]["Variables"]["SECRETFREE_ISSUER"] == issuer)
        ]
        return found

    def environment(self, handler: str, issuer: str | None = None) -> dict[str, Any]:
        return self.function(handler, issuer)["Environment"]["Variables"]

    def deployed_environment(self, handler: str, issuer: str | None = None) -> dict[str, str]:
        """The environment as a deployment leaves it: each intrinsic function as the text `deployed`."""
        return {name: deployed(value) for name, value in self.environment(handler, issuer).items()}

    def issuer_settings(self, issuer: str, handler: str = "issuer") -> dict[str, str]:
        """The settings that a function has of one issuer."""
        settings: dict[str, str] = json.loads(self.deployed_environment(handler, issuer)[Variable.ISSUERS])[issuer]
        return settings

    def statements(self, handler: str, issuer: str | None = None) -> list[dict[str, Any]]:
        """The statements of a function's role, but for those of its log group."""
        role = self.function(handler, issuer)["Role"]["Fn::GetAtt"][0]
        return [s for s in self.rights(role) if "logs:PutLogEvents" not in listed(s["Action"])]

    def rights(self, role: str) -> list[dict[str, Any]]:
        """The statements of a role, by its logical id."""
        return rights_of(self.resources, role)

    def every_right(self) -> list[dict[str, Any]]:
        """The statements of all roles."""
        return [statement for role in self.of_type("AWS::IAM::Role") for statement in self.rights(role)]

    def actions(self, handler: str, issuer: str | None = None) -> set[str]:
        return {action for statement in self.statements(handler, issuer) for action in listed(statement["Action"])}

    def warnings(self) -> list[str]:
        found = Annotations.from_stack(self.stack).find_warning("*", Match.any_value())
        return [str(message.entry.data) for message in found]


def rights_of(resources: Mapping[str, Any], role: str) -> list[dict[str, Any]]:
    """The statements of a role: those in it and those of the policies attached to it."""
    attached = [
        resource["Properties"]
        for resource in resources.values()
        if resource["Type"] == "AWS::IAM::Policy" and {"Ref": role} in resource["Properties"].get("Roles", [])
    ]
    policies = [*resources[role]["Properties"].get("Policies", []), *attached]
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.fixture(scope="session")
def in_list() -> Callable[[Any], list[Any]]:
    """One or many, as IAM has them, as a list."""
    return listed


@pytest.fixture
def stack() -> Stack:
    """An empty stack of no Region in particular."""
    return Stack(App(context=WITHOUT_BUNDLING), "Stack")


@pytest.fixture
def stack_in_ireland() -> Stack:
    """An empty stack of a known account and Region."""
    app = App(context=WITHOUT_BUNDLING)
    return Stack(app, "Stack", env=Environment(account="111122223333", region="eu-west-1"))


@pytest.fixture(scope="session")
def synthesise() -> Callable[[Callable[[Construct], object]], Synthesised]:
    """Synthesise a stack with what the given function puts into it."""

    def build(fill: Callable[[Construct], object]) -> Synthesised:
        stack = Stack(App(context=WITHOUT_BUNDLING), "Stack")
        fill(stack)
        return Synthesised(stack)

    return build


@pytest.fixture(scope="session")
def sample_with() -> Callable[..., Synthesised]:
    """The sample stack, for context values."""

    def build(**context: str) -> Synthesised:
        keys = {f"secretfree:{name.replace('_', '-')}": value for name, value in context.items()}
        app = App(context={**WITHOUT_BUNDLING, **keys})
        options = SampleOptions.from_context(app.node)
        return Synthesised(SecretFreeStack(app, options.stack_name, options=options))

    return build


@pytest.fixture(scope="session")
def sample(sample_with: Callable[..., Synthesised]) -> Synthesised:
    """The sample stack as it comes."""
    return sample_with()


def deployed(value: Any) -> str:
    if isinstance(value, str):
        return value
    if "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return str(separator).join(map(deployed, parts))
    return "deployed"
