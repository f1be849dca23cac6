"""Whether an IoT policy document lets a device connect under its own name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

_OWN_NAME = ("${iot:Connection.Thing.ThingName}", "${iot:ClientId}")


def allows_connect(document: str, device_id: str) -> bool:
    """Return whether a statement allows `iot:Connect` for the device's client id, and none denies it outright.

    A Deny with a condition is ignored, because its values are known only at the connection.
    """
    try:
        statements = _listed(json.loads(document).get("Statement"))
    except (ValueError, AttributeError):
        return False
    about = [one for one in statements if isinstance(one, dict) and _covers(one, device_id)]
    denied = any(one.get("Effect") == "Deny" and not one.get("Condition") for one in about)
    return not denied and any(one.get("Effect") == "Allow" for one in about)


def _covers(statement: dict[str, Any], device_id: str) -> bool:
    actions = [str(action).lower() for action in _listed(statement.get("Action"))]
    if not any(fnmatchcase("iot:connect", action) for action in actions):
        return False
    return any(_names(str(resource), device_id) for resource in _listed(statement.get("Resource")))


def _names(resource: str, device_id: str) -> bool:
    for variable in _OWN_NAME:
        resource = resource.replace(variable, device_id)
    if resource == "*":
        return True
    # An ARN: arn:partition:iot:region:account:client/NAME.
    name = resource.split(":", 5)[-1].replace("[", "[[]")
    return fnmatchcase(f"client/{device_id}", name)


def _listed(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    return value if isinstance(value, list) else (value,)
