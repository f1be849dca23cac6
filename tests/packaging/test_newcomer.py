"""The newcomer's path with pip and npm, as they fetch from their index: the benchmark, of which only success counts."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.documents import ROOT

BENCHMARK = ROOT / "benchmarks" / "newcomer" / "run.py"

pytestmark = [pytest.mark.packaging, pytest.mark.nightly]


def test_the_quickstarts_commands_succeed_with_pip_and_npm() -> None:
    """The exit code also judges the time, which depends on the machine: it is not asserted."""
    ended = subprocess.run([sys.executable, BENCHMARK], capture_output=True, text=True, timeout=3000, check=False)
    assert ended.stdout, ended.stderr  # no report: it failed before the page's first command ended
    report = json.loads(ended.stdout)
    assert report["exitCode"] == 0, ended.stderr
    assert report["secondsToFirstDevice"] is not None, "the page has no device that connects"
