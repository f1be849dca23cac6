"""The registry's DynamoDB stream: a record as a change that the rules read."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from secretfree.errors import ErrorCode, Reason, SecretFreeError
from secretfree.registry.entry import RegistryEntry
from secretfree.request.device_id import DeviceId
from secretfree.revocation.change import RegistryChange


def change_of(record: Mapping[str, Any]) -> RegistryChange | None:
    """The change of a stream record; None for an item that is not a device, such as one that reserves a key.

    Raises SecretFreeError (`internal`) for a record of another form.
    """
    try:
        stream = record["dynamodb"]
        text = stream["Keys"]["device-id"]["S"]
        at = datetime.fromtimestamp(float(stream["ApproximateCreationDateTime"]), UTC)
        if not DeviceId.is_valid(text):
            return None
        return RegistryChange(
            device_id=DeviceId.parse(text),
            at=at,
            before=_entry(stream.get("OldImage")),
            after=_entry(stream.get("NewImage")),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise SecretFreeError(
            ErrorCode.INTERNAL, f"no stream record of a registry: {type(error).__name__}", reason=Reason.REGISTRY_RECORD
        ) from None


def _entry(image: Mapping[str, Any] | None) -> RegistryEntry | None:
    if image is None:
        return None
    # An attribute of another type becomes empty, which no rule accepts.
    return RegistryEntry.from_attributes({name: value.get("S", "") for name, value in image.items()})
