"""The report of refused rows and of warnings. Its file is opened before anything is written to the registry."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from secretfree.registry.batch import ManifestFile

from secretfree_cli.importing.checkpoint import StagedRow
from secretfree_cli.importing.doubtful_ids import Doubtful
from secretfree_cli.importing.whole_file import WholeFile
from secretfree_cli.manifests.pem import SUFFIXES


def require_apart(report: Path | None, inputs: Iterable[Path]) -> None:
    """Raise UsageError if the report would overwrite an input file, or would be read as a file of an input folder."""
    if report is None:
        return
    for path in inputs:
        read_with_folder = path.is_dir() and report.suffix.lower() in SUFFIXES
        in_folder = read_with_folder and report.resolve().parent == path.resolve()
        if in_folder or (report.exists() and path.exists() and report.samefile(path)):
            raise click.UsageError(f"--report {report} is an input file; name another")


def row_document(row: StagedRow, files: Sequence[ManifestFile]) -> dict[str, object]:
    """Return a row's document for the report and `--json`."""
    document: dict[str, object] = {"file": files[row.file].name, "line": row.line}
    if row.member is not None:
        document["member"] = row.member
    document["deviceId"] = row.device_id
    if row.reason is not None:
        document["reason"] = row.reason
    return {**document, "detail": row.detail}


def warning_document(doubtful: Doubtful, files: Sequence[ManifestFile]) -> dict[str, object]:
    """Return a warning's document for the report and `--json`."""
    return {
        "warning": doubtful.doubt.value,
        "count": doubtful.count,
        "examples": [
            {
                "file": files[one.file].name,
                "line": one.line,
                **({} if one.member is None else {"member": one.member}),
                "deviceId": one.device_id,
            }
            for one in doubtful.examples
        ],
        "detail": doubtful.detail,
    }


class Report:
    """The refused rows and then the warnings, one JSON document a line. An empty file means that there are none."""

    def __init__(self, path: Path) -> None:
        """Make sure that the report can be written at `path`; raises CliError."""
        self._file = WholeFile(path, f"the report {path}")

    def write(
        self, refused: Iterator[StagedRow], files: Sequence[ManifestFile], warnings: Sequence[Mapping[str, object]]
    ) -> None:
        """Write every row and warning atomically; raises CliError."""
        with self._file.os_errors_as_cli_errors():
            for row in refused:
                self._file.stream.write(json.dumps(row_document(row, files)) + "\n")
            for warning in warnings:
                self._file.stream.write(json.dumps(warning) + "\n")
        self._file.finish()

    def close(self) -> None:
        """Remove the temporary file of an unfinished report."""
        self._file.close()


@contextmanager
def report_at(path: Path | None) -> Iterator[Report | None]:
    """Open the report at `path`, if one is requested; raises CliError if it cannot be written."""
    if path is None:
        yield None
        return
    report = Report(path)
    try:
        yield report
    finally:
        report.close()
