"""The report of refused rows: a file whose place is made sure of before anything is written to the registry."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click
from secretfree.enrollment.batch import ManifestFile

from secretfree_cli.enroll.checkpoint import ReportedRow
from secretfree_cli.formats.pem import SUFFIXES
from secretfree_cli.output import CliError


def require_apart(report: Path | None, inputs: Iterable[Path]) -> None:
    """Raise UsageError if the report would take the place of a file that is read, or be read with its folder."""
    if report is None:
        return
    for path in inputs:
        read_with_folder = path.is_dir() and report.suffix.lower() in SUFFIXES
        in_folder = read_with_folder and report.resolve().parent == path.resolve()
        if in_folder or (report.exists() and path.exists() and report.samefile(path)):
            raise click.UsageError(f"--report {report} is a file that is read; name another")


def row_document(row: ReportedRow, files: Sequence[ManifestFile]) -> dict[str, object]:
    """Return a row as the report and `--json` have it."""
    document: dict[str, object] = {"file": files[row.file].name, "line": row.line}
    if row.member is not None:
        document["member"] = row.member
    document["deviceId"] = row.device_id
    if row.reason is not None:
        document["reason"] = row.reason
    return {**document, "detail": row.detail}


class Report:
    """Where the refused rows go, one JSON document a line; an empty file means that none was."""

    def __init__(self, path: Path) -> None:
        """Make sure that the report can be written at `path`; raises CliError.

        It is written beside it and moved there in the end: what is there stays until then.
        """
        self._path = path
        self._partial: Path | None = None
        try:
            self._place = path.resolve()
            if self._place.exists() and not self._place.is_file():  # a pipe, or a device such as /dev/stdout
                self._stream: TextIO = self._place.open("w", encoding="utf-8")
            else:
                self._partial = self._place.with_name(f"{self._place.name}.partial")
                self._stream = _opened(self._partial, self._place)
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, refused: Iterator[ReportedRow], files: Sequence[ManifestFile]) -> None:
        """Write every row, and move the report to its place; raises CliError."""
        try:
            for row in refused:
                self._stream.write(json.dumps(row_document(row, files)) + "\n")
            self._stream.close()
            if self._partial is not None:
                self._partial.replace(self._place)
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Leave nothing behind but a report that was written."""
        try:
            self._stream.close()
        finally:
            if self._partial is not None:
                self._partial.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> CliError:
        return CliError(f"the report {self._path} cannot be written: {error.strerror or error}")


@contextmanager
def report_at(path: Path | None) -> Iterator[Report | None]:
    """Open the report at `path`, if one was asked for; raises CliError if it cannot be written."""
    if path is None:
        yield None
        return
    report = Report(path)
    try:
        yield report
    finally:
        report.close()


def _opened(partial: Path, place: Path) -> TextIO:
    if place.exists() and not os.access(place, os.W_OK):
        raise PermissionError("it is there, and read-only")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o666)
    if place.exists():
        shutil.copymode(place, partial)
    return os.fdopen(descriptor, "w", encoding="utf-8")
