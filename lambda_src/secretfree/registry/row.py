"""The columns of a row of CSV or JSON Lines, for the CLI and the cloud."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from secretfree.registry.admission import Refusal, Row, RowRefused

DEVICE_ID: Final = "device-id"
PUBLIC_KEYS: Final = ("public-key", "pubkey")
"""Two names of one column. An export writes the second, the registry's own name."""
STATUS: Final = "status"
FINGERPRINT: Final = "key-fingerprint"
NOT_BEFORE: Final = "not-before"
ATTRIBUTES: Final = "attributes"
ATTRIBUTE_PREFIX: Final = "attributes."
PASSED_OVER: Final = frozenset({"batch", "enrolled-at", "source", "blocked-reason"})
"""Columns of an export about an earlier import. They are ignored: each import keeps its own account."""
COLUMNS_FORM: Final = (
    "device-id, public-key, and optionally status, key-fingerprint, not-before, attributes (an object, in JSON "
    "Lines) and attributes.NAME"
)
_TEXT_COLUMNS: Final = frozenset({DEVICE_ID, *PUBLIC_KEYS, STATUS, FINGERPRINT, NOT_BEFORE})
_SEPARATORS: Final = re.compile(r"[-_\s]+")
_SPELLINGS: Final = MappingProxyType({name.replace("-", ""): name for name in (*_TEXT_COLUMNS, *PASSED_OVER)})


def read_columns(fields: Mapping[str, object]) -> Row:
    """Parse a row; its column names are `COLUMNS_FORM`, in any spelling that `column_name` accepts.

    Raises: RowRefused for an unknown column with a value, a value that is not text, or a repeated column.
    """
    texts: dict[str, str] = {}
    attributes: dict[str, str] = {}
    for given, value in fields.items():
        meant = _remembered(given) if len(given) <= _MAX_REMEMBERED else _understood(given)
        if meant.column == ATTRIBUTES:
            attributes |= _object(value)
        elif meant.attribute is None:
            _take(texts, meant.column, _text_of_jwk(value) if meant.column in PUBLIC_KEYS else value)
        elif text := _text(meant.name, value):
            attributes[meant.attribute] = text
    keys = [texts[name] for name in PUBLIC_KEYS if name in texts]
    if len(keys) > 1:
        raise RowRefused(Refusal.MALFORMED_ROW, "public-key and pubkey are two names of one column")
    return Row(
        texts.get(DEVICE_ID),
        keys[0] if keys else None,
        texts.get(STATUS),
        texts.get(FINGERPRINT),
        attributes,
        texts.get(NOT_BEFORE),
    )


def missing_columns(names: list[str]) -> list[str]:
    """Return the required columns that are missing in a header."""
    present = {column_name(name) for name in names}
    missing = [] if DEVICE_ID in present else [DEVICE_ID]
    return missing if present & set(PUBLIC_KEYS) else [*missing, PUBLIC_KEYS[0]]


def column_name(given: str) -> str:
    """Return the column of a header's name: `Device ID`, `device_id` and `deviceId` are `device-id`.

    Unknown names are returned in lower case, without surrounding spaces.
    """
    name = given.strip().lstrip("\ufeff").lower()  # a byte order mark, as spreadsheets write
    return _SPELLINGS.get(_SEPARATORS.sub("", name), name)


class _Meant(NamedTuple):
    """A column's name: as given, in lower case, and the attribute's name if the column is an attribute."""

    name: str
    column: str
    attribute: str | None


def _understood(given: str) -> _Meant:
    name, column = given.strip().lstrip("\ufeff"), column_name(given)
    return _Meant(name, column, name[len(ATTRIBUTE_PREFIX) :] if column.startswith(ATTRIBUTE_PREFIX) else None)


_remembered: Final = lru_cache(maxsize=256)(_understood)
"""All rows of a manifest have the same few names."""
_MAX_REMEMBERED: Final = 128
"""Maximum number of characters of a cached name, because names come from files and must not fill the memory."""


def _take(texts: dict[str, str], name: str, value: object) -> None:
    if name in PASSED_OVER or value in (None, ""):
        return
    if name not in _TEXT_COLUMNS:
        raise RowRefused(Refusal.UNKNOWN_FIELD, f"the column {name[:80]!r}; accepted: {COLUMNS_FORM}")
    if name in texts:
        raise RowRefused(Refusal.MALFORMED_ROW, f"the column {name!r} is repeated")
    if text := _text(name, value):
        texts[name] = text


def _text(name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowRefused(Refusal.MALFORMED_ROW, f"{name[:80]!r} is not text")
    return value.strip()


def _text_of_jwk(value: object) -> object:
    """Return a JWK object of a JSON row as the text that a CSV column would have."""
    return json.dumps(value) if isinstance(value, Mapping) and "kty" in value else value


def _object(value: object) -> dict[str, str]:
    if value in (None, ""):
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in [*value, *value.values()]):
        raise RowRefused(Refusal.MALFORMED_ROW, "attributes is not an object of texts")
    return dict(value)
