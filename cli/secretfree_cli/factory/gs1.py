"""GS1 element strings: the application identifiers of a label (GS1 General Specifications, section 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote, urlsplit

SERIAL_NUMBER: Final = "21"
FNC1: Final = "\x1d"
"""The character that a scanner types for FNC1, which ends a value of variable length."""
SYMBOLOGIES: Final = frozenset({"]C1", "]d2", "]Q3", "]e0", "]J1"})
"""AIM identifiers (ISO/IEC 15424) of codes with GS1 data: GS1-128, DataMatrix, QR, DataBar and DotCode."""
APPLICATION_IDENTIFIER: Final = re.compile(r"[0-9]{2,4}", re.ASCII)

# Number of digits of an application identifier, by its first two digits (section 3.2).
_IDENTIFIER_DIGITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        **dict.fromkeys(("00", "01", "02", "03", "04", "20", "21", "22", "30", "37"), 2),
        **dict.fromkeys((f"{number}" for number in range(10, 20)), 2),
        **dict.fromkeys((f"{number}" for number in range(90, 100)), 2),
        **dict.fromkeys(("23", "24", "25", "40", "41", "42", "71"), 3),
        **dict.fromkeys((f"{number}" for number in range(31, 37)), 4),
        **dict.fromkeys(("39", "43", "70", "72", "80", "81", "82"), 4),
    }
)
# Number of characters of a value by the first two digits, for predefined lengths without a FNC1 (7.8.5).
_PREDEFINED: Final[Mapping[str, int]] = MappingProxyType(
    {
        "00": 18,
        "01": 14,
        "02": 14,
        "03": 14,
        "04": 16,
        "20": 2,
        "41": 13,
        **dict.fromkeys((f"{number}" for number in range(11, 20)), 6),
        **dict.fromkeys((f"{number}" for number in range(31, 37)), 6),
    }
)
_MOST_CHARACTERS: Final = 90
_MOST_SERIAL_CHARACTERS: Final = 20
_BRACKETED: Final = re.compile(r"\((?P<identifier>[0-9]{2,4})\)(?P<value>[^()]+)", re.ASCII)
_GTIN: Final = re.compile(r"01(?P<gtin>[0-9]{14})", re.ASCII)


class Gs1Error(ValueError):
    """Text that is not a GS1 element string."""


def elements(text: str) -> Sequence[tuple[str, str]]:
    """Return the application identifiers and values of an element string, in order.

    Forms: as a scanner types it, with FNC1 after a value of variable length unless it is the last; or with identifiers
    in brackets.

    Raises: Gs1Error
    """
    if text.startswith("("):
        return _bracketed(text)
    found, rest = [], text.lstrip(FNC1)
    while rest:
        digits = _IDENTIFIER_DIGITS.get(rest[:2])
        identifier = rest[:digits]
        if digits is None or len(identifier) != digits or not identifier.isdecimal() or not identifier.isascii():
            raise Gs1Error(f"{rest[:4]!a} is not the beginning of an application identifier")
        rest = rest[digits:]
        length = _PREDEFINED.get(identifier[:2])
        if length is None:
            value, _, rest = rest.partition(FNC1)
        else:
            value, rest = rest[:length], rest[length:].removeprefix(FNC1)
            if len(value) != length or not value.isdecimal():
                raise Gs1Error(f"application identifier {identifier} needs {length} digits")
        _require_value(identifier, value)
        found.append((identifier, value))
    return found


def digital_link(text: str) -> Sequence[tuple[str, str]]:
    """Return the application identifiers and values of a GS1 Digital Link URI; empty for another URI."""
    parts = [unquote(part) for part in urlsplit(text).path.strip("/").split("/")]
    if "01" not in parts:
        return []
    parts = parts[parts.index("01") :]
    pairs = list(zip(parts[::2], parts[1::2], strict=False))
    return [pair for pair in pairs if APPLICATION_IDENTIFIER.fullmatch(pair[0])]


def looks_like_gs1(text: str) -> bool:
    """Whether text without a symbology identifier is an element string: it has an FNC1, brackets, or a valid GTIN."""
    if FNC1 in text or _BRACKETED.match(text):
        return True
    matched = _GTIN.match(text)
    if matched is None or not _has_check_digit(matched["gtin"]) or len(text) == matched.end():
        return False
    try:
        elements(text)
    except Gs1Error:
        return False
    return True


def _bracketed(text: str) -> Sequence[tuple[str, str]]:
    found = [(match["identifier"], match["value"].strip()) for match in _BRACKETED.finditer(text)]
    if "".join(match.group() for match in _BRACKETED.finditer(text)) != text:
        raise Gs1Error("brackets without an application identifier")
    for identifier, value in found:
        _require_value(identifier, value)
    return found


def _require_value(identifier: str, value: str) -> None:
    most = _MOST_SERIAL_CHARACTERS if identifier == SERIAL_NUMBER else _MOST_CHARACTERS
    if not 0 < len(value) <= most:
        raise Gs1Error(f"application identifier {identifier} has {len(value)} characters; accepted: 1 to {most}")


def _has_check_digit(gtin: str) -> bool:
    """Whether the last digit of a GTIN-14 is its check digit (section 7.9)."""
    weighted = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(gtin[:-1]))
    return (10 - weighted % 10) % 10 == int(gtin[-1])
