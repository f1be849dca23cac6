"""How an import shows that it goes on: a bar with rate and time left for a person, nothing for a pipe."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from secretfree_cli.output import stderr

_REFRESH_SECONDS: Final = 0.1


class Silent:
    """Progress that nobody watches."""

    def phase(self, name: str, total: int) -> None:
        """Say nothing."""

    def reached(self, done: int) -> None:
        """Say nothing."""


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
            auto_refresh=False,  # by a thread, which would be one too many when processes are forked
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
        """Begin a new bar; the one before is full."""
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
