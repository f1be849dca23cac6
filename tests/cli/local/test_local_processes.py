"""Server processes: identity, stopping with their children, stale records."""

from __future__ import annotations

import os
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from secretfree_cli.local.processes import ServerProcess, start_moment, start_server


@pytest.fixture
def sleeper(tmp_path):
    process = start_server(
        "sleeper",
        [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"],
        environment=os.environ,
        log=tmp_path / "log",
    )
    yield process
    process.stop()


def test_a_started_server_runs_until_it_is_stopped(sleeper):
    assert sleeper.is_running
    assert sleeper.stop()
    assert not sleeper.is_running


def test_stopping_what_has_ended_does_nothing(sleeper):
    sleeper.stop()
    assert not sleeper.stop()


def test_a_process_that_only_has_the_recorded_pid_is_left_alone(sleeper):
    stale = replace(sleeper, started="1")
    assert not stale.is_running
    assert not stale.stop()
    assert sleeper.is_running


def test_this_very_process_is_not_taken_for_an_old_server():
    assert not ServerProcess("old", os.getpid(), "0", "log").stop()


def test_children_end_with_their_server(tmp_path, eventually):
    parent = textwrap.dedent("""
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(child.pid, flush=True)
        time.sleep(60)
    """)
    log = tmp_path / "log"
    server = start_server("parent", [sys.executable, "-c", parent], environment=os.environ, log=log)
    child = int(eventually(lambda: log.read_text().strip()))
    assert start_moment(child) is not None
    server.stop()
    assert eventually(lambda: start_moment(child) is None)


def test_a_server_that_ignores_the_polite_signal_is_ended_after_the_grace(tmp_path, eventually):
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    log = tmp_path / "log"
    server = start_server("stubborn", [sys.executable, "-c", stubborn], environment=os.environ, log=log)
    eventually(log.read_text)
    assert server.stop(grace_seconds=0.2)
    assert eventually(lambda: not server.is_running)


def test_the_log_is_readable_by_its_owner_only(sleeper):
    assert Path(sleeper.log).stat().st_mode & 0o077 == 0


def test_no_process_started_at_no_moment():
    assert start_moment(2**22 + 1) is None
