"""A change of the registry from its stream, which may deliver it repeatedly, late or out of order."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from secretfree.contract import MatchPolicy
from secretfree.registry.entry import DeviceStatus, RegistryEntry
from secretfree.request.device_id import DeviceId

# DynamoDB reports the time of a change in whole seconds. A certificate of the same second counts as older, so that no
# blocked device stays connected. An honest device sends another request.
_RESOLUTION: Final = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class RegistryChange:
    """One device's entry before and after a write.

    `at`: when DynamoDB recorded it, aware, UTC, exact to a second. `before` is None if the stream lacks it; `after` is
    None if the item was removed or the stream lacks it.
    """

    device_id: DeviceId
    at: datetime
    before: RegistryEntry | None
    after: RegistryEntry | None

    def withdrew(self, fingerprint: str, begun_at: datetime, match: MatchPolicy) -> bool:
        """Whether this change withdrew the permission of an issuance that began at `begun_at` for the key."""
        if self.before is None or begun_at >= self.at + _RESOLUTION:
            return False
        return permits(self.before, fingerprint, match) and not permits(self.after, fingerprint, match)


def permits(entry: RegistryEntry | None, fingerprint: str, match: MatchPolicy) -> bool:
    """Whether the registry permits the device a certificate for this key.

    An unreadable entry permits nothing. `not-before` is ignored, because it only delays an issuance.
    """
    if entry is None or entry.status is not DeviceStatus.ALLOWED:
        return False
    return match is MatchPolicy.UDID or entry.fingerprint == fingerprint
