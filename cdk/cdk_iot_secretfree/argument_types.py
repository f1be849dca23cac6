"""The types of public arguments, checked against the annotations before any code of the construct runs."""

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from aws_cdk import Duration
from jsii._reference_map import InterfaceDynamicProxy

from cdk_iot_secretfree.validation import KNOWN_AT_SYNTH, is_token, refuse

_Class = TypeVar("_Class", bound=type)


def checks_arguments(cls: _Class) -> _Class:
    """Check the arguments of the constructor and of every public function that this class defines.

    A wrong argument raises InvalidArgumentError, which names it, before the function begins. jsii would fail later,
    with the name of a parameter of its own.
    """
    for name, member in list(vars(cls).items()):
        function = member.__func__ if isinstance(member, staticmethod) else member
        if not inspect.isfunction(function) or (name.startswith("_") and name != "__init__"):
            continue
        checked = _checked(function)
        setattr(cls, name, staticmethod(checked) if isinstance(member, staticmethod) else checked)
    return cls


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @functools.cache
    def hints() -> Mapping[str, Any]:
        # Resolved at the first call, because some annotations name classes that import this class's module.
        package = vars(sys.modules[__package__])
        return {
            name: hint
            for name, hint in get_type_hints(function, localns=package).items()
            if name in signature.parameters
        }

    @functools.wraps(function)
    def with_checks(*args: Any, **kwargs: Any) -> Any:
        # Python itself names an argument that is missing, unknown or given twice.
        given = signature.bind(*args, **kwargs).arguments
        for name, hint in hints().items():
            if name in given:
                _check(name, given[name], hint)
        return function(*args, **kwargs)

    return with_checks


def _check(argument: str, value: object, hint: Any) -> None:
    if _fits(value, hint):
        return
    known = is_token(value) or (isinstance(value, Duration) and value.is_unresolved())
    given = "a token" if known else value
    refuse(argument, given, f"{_form(hint)}; {KNOWN_AT_SYNTH}" if known else _form(hint))


def _fits(value: object, hint: Any) -> bool:
    if (alternatives := _alternatives(hint)) is not None:
        return any(_fits(value, alternative) for alternative in alternatives)
    if (kind := get_origin(hint)) is not None:
        return _fits_container(value, kind, get_args(hint))
    if getattr(hint, "_is_protocol", False):
        return _has_members(value, hint)
    if isinstance(value, Duration) and value.is_unresolved():
        return False
    # In Python, True is an int.
    return hint is Any or (isinstance(value, hint) and not (hint is int and isinstance(value, bool)))


def _fits_container(value: object, kind: type, items: tuple[Any, ...]) -> bool:
    # A string is itself a sequence of strings. A list token is a list with one marker, so its length means nothing.
    if isinstance(value, str) or not isinstance(value, kind) or is_token(value):
        return False
    if issubclass(kind, Callable):  # type: ignore[arg-type]  # a class, at run time
        return True
    if isinstance(value, Mapping):
        return all(_fits(key, items[0]) and _fits(item, items[1]) for key, item in value.items())
    return isinstance(value, Iterable) and all(_fits(item, items[0]) for item in value)


def _has_members(value: object, protocol: type) -> bool:
    """Whether the value's class has the members of the interface. Reading the class runs no property."""
    if isinstance(value, type):
        return False
    # The CDK's `from_...` functions return a proxy that implements several interfaces.
    parts = value._delegates if isinstance(value, InterfaceDynamicProxy) else [value]  # noqa: SLF001
    classes = [type(part) for part in parts]
    members = (
        name
        for base in protocol.__mro__
        if getattr(base, "_is_protocol", False)
        for name in vars(base)
        if not name.startswith("_")
    )
    return all(any(hasattr(cls, name) for cls in classes) for name in members)


def _form(hint: Any) -> str:
    """The accepted form in words."""
    if (alternatives := _alternatives(hint)) is not None:
        return " or ".join(_form(alternative) for alternative in alternatives)
    if (kind := get_origin(hint)) is Callable:
        return "a function"
    if kind is not None:
        items = [_form(item) for item in get_args(hint)]
        return f"a mapping from {items[0]} to {items[1]}" if issubclass(kind, Mapping) else f"a list, each {items[0]}"
    return _WORDS.get(hint) or _form_of_class(hint)


def _form_of_class(kind: type) -> str:
    # The factory methods of classes that users do not construct themselves.
    if (made_by := getattr(kind, "made_by", None)) is not None:
        return str(made_by)
    if issubclass(kind, Enum) and len(kind) <= _MOST_SHOWN:
        return ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"


def _alternatives(hint: Any) -> tuple[Any, ...] | None:
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else None


_MOST_SHOWN: Final = 12
_WORDS: Final[Mapping[Any, str]] = {
    Any: "any value",
    ...: "any number of them",
    types.NoneType: "None",
    bool: "True or False",
    int: "a whole number",
    str: "text",
}
