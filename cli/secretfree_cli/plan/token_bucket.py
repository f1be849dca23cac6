"""The token bucket by which AWS enforces a quota."""

from __future__ import annotations

from secretfree_cli.plan.quotas import Quota


class TokenBucket:
    """A token bucket. It is used in the order of simulated time, apart from the length of an invocation's calls."""

    __slots__ = ("burst", "rate", "tokens", "updated")

    def __init__(self, quota: Quota) -> None:
        self.rate = quota.limit
        self.burst = self.tokens = max(quota.burst, 1.0)
        self.updated = 0.0

    def available(self, now: float, units: int) -> int:
        """Return how many calls of `units` each it would take now."""
        if now > self.updated:
            self.tokens = min(self.burst, self.tokens + (now - self.updated) * self.rate)
            self.updated = now
        return int((self.tokens + 1e-9) / units)
