"""The process that stops a test run's local cloud after the run has ended in any way.

Run as `python -m secretfree_cli.testing.guardian HOME PID`, where PID is the process that ends with the run.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

_POLL_SECONDS = 0.5


def main() -> None:
    """Wait for the end of the process, then stop the cloud."""
    home, owner = Path(sys.argv[1]), int(sys.argv[2])
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(owner)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(_POLL_SECONDS)
    if home.exists():
        from secretfree_cli.testing.running import stop  # the waiting process loads no AWS SDK

        stop(home)


if __name__ == "__main__":
    main()
