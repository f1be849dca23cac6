"""Interruption of commands that start servers: every signal acts like Ctrl-C, and never in the middle of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end the block as Ctrl-C does, so that it stops what it started."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handlers((signal.SIGTERM, signal.SIGHUP), interrupt):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back SIGINT, SIGTERM and SIGHUP until the block is done, then deliver the first of them.

    Processes that are started in the block do not inherit this, as they would an ignored or a blocked signal.
    """
    held: list[int] = []

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)

    with _handlers(_ENDING, hold):
        yield
    if held:
        signal.raise_signal(held[0])


@contextmanager
def _handlers(numbers: tuple[signal.Signals, ...], handler: object) -> Iterator[None]:
    """Handle `numbers` by `handler` in the block. Only the main thread receives signals, so others change nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {
        number: signal.getsignal(number) for number in numbers if signal.getsignal(number) is not signal.SIG_IGN
    }
    for number in previous:
        signal.signal(number, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, handling in previous.items():
            signal.signal(number, handling)
