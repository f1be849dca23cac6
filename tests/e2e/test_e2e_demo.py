"""`secretfree demo` as a newcomer runs it: what it prints, what it leaves behind, and what a signal leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from secretfree_cli.local.state import StateFolder

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def start_demo() -> Callable[..., subprocess.Popen[str]]:
    def start(project: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "secretfree_cli.main", "demo"],
            env={**os.environ, "SECRETFREE_PROJECT": str(project)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_the_demo_succeeds_and_leaves_a_running_cloud_as_it_was(
    cloud: Any, start_demo: Callable[..., subprocess.Popen[str]]
) -> None:
    out, err = start_demo(cloud.folder.project).communicate(timeout=120)

    assert "Every step succeeded" in out, out + err
    assert "\x1b" not in out  # no terminal: plain text
    assert re.search(r"received on widget/sensor-\w+/temperature; from no certificate to this message: [0-9.]+ s", out)
    assert re.search(r"publish on widget/gateway-\w+/temperature by the sensor: refused by policy", out)
    for impostor in ("a clone", "a forged CSR", "an unenrolled device", "a blocked device"):
        assert re.search(rf"{impostor} \(.*\): 403", out)
    assert '"code": "not-authorized"' in out
    assert "without the device-csr header: 401" in out
    assert "the same certificate" in out
    assert cloud.folder.require_up().is_up


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_stops_what_it_started(
    tmp_path: Path, start_demo: Callable[..., subprocess.Popen[str]], number: signal.Signals
) -> None:
    for name in ("app.py", "cdk.json", "cdk", "node_modules", ".venv"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    folder = StateFolder(tmp_path)
    demo = start_demo(tmp_path)
    _await((folder.logs / "cdk.log").exists)
    record = folder.require_up()
    family = psutil.Process(demo.pid).children(recursive=True)
    servers = [process for process in family if process.pid in {server.pid for server in record.processes}]
    assert len(servers) == len(record.processes)

    demo.send_signal(number)
    demo.communicate(timeout=60)

    assert demo.returncode != 0
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert folder.read() is None


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
