"""A text file that is written atomically."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from secretfree_cli.output import CliError


class WholeFile:
    """Text that is written to a temporary file and moved to its path at the end. Until then an existing file stays.

    `what` is its name in errors. A pipe or a device such as /dev/stdout is written directly.
    """

    def __init__(self, path: Path, what: str) -> None:
        """Check that it can be written at `path`; raises CliError."""
        self._what = what
        self._partial: Path | None = None
        with self.os_errors_as_cli_errors():
            self._place = path.resolve()
            if self._place.exists() and not self._place.is_file():
                self.stream: TextIO = self._place.open("w", encoding="utf-8", newline="")
            else:
                self._partial = self._place.with_name(f"{self._place.name}.partial")
                self.stream = _opened(self._partial, self._place)

    def finish(self) -> None:
        """Move it to its path; raises CliError."""
        with self.os_errors_as_cli_errors():
            self.stream.close()
            if self._partial is not None:
                self._partial.replace(self._place)

    def close(self) -> None:
        """Remove the temporary file of an unfinished one."""
        try:
            self.stream.close()
        finally:
            if self._partial is not None:
                self._partial.unlink(missing_ok=True)

    @contextmanager
    def os_errors_as_cli_errors(self) -> Iterator[None]:
        """Turn an error of the operating system into a CliError."""
        try:
            yield
        except OSError as error:
            raise CliError(f"{self._what} cannot be written: {error.strerror or error}") from error


def _opened(partial: Path, place: Path) -> TextIO:
    if place.exists() and not os.access(place, os.W_OK):
        raise PermissionError("it exists and is read-only")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o666)
    if place.exists():
        shutil.copymode(place, partial)
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="")
