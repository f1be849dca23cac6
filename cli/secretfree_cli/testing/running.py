"""A local cloud for one test run: started once, shared by the run's processes, and stopped at the run's end."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from secretfree_cli.local.cloud import bring_down, bring_up, deploy_into
from secretfree_cli.local.deployment import Deployment
from secretfree_cli.local.state import CloudRecord, StateFolder
from secretfree_cli.output import CliError

_CLOSED = "closed.txt"


def start(home: Path, deployment: Deployment, *, owner: int) -> CloudRecord:
    """Return the cloud of the test run of `home`; start it and deploy if needed.

    Processes of one run wait for each other. A guardian process stops the cloud when the process `owner` ends, also by
    SIGKILL. A failed start is not retried: the other processes of the run fail with the same message.

    Raises: CliError if a server does not start, or the deployment fails.
    """
    home.mkdir(mode=0o700, exist_ok=True)
    folder = StateFolder(home)
    with _turn(home):
        closed = home / _CLOSED
        if closed.exists():
            raise CliError(closed.read_text())
        record = folder.read()
        if record is not None and record.is_up and record.stack_name is not None:
            return record
        folder.create()
        _start_guardian(folder, owner)
        try:
            bring_up(folder)
            return deploy_into(folder, deployment)
        except BaseException as error:
            closed.write_text(error.message if isinstance(error, CliError) else repr(error))
            bring_down(folder, forget_data=True)
            raise


def stop(home: Path) -> None:
    """Stop the cloud and remove its data, after any pending start. Its logs are kept, and it is not started again."""
    with _turn(home):
        (home / _CLOSED).write_text("the test run has ended")
        bring_down(StateFolder(home), forget_data=True)


def _start_guardian(folder: StateFolder, owner: int) -> None:
    """Start the guardian in its own session, so that it gets no signal for the test run."""
    with (folder.logs / "guardian.log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 -- the command is built by this package
            [sys.executable, "-m", "secretfree_cli.testing.guardian", str(folder.project), str(owner)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.returncode = 0  # The process outlives this object, which must not warn about it.


@contextmanager
def _turn(home: Path) -> Iterator[None]:
    descriptor = os.open(home / "turn.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
