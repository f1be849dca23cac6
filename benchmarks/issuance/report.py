"""The figures of the benchmark of an issuance, and the tables that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLD_START_LIMIT = 1.5
MOST_CALLS_NEW, MOST_CALLS_AGAIN = 6, 3


@dataclass(frozen=True)
class Warm:
    """One handler's figures. Times are milliseconds of the median request."""

    name: str
    cpu: float
    wall: float
    wall_with_latency: float
    calls: float
    """Calls a request."""
    on_critical_path: int
    connections: int
    """Opened for all requests together."""
    path: str
    statuses: Mapping[str, int]


@dataclass(frozen=True)
class Cold:
    """A fresh interpreter's figures: medians in milliseconds. The ratios are of CPU time, which no waiting distorts."""

    name: str
    import_cpu: float
    total_cpu: float
    """With the first call."""
    import_wall: float
    modules: int


@dataclass(frozen=True)
class Signing:
    """How a worker waits for a Private CA: seconds from the request until it has the certificate, looks a device."""

    seen_after: float
    looks: float


def critical_path(calls: Sequence[Mapping[str, Any]], span: Sequence[float]) -> int:
    """Return the length of the longest chain of calls in which each began after the one before it had ended."""
    inside = [call for call in calls if call["began"] >= span[0] and call["ended"] <= span[1]]
    depth: list[int] = []
    for call in inside:  # in the order of their beginnings
        earlier = (depth[at] for at, other in enumerate(inside[: len(depth)]) if other["ended"] <= call["began"])
        depth.append(1 + max(earlier, default=0))
    return max(depth, default=0)


def draw(calls: Sequence[Mapping[str, Any]], span: Sequence[float], width: int = 64) -> str:
    """Draw one request's calls as bars over time. Calls that end after the answer are drawn with `-`."""
    end = max([span[1], *(call["ended"] for call in calls)])
    scale = width / (end - span[0])
    lines = []
    for call in calls:
        left, right = (round((call[edge] - span[0]) * scale) for edge in ("began", "ended"))
        bar = ("#" if call["ended"] <= span[1] else "-") * max(1, right - left)
        lines.append(f"    {call['operation']:<28}|{' ' * left}{bar:<{width - left}}|")
    lines.append(f"    {'answer':<28}|{' ' * round((span[1] - span[0]) * scale - 1)}^")
    return "\n".join(lines)


def print_report(warm: Sequence[Warm], cold: Sequence[Cold], latency: float) -> None:
    """Print the tables, the critical paths, and each limit beside the figure found."""
    floor = warm[0]
    print(f"Warm, median of each request (ms; ratio to the floor); latency {latency:g} ms in the third column\n")
    print(f"{'':26}{'CPU':>15}{'wall':>15}{'wall, latency':>17}{'calls':>7}{'in a row':>10}{'connections':>13}")
    for row in warm:
        cells = (
            f"{row.cpu:7.2f} {row.cpu / floor.cpu:5.2f}x",
            f"{row.wall:7.2f} {row.wall / floor.wall:5.2f}x",
            f"{row.wall_with_latency:8.2f} {row.wall_with_latency / floor.wall_with_latency:5.2f}x",
        )
        print(
            f"{row.name:26}{cells[0]:>15}{cells[1]:>15}{cells[2]:>17}{row.calls:7.1f}{row.on_critical_path:10d}"
            f"{row.connections:13d}   {dict(row.statuses)}"
        )
    print("\nCritical paths (one request, with latency; - ends after the answer)")
    for row in warm[1:]:
        print(f"\n  {row.name}\n{row.path}")
    base = cold[0]
    print("\nCold, median of fresh interpreters (ms; CPU ratio to importing boto3 alone)\n")
    print(f"{'':26}{'import, CPU':>16}{'with first call':>18}{'import, wall':>14}{'modules':>9}")
    for line in cold:
        imported = f"{line.import_cpu:7.0f} {line.import_cpu / base.import_cpu:5.2f}x"
        total = f"{line.total_cpu:7.0f} {line.total_cpu / base.import_cpu:5.2f}x"
        print(f"{line.name:26}{imported:>16}{total:>18}{line.import_wall:14.0f}{line.modules:9d}")
    found = {row.name: row for row in warm}
    issuers = ("private-ca", "iot-core")
    new, again = (
        max(found[f"issuer {issuer}, {which}"].on_critical_path for issuer in issuers) for which in ("new", "again")
    )
    authorizer = next(line for line in cold if line.name == "authorizer")
    print("\nDemanded")
    _demand("calls in a row, new device", 1 + new, MOST_CALLS_NEW)
    _demand("calls in a row, asking again", 1 + again, MOST_CALLS_AGAIN)
    _demand(
        "authorizer's cold import over the floor", round(authorizer.import_cpu / base.import_cpu, 2), COLD_START_LIMIT
    )


def _demand(what: str, found: float, limit: float) -> None:
    print(f"  {what:42}{found:6g}  at most {limit:g}  {'ok' if found <= limit else 'NOT MET'}")
