"""A table's change as DynamoDB writes it into a Kinesis data stream, read for the audit trail."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from secretfree.audit.event import ItemChange
from secretfree.errors import ErrorCode, Reason, SecretFreeError


def item_change(data: bytes) -> ItemChange:
    """The change that a Kinesis record holds.

    Raises SecretFreeError (`internal`) for a record of another form.
    """
    try:
        record = json.loads(data)
        change = record["dynamodb"]
        keys = change["Keys"]
        return ItemChange(
            change_id=str(record["eventID"]),
            at=_moment(float(change["ApproximateCreationDateTime"])),
            device_id=_text(keys["device-id"]),
            record=_text(keys["record"]) if "record" in keys else None,
            before=_image(change.get("OldImage")),
            after=_image(change.get("NewImage")),
            expired=(record.get("userIdentity") or {}).get("principalId") == _TIME_TO_LIVE,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise SecretFreeError(
            ErrorCode.INTERNAL, f"no change of a table: {type(error).__name__}", reason=Reason.REGISTRY_RECORD
        ) from None


def _moment(number: float) -> datetime:
    """Seconds, milliseconds or microseconds since 1970, by magnitude: the stream's precision is a setting."""
    for unit in (1e6, 1e3):
        if number > _LATEST_SECOND * unit / 1e3:
            return datetime.fromtimestamp(number / unit, UTC)
    return datetime.fromtimestamp(number, UTC)


def _text(value: Mapping[str, Any]) -> str:
    text = value["S"]
    if not isinstance(text, str):
        raise TypeError(type(text).__name__)
    return text


def _image(image: Mapping[str, Mapping[str, Any]] | None) -> dict[str, str] | None:
    """The texts, numbers and booleans of an image. The trail keeps nothing from lists and maps."""
    if image is None:
        return None
    found = {}
    for name, value in image.items():
        ((kind, content),) = value.items()
        if kind in {"S", "N"} and isinstance(content, str):
            found[name] = content
        elif kind == "BOOL":
            found[name] = "true" if content is True else "false"
    return found


_TIME_TO_LIVE: Final = "dynamodb.amazonaws.com"
_LATEST_SECOND: Final = 1e11  # in the year 5138; as milliseconds, in 1973
