"""Functions that cannot start: ministack waits for ever and logs nothing. Here the start times out and is logged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

LONGEST_START_SECONDS = 60.0
"""Six times AWS's limit for a function's start, because a machine may start many at once."""


def install() -> None:
    """Bound and log the starts of this process's functions."""
    from ministack.core.lambda_runtime import Worker
    from ministack.services import lambda_svc

    Worker._spawn = bounded(Worker._spawn, seconds=LONGEST_START_SECONDS)  # noqa: SLF001
    lambda_svc._execute_function_warm = logged(lambda_svc._execute_function_warm)  # noqa: SLF001


def bounded(start: Callable[[Any], None], *, seconds: float) -> Callable[[Any], None]:
    """Return `start` of a worker with a timeout in seconds, after which the worker's process is killed."""

    def start_in_time(worker: Any) -> None:
        too_late = threading.Event()

        def end() -> None:
            too_late.set()
            if worker._proc is not None:  # noqa: SLF001
                worker._proc.kill()  # noqa: SLF001

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            start(worker)
        except Exception as error:
            if too_late.is_set():
                raise RuntimeError(f"its start took longer than {seconds:g} s") from error
            raise
        finally:
            timer.cancel()

    return start_in_time


def logged(execute: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return `execute` of a function; its result has a log line if the function did not start."""

    def execute_with_log(*arguments: Any, **named: Any) -> dict[str, Any]:
        result = execute(*arguments, **named)
        body = result.get("body")
        if result.get("error") and not result.get("log") and isinstance(body, dict):
            result["log"] = f"[ERROR] the function did not start: {body.get('errorMessage')}"
        return result

    return execute_with_log
