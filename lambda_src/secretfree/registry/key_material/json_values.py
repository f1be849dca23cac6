"""One JSON object, parsed strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from secretfree.registry.admission import Refusal, RowRefused


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse one JSON object.

    Raises RowRefused, also for a repeated name, because parsers differ on which one counts.
    """
    try:
        parsed = json.loads(data, object_pairs_hook=_unique_names, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RowRefused(Refusal.MALFORMED_ROW, f"not JSON: {what}") from error
    if not isinstance(parsed, dict):
        raise RowRefused(Refusal.MALFORMED_ROW, f"a JSON {type(parsed).__name__}, not an object")
    return parsed


def text_field(document: Mapping[str, Any], name: str) -> str | None:
    """Return a field that is text or absent; raises RowRefused for any other type."""
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise RowRefused(Refusal.MALFORMED_ROW, f"{name} is not text")
    return value


def _unique_names(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("an object has a name twice")
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
