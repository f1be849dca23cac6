"""Interruption of commands that start servers: every signal acts like Ctrl-C, but never during a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end the block as Ctrl-C does, so that it stops the servers that it started."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handlers((signal.SIGTERM, signal.SIGHUP), interrupt):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Delay SIGINT, SIGTERM and SIGHUP until the end of the block, then deliver the first of them.

    Processes that the block starts do not inherit this, unlike an ignored or blocked signal.
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
    """Handle `numbers` with `handler` in the block.

    Only the main thread receives signals, so other threads change nothing.
    """
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
