"""A server process that outlives the command that started it: its identity, whether it runs, and its end.

A pid alone is no identity, since the system gives it to another process after ours has ended. The pid together with
the moment the process started is one, so nothing here signals a process that was not started by us.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class ServerProcess:
    """One server of the local cloud, as recorded in the state folder."""

    name: str
    pid: int
    started: str
    """The system's own word for when it started; only ever compared with itself."""
    log: str
    """Path of its log file."""

    @property
    def is_running(self) -> bool:
        """Whether this very process, not a later one of the same pid, is alive."""
        return start_moment(self.pid) == self.started

    def stop(self, *, grace_seconds: float = 30.0) -> bool:
        """End the process and the group it leads, politely first; return whether there was anything to end.

        The group holds its children (Lambda workers). A process whose pid was reused is left alone.
        """
        if not self.is_running:
            return False
        _signal_group(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while self.is_running and time.monotonic() < deadline:
            _reap(self.pid)
            time.sleep(_POLL_SECONDS)
        # What is left of the group: the server itself if it ignored SIGTERM, or children that outlived it. The group
        # id cannot have been reused while one of its members lives, and without members the signal goes nowhere.
        _signal_group(self.pid, signal.SIGKILL)
        _reap(self.pid)
        return True


def start_server(name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> ServerProcess:
    """Start a server that leads a process group of its own and appends to `log`, readable by its owner only."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(  # noqa: S603 -- the command is built by this package
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    return ServerProcess(name=name, pid=process.pid, started=start_moment(process.pid) or "", log=str(log))


def start_moment(pid: int) -> str | None:
    """Return when the process of this pid started, or None if there is none (a zombie is none)."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # The command name, in parentheses, may itself hold spaces and parentheses: proc(5).
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        state, started = fields[0], fields[19]
        return None if state in "ZX" else started
    answer = subprocess.run(  # noqa: S603
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return None if len(answer) != 2 or answer[0].startswith("Z") else answer[1].strip()


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _reap(pid: int) -> None:
    """Collect the process if it is our own child, so that it does not linger as a zombie."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
