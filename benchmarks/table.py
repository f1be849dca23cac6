"""Measures what the product promises about its cost, prints the table in Markdown, and writes it into the page.

python benchmarks/table.py [PART ...] [--million] [--write]

Without a PART, all parts run: some ten minutes on two quiet cores. Each figure is compared with a floor of the same
run. --million adds the simulation of a million devices, which takes long. --write replaces the rows measured in
docs/explanation/measured.md and keeps the others. The exit code is 1 if a row misses its mark.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "explanation" / "measured.md"
BEGIN, END = "<!-- measured: python benchmarks/table.py --write -->", "<!-- end of measured -->"
HEADER = ("figure", "before", "floor of the run", "measured", "mark", "met")
NOT_RUN = "not run"


@dataclass(frozen=True)
class Found:
    """A figure, the floor that it is compared with, and whether it meets its mark."""

    floor: str
    measured: str
    met: bool


Rows = Mapping[str, Found]


class NoFigures(Exception):  # noqa: N818 - an outcome, not a bug
    """A benchmark that failed. Its rows stay as they are."""


COLD_AUTHORIZER = "cold authorizer: import and first call, CPU"
COLD_NEW = "cold issuer `/new`: import and first call, CPU"
COLD_PROTO = "cold issuer `/proto`: import and first call, CPU"
AUTHORIZER = "warm authorizer, CPU"
NEW_DEVICE = "new device at `/new`, wall time"
ASKING_AGAIN = "device that asks again, AWS calls in a row"
SIGNING = "Private CA that signs in 1.2 s: certificate there after"
STORM = "20,000 devices in 6 minutes: ledger writes each"
MILLION = "a million devices in an hour: requests a device"
REVERT_CPU = "`batch revert --force`, CPU a row"
REVERT_RATE = "`batch revert --force`, rows a second"
SWEEP = "sweep, 20 lost requests, 1,000 newer certificates: listings"
LIST_MEMORY = "`list --batch`, peak memory at 50,000 rows"
LIST_TABLE = "`list --prefix`, 105,000 devices, as a table"
SYNTH = "synth of the sample, CPU"
IMPORT = "`enroll files`, client CPU"

BEFORE_AND_MARK: Mapping[str, tuple[str, str]] = {
    COLD_AUTHORIZER: ("2.3 of the sample", "1.3"),
    COLD_NEW: ("2.0 of the sample", "1.5"),
    COLD_PROTO: ("", "1.5"),
    AUTHORIZER: ("0.35 of the sample", "1.15"),
    NEW_DEVICE: ("1.14", "1.08"),
    ASKING_AGAIN: ("2", "2"),
    SIGNING: ("1.67 s, 8 looks", "1.35 s"),
    STORM: ("172", "8"),
    MILLION: ("1,871", "4"),
    REVERT_CPU: ("9", "2"),
    REVERT_RATE: ("", "at least 1,000"),
    SWEEP: ("80", "24"),
    LIST_MEMORY: ("285 MB", "1.1"),
    LIST_TABLE: ("4, 63 s", "2"),
    SYNTH: ("1.6 to 1.8", "1.4"),
    IMPORT: ("1.3", "1.25"),
}
"""By figure: what an earlier version took, and what it may take at most. A bare number is a ratio to the floor.

The sample is the published one that this product replaces. Its handlers are not in the repository, so its figures are
history.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; accepted: {', '.join(PARTS)}")
    chosen = given.parts or [part for part in PARTS if part != "million" or given.million]
    note = f"{os.cpu_count()} cores, load before the run {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}."
    rows: dict[str, Found] = {}
    failures: list[str] = []
    for part in chosen:
        print(f"measuring: {part}", file=sys.stderr, flush=True)
        try:
            rows |= PARTS[part]()
        except NoFigures as failure:
            failures.append(str(failure))
        if given.write:  # after each part, so that a run that is cut off leaves what it measured
            PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), rows, note), encoding="utf-8")
    print("\n".join(table({name: line(name, found) for name, found in rows.items()})))
    print("\n".join(failures), file=sys.stderr)
    return int(bool(failures) or not all(found.met for found in rows.values()))


def table(lines: Mapping[str, str]) -> list[str]:
    """The table in Markdown, its rows in the order of `BEFORE_AND_MARK`."""
    return [
        f"| {' | '.join(HEADER)} |",
        f"|{'---|' * len(HEADER)}",
        *(lines[name] for name in BEFORE_AND_MARK if name in lines),
    ]


def line(name: str, found: Found | None) -> str:
    """One row in Markdown."""
    before, mark = BEFORE_AND_MARK[name]
    cells = (NOT_RUN, mark, "") if found is None else (found.measured, mark, "yes" if found.met else "**no**")
    floor = "" if found is None else found.floor
    return "".join(f"| {cell} " if cell else "| " for cell in (name, before, floor, *cells)) + "|"


def written(page: str, rows: Rows, note: str) -> str:
    """The page with these rows; those that were not measured stay as they are."""
    before, _, rest = page.partition(BEGIN)
    block, _, after = rest.partition(END)
    kept = {row.split(" | ")[0].removeprefix("| "): row for row in block.splitlines() if row.startswith("| ")}
    lines = {
        name: line(name, rows[name]) if name in rows else kept.get(name, line(name, None)) for name in BEFORE_AND_MARK
    }
    return "\n".join([before + BEGIN, "", note, "", *table(lines), "", END]) + after


def issuance() -> Rows:
    """Authorizer and issuers, cold and warm."""
    figures = json_of("benchmarks/issuance/run.py", "--devices", "25", "--json")
    warm = {row["name"]: row for row in figures["warm"]}
    cold = {row["name"]: row for row in figures["cold"]}
    boto3 = cold["floor: import boto3"]["import_cpu"]
    floor, authorizer, new = warm["floor"], warm["authorizer"], warm["issuer private-ca, new"]
    again = [warm[f"issuer {issuer}, again"] for issuer in ("private-ca", "iot-core")]
    calls = authorizer["on_critical_path"] + max(row["on_critical_path"] for row in again)
    together = authorizer["wall_with_latency"] + new["wall_with_latency"]
    signing = figures["signing"]
    rows = {
        name: ratio(cold[what]["total_cpu"] / boto3, most, f"importing boto3, {boto3:.0f} ms")
        for name, what, most in (
            (COLD_AUTHORIZER, "authorizer", 1.3),
            (COLD_NEW, "issuer private-ca", 1.5),
            (COLD_PROTO, "issuer iot-core", 1.5),
        )
    }
    one_call = f"signature check and call, {floor['cpu']:.1f} ms"
    return rows | {
        AUTHORIZER: ratio(authorizer["cpu"] / floor["cpu"], 1.15, one_call),
        NEW_DEVICE: ratio(
            together / figures["ownCalls"], 1.08, f"its six calls in a row, {figures['ownCalls']:.0f} ms"
        ),
        ASKING_AGAIN: Found(
            one_call, f"{calls}; issuer's CPU {max(row['cpu'] for row in again) / floor['cpu']:.2f}", calls <= 2
        ),
        SIGNING: Found(
            "1.2 s", f"{signing['seen_after']:.2f} s, {signing['looks']:.1f} looks", signing["seen_after"] <= 1.35
        ),
    }


def storm() -> Rows:
    """20,000 devices, simulated on default quotas."""
    plan = planned(20_000, hours=0.1)
    calls = plan["callsPerDevice"]
    writes = sum(calls.get(f"dynamodb:{call}", 0.0) for call in ("PutItem", "UpdateItem", "TransactWriteItems"))
    return {
        STORM: Found(
            quota_bound(plan),
            f"{writes:.1f}; requests {plan['requestsPerDevice']:.1f}; time {plan['ratio']:.2f}",
            writes <= 8,
        )
    }


def million() -> Rows:
    """A million devices, simulated on default quotas."""
    plan = planned(1_000_000, hours=1.0)
    requests, time = plan["requestsPerDevice"], plan["ratio"]
    return {MILLION: Found(quota_bound(plan), f"{requests:.1f}; time {time:.2f}", requests <= 4 and time <= 1.02)}


def registry() -> Rows:
    """Reverts and listings beside a table of the local cloud."""
    figures = json_of("benchmarks/enrollment/scale.py")
    rate, as_json, as_table = (
        figures[name] for name in ("revertedPerSecond", "prefixJsonSeconds", "prefixTableSeconds")
    )
    small = figures["smallPeakMb"]
    return {
        REVERT_CPU: ratio(figures["revertCpuRatio"], 2, "`enroll files` of the same rows"),
        REVERT_RATE: Found(f"`enroll files`, {figures['enrolledPerSecond']:,.0f}", f"{rate:,.0f}", rate >= 1_000),
        LIST_MEMORY: Found(
            f"at 5,000 rows, {small:.0f} MB", f"{figures['largePeakMb']:.0f} MB", figures["largePeakMb"] <= 1.1 * small
        ),
        LIST_TABLE: Found(
            f"JSON, {as_json:.0f} s; scan, {figures['bareScanSeconds']:.0f} s",
            f"{as_table / as_json:.2f}; {as_table:.0f} s, {figures['prefixPeakMb']:.0f} MB",
            as_table <= 2 * as_json,
        ),
    }


def importing() -> Rows:
    """An import beside a stub table of fixed delay: the command alone."""
    figures = json_of(
        "benchmarks/enrollment/run.py",
        "--stub-ms",
        "10",
        "--devices",
        "50000",
        "--rounds",
        "2",
        "--json",
        "--least",
        "0",
    )
    found = ratio(figures["cpuRatio"], 1.25, "bare loop, 10 ms a call")
    return {IMPORT: Found(found.floor, f"{found.measured}; rate {figures['ratio']:.2f}", found.met)}


def sweeper() -> Rows:
    """The listings of a sweep."""
    figures = json_of("benchmarks/sweeper/run.py")
    most = figures["lost"] + figures["newer"] / 250
    listings = figures["listings"]
    return {SWEEP: Found(f"one listing, {figures['pages']} pages", str(listings), listings <= most)}


def synth() -> Rows:
    """A synth of the sample."""
    figures = json_of("benchmarks/synth/run.py")
    found = ratio(figures["cpuRatio"], 1.4, f"empty app, {figures['emptyCpu']:.1f} s")
    return {
        SYNTH: Found(
            found.floor,
            f"{found.measured}; wall {figures['wallRatio']:.2f}",
            found.met,
        )
    }


PARTS: Mapping[str, Callable[[], Rows]] = {
    "issuance": issuance,
    "storm": storm,
    "million": million,
    "registry": registry,
    "import": importing,
    "sweeper": sweeper,
    "synth": synth,
}


def ratio(found: float, most: float, floor: str) -> Found:
    """A ratio to the floor, and the most that it may be."""
    return Found(floor, f"{found:.2f}", round(found, 2) <= most)


def quota_bound(plan: Mapping[str, Any]) -> str:
    """The floor of a simulated fleet."""
    return f"quota-bound, {plan['quotaBoundSeconds'] / 3600:.1f} h"


def planned(devices: int, *, hours: float) -> Any:
    """The plan of a fleet."""
    return json_of("-m", "secretfree_cli.main", "plan", "--devices", str(devices), "--over", str(hours), "--json")


def json_of(*command: str) -> Any:
    """Run a benchmark of this interpreter and read the JSON that it prints."""
    ran = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    try:
        return json.loads(ran.stdout)
    except ValueError:
        raise NoFigures(f"{' '.join(command)} printed no figures (exit code {ran.returncode})") from None


if __name__ == "__main__":
    sys.exit(main())
