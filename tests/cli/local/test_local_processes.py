"""Server processes: identity, stopping with their children, stale records."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from secretfree_cli.local.processes import ServerProcess, end_marked, new_marking, start_server
from support.processes import is_alive

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-processes")]  # one process for all of them


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
    stale = replace(sleeper, mark="another")
    assert not stale.is_running
    assert not stale.stop()
    assert sleeper.is_running


def test_this_very_process_is_not_taken_for_an_old_server():
    assert not ServerProcess("old", os.getpid(), "a mark", "log").stop()


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
    assert is_alive(child)
    server.stop()
    assert not is_alive(child)


def test_what_a_server_started_ends_with_it_even_in_a_session_of_its_own_and_without_a_parent(tmp_path, eventually):
    orphan = textwrap.dedent("""
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        print(child.pid, flush=True)
    """)
    parent = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {orphan!r}]); time.sleep(60)"
    log = tmp_path / "log"
    server = start_server("parent", [sys.executable, "-c", parent], environment=os.environ, log=log)
    left = int(eventually(lambda: log.read_text().strip()))
    server.stop()
    assert not is_alive(left)


def test_the_children_of_a_server_that_was_killed_are_ended(tmp_path, eventually):
    parent = textwrap.dedent("""
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(child.pid, flush=True)
        time.sleep(60)
    """)
    log = tmp_path / "log"
    server = start_server("parent", [sys.executable, "-c", parent], environment=os.environ, log=log)
    child = int(eventually(lambda: log.read_text().strip()))
    psutil.Process(server.pid).kill()
    assert server.stop()
    assert not is_alive(child)


def test_marked_processes_are_ended_whatever_their_parents(sleeper):
    marking = new_marking()
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, **marking}, start_new_session=True
    )
    end_marked(marking, grace_seconds=5)
    assert process.poll() is not None
    assert sleeper.is_running


def test_a_process_whose_exit_code_nothing_collects_is_not_waited_for(tmp_path, eventually):
    marking = new_marking()
    parent = textwrap.dedent(f"""
        import os, subprocess, sys, time
        marked = {{**os.environ, **{marking!r}}}
        print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"], env=marked).pid, flush=True)
        time.sleep(900)
    """)
    log = tmp_path / "log"
    server = start_server("parent", [sys.executable, "-c", parent], environment=os.environ, log=log)
    child = int(eventually(lambda: log.read_text().strip()))
    end_marked(marking, grace_seconds=900)
    assert psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    server.stop()


def test_a_server_that_ignores_the_polite_signal_is_ended_after_the_grace(tmp_path, eventually):
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    log = tmp_path / "log"
    server = start_server("stubborn", [sys.executable, "-c", stubborn], environment=os.environ, log=log)
    eventually(log.read_text)
    assert server.stop(grace_seconds=0.2)
    assert eventually(lambda: not server.is_running)


def test_the_log_is_readable_by_its_owner_only(sleeper):
    assert Path(sleeper.log).stat().st_mode & 0o077 == 0
