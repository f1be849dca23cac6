"""How long a device waits between two requests: the formulas of the wire contract, "Retrying" and "Renewal"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from secretfree_device.identity import Identity

Uniform = Callable[[float, float], float]
"""A random number between two others, from a good source: `random.SystemRandom().uniform`."""

_DAY = 86_400.0
_MOST_DOUBLINGS = 16


@dataclass(frozen=True)
class Patience:
    """How long a device tries. Times are in seconds."""

    total: float = 60.0
    """`math.inf` for a device without an operator, which retries for ever."""
    first_pause: float = 1.0
    """Pause after the first failure if the server gives none; doubled at each further one."""
    longest_pause: float = 300.0
    longest_doubled: float = 3_600.0
    """The longest pause from doubling the server's."""
    spread: float = 0.5
    """Random share added to a pause, so that devices that were refused together spread out."""
    spread_of_turns: float = 10.0
    """The maximum that is added to the time of a 202."""
    first_rare_pause: float = 3_600.0
    """Pause after the first refusal that may end; doubled at each further one."""
    longest_rare_pause: float = _DAY
    after_refusals: bool = False
    """Whether to retry, rarely, after a refusal that may end, such as of a device that is not enrolled yet."""

    def pause(self, failures: int, retry_after: float | None, uniform: Uniform) -> float:
        """Return the pause after `failures` in a row ("soon"), never shorter than the server's."""
        doublings = _doublings(failures)
        if retry_after is None:
            base = min(self.first_pause * doublings, self.longest_pause)
        else:
            base = max(retry_after, min(max(retry_after, 0.1) * doublings, self.longest_doubled))
        return base + uniform(0.0, base * self.spread)

    def until_turn(self, retry_after: float, uniform: Uniform) -> float:
        """Return the pause after a 202, which names the device's own time."""
        base = max(retry_after, 0.1)
        return base + uniform(0.0, min(base * self.spread, self.spread_of_turns))

    def rare_pause(self, failures: int, uniform: Uniform) -> float:
        """Return the pause after `failures` refusals in a row ("rarely")."""
        base = min(self.first_rare_pause * _doublings(failures), self.longest_rare_pause)
        return base + uniform(0.0, base * self.spread)

    def until_renewal(self, identity: Identity, *, now: datetime, unchanged: int, uniform: Uniform) -> float:
        """Return the seconds until the device posts for a renewal.

        `unchanged` counts the requests since the window's start that returned the same certificate. If the device's
        clock is before its certificate's start, the clock is wrong, and the device posts once a day (wire contract).
        """
        opens = identity.renewal_opens
        if opens is None or now < identity.valid_from:
            return _DAY
        if now < opens:
            return (opens - now).total_seconds()
        return self.rare_pause(unchanged, uniform) if unchanged else 0.0


def _doublings(failures: int) -> float:
    return float(2 ** min(failures - 1, _MOST_DOUBLINGS))
