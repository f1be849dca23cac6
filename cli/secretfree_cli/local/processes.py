"""A server process that outlives the command that started it: its identity, its state and its end.

A pid does not identify a process, because the system reuses it. Each server gets a random mark in its environment. The
mark does not change, and the server's children inherit it. So only processes of the local cloud are signalled, and all
of them are ended.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_MARK_VARIABLE = "SECRETFREE_LOCAL_SERVER"
_KILL_SECONDS = 10.0
_POLL_SECONDS = 0.005


@dataclass(frozen=True)
class ServerProcess:
    """One server of the local cloud, as recorded in the state folder."""

    name: str
    pid: int
    mark: str
    """The value of a variable in the environment of the server and its children."""
    log: str
    """Path of its log file."""

    @property
    def is_running(self) -> bool:
        """Whether this process, and not a later one with the same pid, is alive."""
        return self._find() is not None

    def stop(self, *, grace_seconds: float = 30.0) -> bool:
        """End the server and its children, first by SIGTERM; return whether any process was ended."""
        server = self._find()
        if server is not None:
            _end_politely([server], grace_seconds=grace_seconds)
        # Lambda workers may start while the server ends, and may outlive it.
        return _kill_marked(self.mark) or server is not None

    def _find(self) -> psutil.Process | None:
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            if _mark_of(process) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


def start_server(name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> ServerProcess:
    """Start a server in its own session. It appends to `log`, which only the owner can read."""
    marking = new_marking()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(  # noqa: S603 -- the command is built by this package
            list(command),
            env={**environment, **marking},
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    server = ServerProcess(name=name, pid=process.pid, mark=marking[_MARK_VARIABLE], log=str(log))
    # A program's environment is readable only a moment after its start.
    while not server.is_running and process.poll() is None:
        time.sleep(_POLL_SECONDS)
    process.returncode = 0  # The server outlives this object, which must not warn about it.
    return server


def new_marking() -> dict[str, str]:
    """Return the environment variable by which `end_marked` finds a process and its children."""
    return {_MARK_VARIABLE: secrets.token_hex(16)}


def end_marked(marking: Mapping[str, str], *, grace_seconds: float) -> None:
    """End every process with this marking, first by SIGTERM."""
    mark = marking[_MARK_VARIABLE]
    _end_politely(list(_marked(mark)), grace_seconds=grace_seconds)
    _kill_marked(mark)


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if _mark_of(process) == mark:
                yield process


def _mark_of(process: psutil.Process) -> str | None:
    return process.environ().get(_MARK_VARIABLE)


def _end_politely(processes: Sequence[psutil.Process], *, grace_seconds: float) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _await_ends(processes, seconds=grace_seconds)


def _kill_marked(mark: str) -> bool:
    """Kill processes with this mark until none is left; return whether there were any."""
    found = False
    while left := list(_marked(mark)):
        found = True
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        _await_ends(left, seconds=_KILL_SECONDS)
    return found


def _await_ends(processes: Sequence[psutil.Process], *, seconds: float) -> None:
    """Wait for the ends of processes, also where no parent collects their exit codes, as in many containers.

    `psutil.wait_procs` would wait for that, too: for seconds, or for all of the given time.
    """
    deadline = time.monotonic() + seconds
    while any(_is_alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _is_alive(process: psutil.Process) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
