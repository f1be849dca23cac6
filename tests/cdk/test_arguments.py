"""Every wrong argument is named: wrong values for every parameter of every public callable, from its annotations."""

import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import cdk_iot_secretfree
import pytest
from aws_cdk import Duration, Token
from cdk_iot_secretfree import InvalidArgumentError


class Alien:
    """A type that no annotation accepts."""


class Case:
    def __init__(self, owner: str, name: str, function: Callable[..., Any], *, bound: bool) -> None:
        self.label = f"{owner}.{name}"
        self.function = function
        self.hints = {
            parameter: hint
            for parameter, hint in get_type_hints(function, localns=vars(cdk_iot_secretfree)).items()
            if parameter in inspect.signature(function).parameters
        }
        self.receiver = [object()] if bound else []

    def call(self, argument: str, value: object) -> None:
        """Call with the one wrong value. The others are right in their type, and only their type is looked at."""
        required = [
            name
            for name, parameter in inspect.signature(self.function).parameters.items()
            if name in self.hints and parameter.default is inspect.Parameter.empty
        ]
        arguments = {**{name: right(self.hints[name]) for name in required}, argument: value}
        self.function(*self.receiver, **arguments)


def public_classes() -> Iterator[tuple[str, type]]:
    for name in cdk_iot_secretfree.__all__:
        found = getattr(cdk_iot_secretfree, name)
        if not issubclass(found, Enum | Exception) and not getattr(found, "_is_protocol", False):
            yield name, found


@cache
def cases() -> dict[str, Case]:
    return {case.label: case for case in _cases()}


def _cases() -> Iterator[Case]:
    for owner, found in public_classes():
        for name in dir(found):
            member = inspect.getattr_static(found, name)
            function = member.__func__ if isinstance(member, staticmethod) else member
            # What the CDK's classes define is theirs to check. An abstract method has no body.
            ours = inspect.isfunction(function) and function.__module__.startswith(("cdk_iot_secretfree", "secretfree"))
            if ours and (name == "__init__" or not name.startswith("_")) and not is_abstract(function):
                has_receiver = not isinstance(member, staticmethod)
                yield Case(owner, name, function, bound=has_receiver)


def is_abstract(function: object) -> bool:
    return getattr(function, "__isabstractmethod__", False)


def alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


def wrong(hint: Any) -> list[object]:
    """Values that the annotation excludes."""
    kinds = alternatives(hint)
    if Any in kinds:
        return []
    always = [Alien()] if get_origin(kinds[0]) is Callable else [Alien(), Alien]
    return always + [value for value in _likely_mistakes(kinds[0]) if value is not None or type(None) not in kinds]


def _likely_mistakes(kind: Any) -> list[object]:
    origin = get_origin(kind)
    if origin is not None and issubclass(origin, Mapping):
        return (
            [None, "a=b", [("a", "b")], {7: "b"}, {"a": Alien()}] if get_args(kind)[1] is not Any else [None, "a", []]
        )
    if origin is Callable:
        return [None, 7, "text"]
    if origin is not None:
        number = Token.as_number({"Ref": "Number"})
        return [None, 7, "text", [Alien()], {"a": Alien()}, (None,), [number], ["text", number]]
    simple = {
        int: [None, "7", 7.5, True, Duration.days(7), Token.as_number({"Ref": "Number"})],
        str: [None, 7, b"text", ["text"], True],
        bool: [None, "true", 1],
        Duration: [None, 7, "7 days", timedelta(days=7), Duration.days(Token.as_number({"Ref": "Number"}))],
    }
    if kind in simple:
        return simple[kind]
    if issubclass(kind, Enum):
        member = next(iter(kind))
        return [None, member.name, True]
    return [None, 7, "text", {}, kind]


def right(hint: Any) -> object:
    """A value of the annotation's type, with nothing in it."""
    kind = alternatives(hint)[0]
    if (origin := get_origin(kind)) is Callable:
        return lambda *_: None
    if origin:
        return {} if issubclass(origin, Mapping) else ()
    if kind in {str, int, bool}:
        return kind()
    if issubclass(kind, Enum):
        return next(iter(kind))
    if getattr(kind, "_is_protocol", False):
        names = {name for base in kind.__mro__ for name in vars(base) if not name.startswith("_")}
        return type("Implementation", (), dict.fromkeys(names))()
    if inspect.isabstract(kind):
        kind = types.new_class("Implementation", (kind,))
        kind.__abstractmethods__ = frozenset()
    return object.__new__(kind)


PARAMETERS = [(label, name) for label, case in cases().items() for name in case.hints]


@pytest.mark.parametrize(("label", "argument"), PARAMETERS, ids=[f"{label}-{name}" for label, name in PARAMETERS])
def test_a_value_of_the_wrong_type_is_refused_by_the_arguments_name(label, argument):
    case = cases()[label]
    for value in wrong(case.hints[argument]):
        with pytest.raises(InvalidArgumentError) as refused:
            case.call(argument, value)
        assert refused.value.argument == argument, value
        assert re.match(rf"{argument}: .+ was given; accepted: .+", str(refused.value), re.DOTALL)
        assert not re.search(r"e\+\d|Token\[| at 0x", str(refused.value))


def test_every_public_class_is_tried():
    tried = {label.partition(".")[0] for label, _ in PARAMETERS}
    assert tried == {name for name, _ in public_classes()}
    assert len(PARAMETERS) > 150
