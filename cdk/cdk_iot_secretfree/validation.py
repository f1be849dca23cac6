"""Checks of arguments at synth. An error names the argument, what was given and what is accepted."""

import re
from typing import Final, NoReturn

from aws_cdk import Duration, RemovalPolicy, Token

HOST_NAME: Final = r"([a-z0-9-]{1,63}\.)+[a-z0-9-]{2,63}"
HOST_NAME_FORM: Final = "a lower-case host name, without a wildcard"

_SHOWN: Final = 120
# The beginning of every token that the CDK puts into text.
_MARK_IN_TEXT: Final = "${Token["
KNOWN_AT_SYNTH: Final = "known at synth"
_HOUR: Final = 3_600
_DAY: Final = 86_400
_REMOVAL_POLICIES: Final = ("RETAIN", "RETAIN_ON_UPDATE_OR_DELETE", "DESTROY")


class InvalidArgumentError(ValueError):
    """An invalid argument. The message names it, what was given and what is accepted."""

    def __init__(self, argument: str, given: object, accepted: str) -> None:
        shown = _shown(given)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        super().__init__(f"{argument}: {shown!r} was given; accepted: {accepted}")
        self.argument = argument
        self.accepted = accepted


def _shown(given: object) -> str:
    # A token prints as a marker of the CDK without meaning for a reader, such as `-1.8e+289` or `${Token[TOKEN.7]}`.
    if is_token(given):
        return "a token"
    if isinstance(given, str):
        return given
    # Memory addresses have no meaning for a reader either. A list may contain tokens.
    without_addresses = re.sub(r"<(?:[\w<>]+\.)*(\w+) object at 0x[0-9a-f]+>", r"an object of \1", repr(given))
    return re.sub(r"-1\.8\d*e\+289|[$#]\{Token\[[^]]*\]\}", "a token", without_addresses)


def refuse(argument: str, given: object, accepted: str) -> NoReturn:
    """Raise InvalidArgumentError."""
    raise InvalidArgumentError(argument, given, accepted)


def is_token(value: object) -> bool:
    """Whether the value is known only at deploy time, so that synth cannot check it."""
    if isinstance(value, str) and _MARK_IN_TEXT not in value:
        return False  # Most values. This saves a call to the CDK's process.
    # The CDK fails on any other kind of value.
    is_text_or_number = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    is_list = isinstance(value, list) and len(value) == 1 and isinstance(value[0], str)
    is_resolvable = not isinstance(value, type) and hasattr(type(value), "creation_stack")
    return (is_text_or_number or is_list or is_resolvable) and bool(Token.is_unresolved(value))


def require_match(argument: str, value: str, pattern: str, accepted: str, *, known: bool = False) -> str:
    """Return the value if all of it matches. Tokens pass, unless the value must be `known` at synth."""
    if is_token(value):
        if known:
            refuse(argument, value, f"{accepted}; {KNOWN_AT_SYNTH}")
    elif not isinstance(value, str) or not re.fullmatch(pattern, value):
        refuse(argument, value, accepted)
    return value


def require_range(argument: str, value: int, low: int, high: int, unit: str = "") -> int:
    """Return the value if it is in the range, bounds included. Tokens cannot be compared and are refused."""
    accepted = f"a whole number from {low} to {high}{f' {unit}' if unit else ''}"
    if is_token(value):
        refuse(argument, value, f"{accepted}; {KNOWN_AT_SYNTH}")
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        refuse(argument, value, accepted)
    return value


def require_seconds(argument: str, value: Duration, low: float, high: float, accepted: str, *, step: int = 1) -> int:
    """Return the duration in seconds if it is in the range, bounds included, and a multiple of `step`.

    Tokens, and values that are not a duration, are refused.
    """
    if not isinstance(value, Duration):
        refuse(argument, value, accepted)
    if value.is_unresolved():
        refuse(argument, "a token", f"{accepted}; {KNOWN_AT_SYNTH}")
    milliseconds = value.to_milliseconds()
    if milliseconds % (step * 1_000) or not low * 1_000 <= milliseconds <= high * 1_000:
        refuse(argument, value.to_human_string(), accepted)
    return int(milliseconds // 1_000)


def require_whole_days(argument: str, value: Duration, low: int, high: int) -> int:
    """Return the duration in days if it is a whole number of days in the range."""
    accepted = f"whole days, from {low} to {high}"
    return require_seconds(argument, value, low * _DAY, high * _DAY, accepted, step=_DAY) // _DAY


def require_whole_hours(argument: str, value: Duration, low: int, high: int) -> int:
    """Return the duration in hours if it is a whole number of hours in the range."""
    accepted = f"whole hours, from {low} to {high}"
    return require_seconds(argument, value, low * _HOUR, high * _HOUR, accepted, step=_HOUR) // _HOUR


def is_retained(removal_policy: RemovalPolicy) -> bool:
    """Whether a resource is kept when it leaves the stack."""
    return removal_policy in {RemovalPolicy.RETAIN, RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE}


def require_removal_policy(value: RemovalPolicy) -> None:
    """Refuse SNAPSHOT, which CloudFormation accepts for other resource types only."""
    if value is not RemovalPolicy.DESTROY and not is_retained(value):
        refuse("removal_policy", getattr(value, "name", value), ", ".join(_REMOVAL_POLICIES))


def require_product(product: str) -> None:
    """Refuse a product that cannot be a metric dimension and part of names."""
    require_match("product", product, r"[A-Za-z0-9_-]{1,64}", "1 to 64 of A-Z a-z 0-9 _ -", known=True)
