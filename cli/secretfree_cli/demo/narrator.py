"""The demo's output: chapters, checked steps and the end."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape


class StepFailedError(Exception):
    """A step had another result than expected."""


class Narrator:
    """Prints the demo's steps in order: styled on a terminal, as plain text elsewhere."""

    CHAPTERS = 8

    def __init__(self, console: Console) -> None:
        """Print on `console`."""
        self._console = console
        self._chapter = 0
        self._done, self._not_done = ("✓", "✗") if console.encoding.lower().startswith("utf") else ("ok", "NOT OK")

    def chapter(self, title: str, explanation: str) -> None:
        """Start the next chapter: print what happens and why."""
        self._chapter += 1
        self._console.print(f"\n[bold]{self._chapter}/{self.CHAPTERS}  {escape(title)}[/bold]")
        for line in explanation.strip().splitlines():
            self._console.print(f"     [dim]{escape(line.strip())}[/dim]")

    def done(self, text: str) -> None:
        """Print a finished step."""
        self._console.print(f"   [green]{self._done}[/green] {escape(text)}")

    def _detail(self, text: str) -> None:
        """Print a remark."""
        self._console.print(f"     {escape(text)}")

    def check(self, holds: bool, text: str, *, otherwise: str = "") -> None:  # noqa: FBT001 - a check reads as one
        """Print `text` if `holds` is true. Otherwise raise StepFailedError with `otherwise`, the actual result."""
        if not holds:
            raise StepFailedError(f"expected: {text}" + (f" (found: {otherwise})" if otherwise else ""))
        self.done(text)

    def failed(self, text: str) -> None:
        """Print the step that failed."""
        self._console.print(f"   [red]{self._not_done}[/red] {escape(text)}")

    def end(self, *, seconds: float, keep: bool) -> None:
        """Print that every step succeeded, and the next commands."""
        self._console.print(f"\n[bold green]Every step succeeded[/bold green], in {seconds:.0f} s.")
        program = _program()
        if keep:
            self._detail("The local cloud is still running, and the devices are in ./devices. Try:")
            for arguments, effect in _NEXT:
                self._detail(f"  {program} {arguments:<27} {effect}")
        else:
            self._detail(f"The local cloud was stopped. `{program} demo --keep` leaves it running.")

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show a spinner during slow work, on a terminal only."""
        if self._console.is_terminal:
            with self._console.status(escape(what)):
                yield
        else:
            yield


_NEXT: Final = (
    ("local status --json", "print addresses for curl, the AWS CLI or an MQTT client"),
    ("device new my-device", "make your own device; the command prints the next step"),
    ("local down", "stop the local cloud"),
)


def _program() -> str:
    """Return the program's name if it is on the PATH, otherwise its path, as `make demo` needs it."""
    started = Path(sys.argv[0])
    return os.path.relpath(started) if started.name == "secretfree" and not shutil.which("secretfree") else "secretfree"
