"""Interrupted commands: when the signal takes effect, and what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from secretfree_cli.local.interruption import ending_on_signals, undisturbed
from secretfree_cli.local.processes import ServerProcess
from secretfree_cli.local.state import StateFolder

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-interruption")]  # one process for all of them


@pytest.fixture(autouse=True)
def hang_ups_are_not_ignored() -> Iterator[None]:
    """Have SIGHUP's default also where the tests run under nohup, which ignores it for good."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_signal_that_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ending_on_signals():
        signal.raise_signal(signal.SIGHUP)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_block_as_ctrl_c_does(number):
    with pytest.raises(KeyboardInterrupt), ending_on_signals():
        signal.raise_signal(number)


def test_a_signal_waits_for_the_end_of_a_step():
    steps = []

    def work() -> None:
        with ending_on_signals(), undisturbed():
            signal.raise_signal(signal.SIGTERM)
            steps.append("done")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["done"]


def test_handlers_are_as_before_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with ending_on_signals(), undisturbed():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


@pytest.mark.parametrize(
    ("number", "servers"),
    [
        (signal.SIGTERM, 1),
        *(pytest.param(*case) for case in ((signal.SIGTERM, 0), (signal.SIGTERM, 2), (signal.SIGHUP, 2))),
    ],
)
def test_local_up_that_is_ended_leaves_nothing_behind(tmp_path, eventually, number, servers):
    folder = StateFolder(tmp_path)
    up = subprocess.Popen(
        [sys.executable, "-m", "secretfree_cli.main", "local", "up", "--no-deploy"],
        env={**os.environ, "SECRETFREE_PROJECT": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert eventually(lambda: folder.root.exists() and len(started(folder)) >= servers)
    up.send_signal(number)
    _, shown = up.communicate(timeout=60)

    assert up.returncode != 0, shown
    assert folder.read() is None
    assert list(working_in(folder)) == []


def test_local_up_that_is_ended_while_it_deploys_ends_the_cdk_cli_too(tmp_path, eventually):
    cdk = tmp_path / "node_modules" / ".bin" / "cdk"
    cdk.parent.mkdir(parents=True)
    cdk.write_text(f"#!{sys.executable}\nimport time\nopen('deploying', 'w').close()\ntime.sleep(60)\n")
    cdk.chmod(0o755)
    (tmp_path / "cdk.json").write_text("{}")
    up = subprocess.Popen(
        [sys.executable, "-m", "secretfree_cli.main", "local", "up"],
        env={**os.environ, "SECRETFREE_PROJECT": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not eventually((tmp_path / "deploying").exists):
        assert up.poll() is None
    up.send_signal(signal.SIGTERM)
    _, shown = up.communicate(timeout=60)

    assert up.returncode != 0, shown
    assert StateFolder(tmp_path).read() is None
    assert list(working_in(StateFolder(tmp_path))) == []
    assert [process for process in psutil.process_iter() if in_folder(process, tmp_path)] == []


def in_folder(process: psutil.Process, folder: Path) -> bool:
    with suppress(psutil.Error):
        return process.cwd() == str(folder)
    return False


def started(folder: StateFolder) -> tuple[ServerProcess, ...]:
    record = folder.read()
    return record.processes if record else ()


def working_in(folder: StateFolder) -> Iterator[psutil.Process]:
    """The processes whose temporary folder is the cloud's."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(folder.scratch):
                yield process
