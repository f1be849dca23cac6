"""The plan as a picture: devices provisioned and requests sent over time, against the quota-bound line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from secretfree_cli.plan.plan import NaiveFleet, Plan, duration

_OURS, _NAIVE, _BOUND = "#1f77b4", "#d62728", "#555555"


def write_plot(plan: Plan, naive: NaiveFleet, path: Path) -> None:
    """Draw both fleets, as a PNG or the format of the path's suffix. Raises OSError."""
    # Importing matplotlib takes a second, and only this function needs it.
    from matplotlib.figure import Figure

    unit, name = (3_600.0, "hours") if plan.bound.seconds > 7_200 else (60.0, "minutes")
    figure = Figure(figsize=(9, 7), layout="constrained")
    provisioned, requests = figure.subplots(2, 1, sharex=True)
    for label, course, colour, line in (
        ("Retry-After of this runtime", plan.outcome.course, _OURS, "-"),
        (naive.policy.name, naive.outcome.course, _NAIVE, "-."),  # the two may lie on each other
    ):
        times = [second / unit for second, _, _ in course]
        provisioned.plot(times, [done for _, done, _ in course], color=colour, linestyle=line, label=label)
        rates, middles = _rates(course)
        requests.plot([middle / unit for middle in middles], rates, color=colour, linestyle=line, label=label)
    bound = [0, plan.bound.seconds / unit], [0, plan.fleet.devices]
    provisioned.plot(*bound, color=_BOUND, linestyle="--", label=f"quota-bound: {duration(plan.bound.seconds)}")
    provisioned.axvline(1.1 * plan.bound.seconds / unit, color=_BOUND, linestyle=":", label="1.1 times that")
    provisioned.set_ylabel("devices provisioned")
    provisioned.set_title(_title(plan))
    provisioned.legend(loc="lower right")
    requests.set_yscale("log")
    requests.set_ylabel("requests a second")
    requests.set_xlabel(f"{name} since the first device asked")
    for axes in (provisioned, requests):
        axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=130)


def _title(plan: Plan) -> str:
    binding = plan.bound.binding
    by = f"bound by {binding.name} ({binding.limit:g}/s)" if binding else "bound by arrival"
    return f"{plan.fleet.devices:,} devices within {duration(plan.fleet.window)}, {by}: {plan.ratio:.2f} times"


def _rates(course: Sequence[tuple[float, int, int]]) -> tuple[list[float], list[float]]:
    rates, middles = [], []
    for (before, _, fewer), (after, _, more) in pairwise(course):
        if after > before and more > fewer:
            rates.append((more - fewer) / (after - before))
            middles.append((before + after) / 2)
    return rates, middles
