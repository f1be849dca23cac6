"""The cloud of a test run: one for all of its processes, and gone when the run has ended. The CDK CLI is a script."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from secretfree_cli.local.deployment import Deployment
from secretfree_cli.local.state import StateFolder
from secretfree_cli.output import CliError
from secretfree_cli.testing.running import start, stop

pytestmark = pytest.mark.slow

DEPLOYS = """
from pathlib import Path
arguments = sys.argv[1:]
Path(arguments[arguments.index("--outputs-file") + 1]).write_text('{"Own": {"ProvisioningUrl": "u"}}')
with open("deployments", "a") as log:
    log.write("one\\n")
"""
FAILS = """
with open("deployments", "a") as log:
    log.write("one\\n")
sys.exit("Resource X failed to create")
"""
HANGS = """
import time
open("deployments", "w").write("one\\n")
time.sleep(60)
"""
OWNER = """
import os, sys
from pathlib import Path
from secretfree_cli.local.deployment import Deployment
from secretfree_cli.testing.running import start
start(Path(sys.argv[1]), Deployment(Path(sys.argv[2])), owner=os.getpid())
print("started", flush=True)
import time
time.sleep(60)
"""


def app_in(folder: Path, cdk: str) -> Path:
    command = folder / "app" / "node_modules" / ".bin" / "cdk"
    command.parent.mkdir(parents=True)
    command.write_text(f"#!{sys.executable}\nimport sys\n{cdk}")
    command.chmod(0o755)
    app = folder / "app"
    (app / "cdk.json").write_text("{}")
    return app


def processes_of(*folders: Path) -> Iterator[psutil.Process]:
    """The servers, and what the script of the CDK CLI runs as."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            places = {process.environ().get("TMPDIR"), process.cwd()}
            if process.status() != psutil.STATUS_ZOMBIE and places & {str(folder) for folder in folders}:
                yield process


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    if home.exists():
        stop(home)


def test_the_processes_of_a_run_share_one_cloud_and_a_stopped_cloud_leaves_its_logs_alone(home, tmp_path):
    app = app_in(tmp_path, DEPLOYS)
    folder = StateFolder(home)

    first = start(home, Deployment(app), owner=os.getpid())
    second = start(home, Deployment(app), owner=os.getpid())
    assert first == second
    assert first.is_up
    assert (app / "deployments").read_text() == "one\n"

    stop(home)
    assert list(processes_of(folder.scratch)) == []
    assert not folder.data.exists()
    assert list(folder.logs.glob("*.log"))
    with pytest.raises(CliError, match="the test run has ended"):
        start(home, Deployment(app), owner=os.getpid())


def test_a_deployment_that_failed_is_not_tried_by_each_process(home, tmp_path):
    app = app_in(tmp_path, FAILS)
    for _ in range(2):
        with pytest.raises(CliError, match="Resource X failed to create"):
            start(home, Deployment(app), owner=os.getpid())

    assert (app / "deployments").read_text() == "one\n"
    assert list(processes_of(StateFolder(home).scratch)) == []


@pytest.mark.parametrize(("cdk", "awaited"), [(DEPLOYS, "home/.local/memory.json"), (HANGS, "app/deployments")])
def test_nothing_is_left_of_a_run_that_was_killed(home, tmp_path, cdk, awaited):
    app = app_in(tmp_path, cdk)
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(home), str(app)], stdout=subprocess.PIPE, text=True)
    if cdk is DEPLOYS:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "started\n"
    else:
        wait_for((app / "deployments").exists)
    assert (tmp_path / awaited).exists()

    owner.send_signal(signal.SIGKILL)
    owner.wait()

    folder = StateFolder(home)
    wait_for(lambda: (home / "closed.txt").exists() and folder.read() is None)
    assert list(processes_of(folder.scratch, app)) == []


def wait_for(probe, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)
