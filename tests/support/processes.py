"""Whether processes of a test still run."""

from __future__ import annotations

import psutil


def is_alive(pid: int) -> bool:
    """Whether the process runs. One that ended counts as ended, although its parent has not collected it yet."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
