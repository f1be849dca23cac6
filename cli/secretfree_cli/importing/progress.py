"""Progress of an import: a bar with rate and time left on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from secretfree_cli.output import note, stderr

_REFRESH_SECONDS: Final = 0.1
_LINE_SECONDS: Final = 10.0


class Silent:
    """Progress that is not shown."""

    def phase(self, name: str, total: int) -> None:
        """Show nothing."""

    def reached(self, done: int) -> None:
        """Show nothing."""


class Lines:
    """Progress on stderr as plain lines, at most one every ten seconds, for a log."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._name, self._total = "", 0
        self._due = monotonic() + _LINE_SECONDS

    def phase(self, name: str, total: int) -> None:
        """Begin a new phase."""
        self._name, self._total = name, total

    def reached(self, done: int) -> None:
        """Write a line if one is due."""
        now = self._monotonic()
        if now >= self._due:
            self._due = now + _LINE_SECONDS
            share = f"{100 * done // self._total} %" if self._total else f"{done:,}"
            note(f"{self._name}: {share}")


class Bar:
    """Progress on stderr. The phase `checking` counts bytes, the others rows."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            _RateColumn(),
            TimeRemainingColumn(),
            console=stderr(),
            auto_refresh=False,  # No refresh thread, because processes are forked.
        )
        self._refreshed = 0.0
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def phase(self, name: str, total: int) -> None:
        """Begin a new bar; the previous one is complete."""
        if self._task is not None:
            self._progress.update(self._task, completed=self._progress.tasks[self._task].total)
        self._task = self._progress.add_task(name, total=total, unit="MB" if name == "checking" else "rows")

    def reached(self, done: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=done)
        now = time.monotonic()
        if now - self._refreshed >= _REFRESH_SECONDS:
            self._refreshed = now
            self._progress.refresh()


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        if task.fields["unit"] == "MB":
            return Text(f"{speed / 1e6:,.1f} MB/s")
        return Text(f"{speed:,.0f} rows/s")
