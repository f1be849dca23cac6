"""What the quotas allow, without simulation: which one limits, the least time, and which to raise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from secretfree_cli.plan.calls import CallSequence
from secretfree_cli.plan.quotas import Quota, QuotaTable
from secretfree_cli.plan.simulation import API_QUOTAS, CONCURRENCY_QUOTA

HEADROOM = 1.2
"""The advice is this many times the need, because the account's other programs share the quotas."""


@dataclass(frozen=True)
class Demand:
    """What a fleet draws from one quota, and how long that takes at least (seconds)."""

    quota: Quota
    units_per_device: float
    seconds: float


@dataclass(frozen=True)
class Raise:
    """One step of the advice: raise `quota` to `limit`; the fleet then takes `seconds` and `then_binding` holds it."""

    quota: Quota
    limit: float
    seconds: float
    then_binding: str | None
    """None if the arrival of the devices takes the time."""


@dataclass(frozen=True)
class Bound:
    """The quota-bound time: no policy can provision the fleet sooner. Times in seconds."""

    demands: Sequence[Demand]
    """The slowest first."""
    arrival: float

    @property
    def binding(self) -> Quota | None:
        """The quota that holds the fleet back; None where the devices arrive more slowly than any quota allows."""
        return self.demands[0].quota if self.demands[0].seconds > self.arrival else None

    @property
    def seconds(self) -> float:
        return max(self.arrival, self.demands[0].seconds)

    @property
    def issuance_rate(self) -> int:
        """Devices a second that the quotas allow: the construct's `issuance_rate`."""
        return max(1, int(min(demand.quota.limit / demand.units_per_device for demand in self.demands)))


def quota_bound(devices: int, window: float, calls: CallSequence, quotas: QuotaTable) -> Bound:
    """Return the least time for `devices` that first ask evenly over `window` seconds, each served at once."""
    units: Mapping[str, float] = {
        **calls.units_per_device,
        **dict.fromkeys(API_QUOTAS, 1.0),
        # What an execution occupies is time: a concurrency serves its number divided by the seconds of each.
        CONCURRENCY_QUOTA: calls.seconds,
    }
    demands = (
        Demand(quotas[name], drawn, max(0.0, devices * drawn - quotas[name].burst) / quotas[name].limit)
        for name, drawn in units.items()
    )
    return Bound(tuple(sorted(demands, key=lambda demand: -demand.seconds)), window)


def advise(devices: int, window: float, calls: CallSequence, quotas: QuotaTable) -> tuple[Raise, ...]:
    """Return the raises, most urgent first, that let the fleet in within `window` seconds.

    Each goes as far as that window needs (and the headroom). Empty if the quotas suffice, or if `window` is 0: no quota
    serves a fleet in no time.
    """
    raises: list[Raise] = []
    while window and (binding := quota_bound(devices, window, calls, quotas).binding) is not None:
        drawn = {d.quota.name: d.units_per_device for d in quota_bound(devices, window, calls, quotas).demands}
        limit = _rounded_up(HEADROOM * devices * drawn[binding.name] / window)
        quotas = quotas.with_limits({binding.name: limit})
        after = quota_bound(devices, window, calls, quotas)
        raises.append(Raise(binding, limit, after.seconds, after.binding.name if after.binding else None))
    return tuple(raises)


def _rounded_up(limit: float) -> float:
    """Return a figure for a quota request: two leading digits."""
    exponent = max(0, len(str(int(limit))) - 2)
    return float(-(-limit // 10**exponent) * 10**exponent)
