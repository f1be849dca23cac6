"""Measures a synth of the sample app against that of an empty app, and prints the figures as JSON.

python benchmarks/synth/run.py [--runs 5]

Each synth is a process of its own with the bundle cached. The two take turns, and a ratio is the median of the pairs'.
CPU time includes that of the CDK's own process. Both apps are as their authors leave them: the empty one has the CDK's
validation of templates, which the sample switches off. `withoutValidation` has it off in both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = (ROOT / "app.py").read_text(encoding="utf-8")
EMPTY = 'from aws_cdk import App, Stack\n\napp = App()\nStack(app, "Empty")\napp.synth()\n'


@dataclass(frozen=True)
class Synth:
    """One synth, in seconds."""

    cpu: float
    wall: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs: int = parser.parse_args().runs
    synth(SAMPLE)  # fills the bundle's cache
    pairs = [(synth(EMPTY), synth(SAMPLE), synth(EMPTY, CDK_VALIDATION="false")) for _ in range(runs)]
    figures = {
        "runs": runs,
        "emptyCpu": median(empty.cpu for empty, _, _ in pairs),
        "sampleCpu": median(sample.cpu for _, sample, _ in pairs),
        "cpuRatio": median(sample.cpu / empty.cpu for empty, sample, _ in pairs),
        "wallRatio": median(sample.wall / empty.wall for empty, sample, _ in pairs),
        "withoutValidation": {"cpuRatio": median(sample.cpu / bare.cpu for _, sample, bare in pairs)},
    }
    print(json.dumps({name: value if isinstance(value, dict) else round(value, 2) for name, value in figures.items()}))


def synth(app: str, **settings: str) -> Synth:
    """Synthesise an app of this text once, with the context of this repository."""
    context = json.dumps(json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"])
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "CDK_OUTDIR": folder, "CDK_CONTEXT_JSON": context, **settings}
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", app], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"a synth ended with {process.returncode}")
        return Synth(cpu=usage.ru_utime + usage.ru_stime, wall=time.perf_counter() - began)


if __name__ == "__main__":
    main()
