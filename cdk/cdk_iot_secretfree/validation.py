"""How the construct refuses an argument at synth: the argument's name, what was given, what is accepted."""

import re
from enum import Enum
from typing import Any, Final, NoReturn

from aws_cdk import Duration, RemovalPolicy, Token
from secretfree.contract import DeviceProfile, MatchPolicy

_SHOWN: Final = 120
_KNOWN: Final = "known at synth"
_HOUR: Final = 3_600
_DAY: Final = 86_400
_REMOVAL_POLICIES: Final = ("RETAIN", "RETAIN_ON_UPDATE_OR_DELETE", "DESTROY")


class InvalidArgumentError(ValueError):
    """An argument of the construct that cannot work; the message names it, what was given and what is accepted."""

    def __init__(self, argument: str, given: object, accepted: str) -> None:
        # A token's own form is a marker of the CDK, as `-1.8e+289` or `${Token[TOKEN.7]}`: it says nothing.
        shown = "a token" if is_token(given) else given if isinstance(given, str) else repr(given)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        super().__init__(f"{argument}: {shown!r} was given; accepted: {accepted}")
        self.argument = argument
        self.accepted = accepted


def refuse(argument: str, given: object, accepted: str) -> NoReturn:
    """Raise InvalidArgumentError."""
    raise InvalidArgumentError(argument, given, accepted)


def is_token(value: object) -> bool:
    """Whether the value is known at deploy time only, so that nothing can be said about it at synth."""
    return bool(Token.is_unresolved(value))


def require_match(argument: str, value: str, pattern: str, accepted: str, *, known: bool = False) -> str:
    """The value, if the whole of it matches. Tokens pass, unless the value has to be `known` at synth."""
    if is_token(value):
        if known:
            refuse(argument, value, f"{accepted}; {_KNOWN}")
    elif not isinstance(value, str) or not re.fullmatch(pattern, value):
        refuse(argument, value, accepted)
    return value


def require_range(argument: str, value: int, low: int, high: int, unit: str = "") -> int:
    """The value, if it lies between the two, both included. A token is refused: nothing compares with it."""
    accepted = f"a whole number from {low} to {high}{f' {unit}' if unit else ''}"
    if is_token(value):
        refuse(argument, value, f"{accepted}; {_KNOWN}")
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        refuse(argument, value, accepted)
    return value


def require_seconds(argument: str, value: Duration, low: float, high: float, accepted: str, *, step: int = 1) -> int:
    """The duration in seconds, if it lies between the two, both included, and is a multiple of `step`.

    A token is refused, and so is what is no duration.
    """
    if not isinstance(value, Duration):
        refuse(argument, value, accepted)
    if value.is_unresolved():
        refuse(argument, "a token", f"{accepted}; {_KNOWN}")
    milliseconds = value.to_milliseconds()
    if milliseconds % (step * 1_000) or not low * 1_000 <= milliseconds <= high * 1_000:
        refuse(argument, value.to_human_string(), accepted)
    return int(milliseconds // 1_000)


def require_whole_days(argument: str, value: Duration, low: int, high: int) -> int:
    """The duration in days, if it is a whole number of them in the range."""
    accepted = f"whole days, from {low} to {high}"
    return require_seconds(argument, value, low * _DAY, high * _DAY, accepted, step=_DAY) // _DAY


def require_whole_hours(argument: str, value: Duration, low: int, high: int) -> int:
    """The duration in hours, if it is a whole number of them in the range."""
    accepted = f"whole hours, from {low} to {high}"
    return require_seconds(argument, value, low * _HOUR, high * _HOUR, accepted, step=_HOUR) // _HOUR


def is_retained(removal_policy: RemovalPolicy) -> bool:
    """Whether what leaves the stack is kept."""
    return removal_policy in {RemovalPolicy.RETAIN, RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE}


def require_removal_policy(value: RemovalPolicy) -> None:
    """Refuse SNAPSHOT: CloudFormation takes it for a few types only, none of which is here."""
    if value is not RemovalPolicy.DESTROY and not is_retained(value):
        refuse("removal_policy", getattr(value, "name", value), ", ".join(_REMOVAL_POLICIES))


def require_instance(argument: str, value: Any, kind: type, accepted: str) -> None:
    """Refuse a value of another type, where jsii would fail later and far away."""
    if not isinstance(value, kind):
        refuse(argument, value, accepted)


def require_member(argument: str, value: object, choices: type[Enum]) -> None:
    """Refuse what is no member of the enumeration, its value's text included."""
    require_instance(argument, value, choices, ", ".join(f"{choices.__name__}.{choice.name}" for choice in choices))


def require_product_line(product: str, match: MatchPolicy, device_profile: DeviceProfile) -> None:
    """Refuse what no product line can be made of."""
    require_match("product", product, r"[A-Za-z0-9_-]{1,64}", "1 to 64 of A-Z a-z 0-9 _ -", known=True)
    require_member("match", match, MatchPolicy)
    require_member("device_profile", device_profile, DeviceProfile)
