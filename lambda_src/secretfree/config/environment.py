"""The forms of an environment variable, and what every function has. Another form raises ConfigurationError."""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from typing import Final, TypeGuard, TypeVar

from secretfree.contract import LogLevel, Variable
from secretfree.request.device_profile import DeviceProfile

_Choice = TypeVar("_Choice", bound=Enum)
_HOURS: Final = re.compile(r"[0-9]{1,6}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


class ConfigurationError(Exception):
    """An environment variable that is missing or not of its form. The message names it and what is accepted."""


def texts(environment: Mapping[str, str], name: Variable, of: str) -> tuple[str, ...]:
    """A JSON array of texts that are not empty."""
    found = json_value(environment, name)
    if not isinstance(found, list) or not all(isinstance(text, str) and text for text in found):
        raise refused(name, environment[name], f"a JSON array of {of}")
    return tuple(found)


def string_map(environment: Mapping[str, str], name: Variable) -> dict[str, str]:
    """A JSON object of texts."""
    value = json_value(environment, name)
    if not is_string_map(value):
        raise refused(name, environment[name], "a JSON object of strings")
    return value


def is_string_map(value: object) -> TypeGuard[dict[str, str]]:
    """Whether a value from JSON is an object of texts."""
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def json_value(environment: Mapping[str, str], name: Variable) -> object:
    """A variable in JSON."""
    text = required_text(environment, name)
    try:
        value: object = json.loads(text)
    except ValueError:
        raise refused(name, text, "JSON") from None
    return value


def hours(environment: Mapping[str, str], name: Variable) -> timedelta:
    """Whole hours, 0 or more."""
    text = required_text(environment, name)
    if _HOURS.fullmatch(text) is None:
        raise refused(name, text, "whole hours, 0 or more")
    return timedelta(hours=int(text))


def number(environment: Mapping[str, str], name: Variable, *, least: int) -> int:
    """A whole number."""
    text = required_text(environment, name)
    if _NUMBER.fullmatch(text) is None or int(text) < least:
        raise refused(name, text, f"a whole number, {least} or more")
    return int(text)


def choice(environment: Mapping[str, str], name: Variable, choices: type[_Choice]) -> _Choice:
    """The value of a member of `choices`."""
    text = required_text(environment, name)
    try:
        return choices(text)
    except ValueError:
        raise refused(name, text, f"one of {', '.join(str(choice.value) for choice in choices)}") from None


def required_text(environment: Mapping[str, str], name: Variable) -> str:
    """A text that is not empty."""
    text = environment.get(name, "")
    if not text:
        raise ConfigurationError(f"environment variable {name} is missing or empty")
    return text


def refused(name: Variable, given: str, accepted: str) -> ConfigurationError:
    """The error for a variable of another form."""
    return ConfigurationError(f"environment variable {name} is {given[:200]!r}; accepted: {accepted}")


def function_settings(environment: Mapping[str, str]) -> dict[str, object]:
    """What every function has: product, device profile and log level. Raises ConfigurationError."""
    level = environment.get(Variable.LOG_LEVEL, LogLevel.INFO.name)
    if level not in LogLevel.__members__:
        raise refused(Variable.LOG_LEVEL, level, f"one of {', '.join(LogLevel.__members__)}")
    return {
        "product": required_text(environment, Variable.PRODUCT),
        "device_profile": choice(environment, Variable.DEVICE_PROFILE, DeviceProfile),
        "log_level": LogLevel[level],
    }
